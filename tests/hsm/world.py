"""A SoftHSM token of one test's own, and workers that fail on command."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, Signature
from keyvault.core.wrap import wrap_secret
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.config import TokenConfig, package_root
from keyvault.hsm.create import CreatedToken
from keyvault.hsm.supervisor import TokenSupervisor, open_token

HERE = Path(__file__).parent
SECRET = b"an exchange's API secret"
PAIRS = (KeyAlgorithm.SECP256K1, KeyAlgorithm.P256, KeyAlgorithm.ED25519)
SHA256, SHA512 = KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.HMAC_SHA512
HMACS = (SHA256, SHA512)
DIGEST = bytes(range(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A token in a folder."""

    folder: Path
    created: CreatedToken

    @property
    def config(self) -> TokenConfig:
        """The token as a server would be configured for it: one worker, one lane."""
        created = self.created
        return TokenConfig(
            module=created.module,
            label=created.label,
            pin_file=created.pin_file,
            softhsm2_conf=created.softhsm2_conf,
            workers=1,
        )

    @property
    def trigger(self) -> Path:
        """While this file exists the next C_Sign of a faulty worker fails; the failure removes it."""
        return self.folder / "trigger"

    @property
    def logins(self) -> int:
        """How often faulty workers called C_Login."""
        journal = self.folder / "logins"
        return len(journal.read_text().splitlines()) if journal.exists() else 0

    def faulty(self, fault: str) -> TokenConfig:
        """Return a configuration whose workers have this fault when ``trigger`` exists; it exists at first not."""
        script = str(HERE / "faulty_worker.py")
        command = (sys.executable, "-P", "-s", script, fault, str(self.trigger), str(self.folder / "logins"))
        return replace(self.config, worker_command=command)

    @property
    def inspector(self) -> tuple[str, ...]:
        """The command that looks into the token."""
        created = self.created
        script = str(HERE / "inspect_token.py")
        return (sys.executable, script, str(created.module), created.label, str(created.pin_file))

    @property
    def inspector_environment(self) -> dict[str, str]:
        """Its environment."""
        return {"SOFTHSM2_CONF": str(self.created.softhsm2_conf), "PYTHONPATH": package_root()}

    def inspect(self, *words: str) -> dict[str, dict[str, str]]:
        """Return what a PKCS#11 client of its own process with the PIN sees (inspect_token.py)."""
        done = subprocess.run(
            (*self.inspector, *words), env=self.inspector_environment, capture_output=True, text=True, check=True
        )
        found: dict[str, dict[str, str]] = json.loads(done.stdout)
        return found


def copy_of(template: CreatedToken, folder: Path) -> World:
    """Return a world with a copy of this token, in its own folder."""
    original = template.softhsm2_conf.parent
    shutil.copytree(original, folder, dirs_exist_ok=True)
    conf = folder / template.softhsm2_conf.name
    conf.write_text(conf.read_text().replace(str(original), str(folder)))
    created = replace(
        template,
        softhsm2_conf=conf,
        pin_file=folder / template.pin_file.name,
        so_pin_file=folder / template.so_pin_file.name,
    )
    return World(folder=folder, created=created)


@asynccontextmanager
async def running(config: TokenConfig) -> AsyncIterator[TokenSupervisor]:
    """A token whose workers run, and end with the block."""
    token = await open_token(config)
    try:
        yield token
    finally:
        await token.close()


async def make_key(token: TokenSupervisor, world: World, algorithm: KeyAlgorithm, name: bytes = b"key") -> SignItem:
    """Return an item to sign with a new key."""
    object_id = name + b"-" + algorithm.value.encode()
    public_key = b""
    if algorithm in HMAC_ALGORITHMS:
        await token.unwrap(object_id, algorithm, wrap_secret(world.created.import_public_key, SECRET, algorithm))
    else:
        public_key = await token.generate(object_id, algorithm)
    return SignItem(object_id=object_id, algorithm=algorithm, public_key=public_key, input=DIGEST)


def codes(results: list[Signature | TokenFault]) -> list[str]:
    """Return the code of each fault, and "signed" for each signature."""
    return [result.code if isinstance(result, TokenFault) else "signed" for result in results]
