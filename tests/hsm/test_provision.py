"""Making a new token."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.hsm.base import TokenFault
from keyvault.hsm.create import CreatedToken, create_token

INSTALL = Path(__file__).parents[2] / "softhsm" / "install.sh"


def test_a_new_token_has_its_keys_and_files(token_template: CreatedToken) -> None:
    """The token reports an Ed25519 log key and an RSA-3072 import key; PINs differ and are long."""
    created = token_template
    import_key = load_der_public_key(created.import_public_key)
    assert isinstance(import_key, rsa.RSAPublicKey)
    assert import_key.key_size == 3072
    assert len(created.log_public_key) == 32
    pins = {created.pin_file.read_text(), created.so_pin_file.read_text()}
    assert len(pins) == 2
    assert min(len(pin) for pin in pins) >= 32
    assert str(created.softhsm2_conf.parent / "tokens") in created.softhsm2_conf.read_text()


@pytest.mark.parametrize("name", ["softhsm2.conf", "tokens", "user.pin", "so.pin"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    """If one of the token's files is there already, nothing is made and the file stays as it was."""
    present = tmp_path / name
    present.write_text("mine")
    with pytest.raises(TokenFault, match="exists; nothing is overwritten"):
        create_token(tmp_path, "hot")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert present.read_text() == "mine"


@pytest.mark.parametrize("label", ["x" * 33, "größer"])
def test_what_was_begun_is_removed_again(tmp_path: Path, label: str) -> None:
    """A label that a token cannot have leaves no half-made token behind."""
    with pytest.raises(TokenFault):
        create_token(tmp_path / "new", label)
    assert list((tmp_path / "new").iterdir()) == []


def test_files_are_private_under_any_umask(tmp_path: Path) -> None:
    """Even with umask 0 nobody else can read PINs or objects."""
    before = os.umask(0)
    try:
        created = create_token(tmp_path / "new", "hot")
    finally:
        os.umask(before)
    for path in (created.pin_file, created.so_pin_file, *(tmp_path / "new" / "tokens").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_installing_what_is_there_does_nothing() -> None:
    """install.sh is done at once when SoftHSM2 is installed."""
    done = subprocess.run(("sh", str(INSTALL)), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SoftHSM2 is installed: ")


def test_installing_without_rights_says_the_command(tmp_path: Path) -> None:
    """Without root, sudo or SoftHSM2 the script says the exact command and fails."""
    environment = {"PATH": str(tmp_path), "KEYVAULT_SOFTHSM_MODULES": str(tmp_path / "none.so")}
    done = subprocess.run(("/bin/sh", str(INSTALL)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends softhsm2" in done.stderr
