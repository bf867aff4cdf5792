"""Resource names (AIP-122).

``enclaves/{enclave}/keys/{key}/versions/{version}``, ``enclaves/{enclave}/proposals/{proposal}``.
"""

import re
from functools import lru_cache

from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, KeyId, parse_enclave_name, parse_key_id

_KEY = re.compile(r"enclaves/([^/]{1,63})/keys/([^/]{1,63})(?:/versions/([1-9][0-9]{0,8}))?", re.ASCII)
_PROPOSAL = re.compile(r"enclaves/([^/]{1,63})/proposals/([0-9a-f]{8,64})", re.ASCII)
_ENCLAVE = re.compile(r"enclaves/([^/]{1,63})", re.ASCII)


@lru_cache(maxsize=4_096)
def parse_key_name(field: str, name: str) -> tuple[EnclaveName, KeyId, int | None]:
    """Return enclave, key and version (None: the primary), or raise Malformed."""
    match = _KEY.fullmatch(name)
    if match is None:
        raise Malformed(field, f"{name[:200]!r} is not enclaves/{{enclave}}/keys/{{key}}[/versions/{{version}}]")
    enclave, key, version = match.groups()
    return parse_enclave_name(enclave), parse_key_id(key), int(version) if version else None


def parse_proposal(field: str, name: str) -> tuple[EnclaveName, str]:
    """Return enclave and the hex digits, all 64 or at least the first 8; or raise Malformed."""
    match = _PROPOSAL.fullmatch(name)
    if match is None:
        raise Malformed(
            field, f"{name[:200]!r} is not enclaves/{{enclave}}/proposals/{{8 to 64 lower-case hex digits}}"
        )
    return parse_enclave_name(match.group(1)), match.group(2)


@lru_cache(maxsize=256)
def parse_enclave(field: str, name: str) -> EnclaveName:
    """Return the enclave of ``enclaves/{enclave}``, or raise Malformed."""
    match = _ENCLAVE.fullmatch(name)
    if match is None:
        raise Malformed(field, f"{name[:200]!r} is not enclaves/{{enclave}}")
    return parse_enclave_name(match.group(1))
