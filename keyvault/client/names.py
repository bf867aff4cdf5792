"""Resource names (AIP-122), made and read."""

import re
from dataclasses import dataclass

from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, KeyId, parse_key_id

_KEY = re.compile(r"([^/]{1,63})(?:/versions/([1-9][0-9]{0,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyName:
    """A key, or one version of it, in one enclave."""

    enclave: EnclaveName
    key: KeyId
    version: int | None

    @classmethod
    def parse(cls, enclave: EnclaveName, text: str) -> "KeyName":
        """Return what ``{key}`` or ``{key}/versions/{version}`` names, or raise Malformed."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise Malformed("key", f"{text[:100]!r} is not {{key}} or {{key}}/versions/{{version}}")
        key, version = match.groups()
        return cls(enclave=enclave, key=parse_key_id(key), version=int(version) if version else None)

    @classmethod
    def of_resource(cls, enclave: EnclaveName, resource: str) -> "KeyName":
        """Return what a resource name of this enclave names, or raise Malformed."""
        prefix = f"enclaves/{enclave}/keys/"
        if not resource.startswith(prefix):
            raise Malformed("name", f"{resource[:200]!r} is no key of enclave {enclave}")
        return cls.parse(enclave, resource[len(prefix) :])

    @property
    def resource(self) -> str:
        """``enclaves/{enclave}/keys/{key}``, with the version if there is one."""
        suffix = "" if self.version is None else f"/versions/{self.version}"
        return f"enclaves/{self.enclave}/keys/{self.key}{suffix}"

    def covers(self, version: "KeyName") -> bool:
        """Say whether ``version`` is a version of the key that this names."""
        if version.version is None or version.enclave != self.enclave or version.key != self.key:
            return False
        return self.version in (None, version.version)
