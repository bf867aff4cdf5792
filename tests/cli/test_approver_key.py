"""Where a member's key may live: files, an agent, a token; and how its secret comes in."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from keyvault.cli.approver_key import open_signer, parse_token_uri, public_key_of
from keyvault.cli.exits import UsageProblem
from keyvault.cli.secret_input import read_secret
from keyvault.client.public_key import ssh_blob, ssh_fingerprint, verifies
from keyvault.client.ssh_agent import AgentProblem
from keyvault.core import limits
from keyvault.core.errors import KeyvaultError
from keyvault.core.ids import MemberName
from keyvault.hsm.config import package_root
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.secretfile import UnsafeFile
from tests.client.agents import PrivateKey, real_agent, spki, write_key

ALICE = MemberName("alice")
MESSAGE = b"DSSEv1 what a member approves"
SECRET = "correct horse battery staple"
KEYS: dict[str, PrivateKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
}
ED = KEYS["ed25519"]
PROCESS = Path(__file__).parent / "signing_process.py"
LOG_KEY = "keyvault-log-key"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A token whose one key on a curve is its Ed25519 log key."""
    return create_token(tmp_path_factory.mktemp("token"), "alice card")


@pytest.fixture
def pipe() -> Iterator[tuple[Path, int]]:
    """The name of a pipe's reading end, and its writing end."""
    reading, writing = os.pipe()
    yield Path(f"/dev/fd/{reading}"), writing
    os.close(reading)


def secret_file(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def pem(key: PrivateKey, passphrase: str | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(Encoding.PEM, form, encryption)


def signs(reference: str, key: PrivateKey, passphrase_file: Path | None = None) -> bool:
    """Return whether the reference opens and signs as alice with this key."""
    signer = open_signer(reference, member=ALICE, passphrase_file=passphrase_file, pin_file=None)
    return (signer.member, signer.public_key) == ("alice", spki(key)) and verifies(
        spki(key), signer.sign(MESSAGE), MESSAGE
    )


def asked(reference: str, typed: str) -> str:
    """Return what a command says that signs with this key, where this is typed on its terminal."""

    @click.command()
    def command() -> None:
        try:
            click.echo(signs(reference, ED))
        except KeyvaultError as error:
            click.echo(f"{type(error).__name__}: {error}")

    return CliRunner().invoke(command, input=typed).output


# Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_a_plain_file_signs(tmp_path: Path, kind: str, form: PrivateFormat) -> None:
    """A file without a passphrase signs, as PKCS#8 and as OpenSSH writes it; nobody is asked for anything."""
    assert signs(str(secret_file(tmp_path / "key", pem(KEYS[kind], form=form))), KEYS[kind])


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("line_end", ["", "\n"])
def test_an_encrypted_file_signs_with_its_passphrase(tmp_path: Path, kind: str, line_end: str) -> None:
    """A file under a passphrase signs with the passphrase from another file, whose last line end does not count."""
    path = secret_file(tmp_path / "key", pem(KEYS[kind], SECRET))
    assert signs(str(path), KEYS[kind], secret_file(tmp_path / "passphrase", SECRET + line_end))


def test_an_old_encrypted_pem_signs(tmp_path: Path) -> None:
    """PEM as OpenSSL wrote it before PKCS#8, with its own encryption, is opened, too."""
    path = secret_file(tmp_path / "key", pem(KEYS["p256"], SECRET, PrivateFormat.TraditionalOpenSSL))
    assert b"Proc-Type: 4,ENCRYPTED" in path.read_bytes()
    assert signs(str(path), KEYS["p256"], secret_file(tmp_path / "passphrase", SECRET))


def test_a_passphrase_is_typed(tmp_path: Path) -> None:
    """Without a file the passphrase is asked for, once, and not shown."""
    path = secret_file(tmp_path / "key", pem(ED, SECRET))
    right = asked(str(path), f"{SECRET}\n")
    assert right == f"Passphrase of {path}: \nTrue\n"
    wrong = asked(str(path), f"wrong-{SECRET}\n{SECRET}\n")
    assert wrong == f"Passphrase of {path}: \nUsageProblem: {path}: the passphrase does not open it\n"


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    """Where there is no terminal the error names the option; what stands on standard input is left alone."""
    path = secret_file(tmp_path / "key", pem(ED, SECRET))
    words = json.dumps({"key": str(path), "message": "x"})
    done = subprocess.run(
        (sys.executable, str(PROCESS), words),
        input=SECRET + "\n",
        env={"PYTHONPATH": package_root()},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    answer = json.loads(done.stdout)
    assert answer["error"] == f"Passphrase of {path}: there is no terminal to ask on; give --passphrase-file FILE"
    assert SECRET not in done.stderr


def test_a_wrong_passphrase_is_said_and_not_shown(tmp_path: Path) -> None:
    """A wrong passphrase is an error that names the file, and holds neither the passphrase nor the key."""
    path = secret_file(tmp_path / "key", pem(ED, SECRET))
    wrong = secret_file(tmp_path / "passphrase", "wrong-4711-wrong")
    with pytest.raises(UsageProblem, match="the passphrase does not open it") as caught:
        signs(str(path), ED, wrong)
    assert str(path) in str(caught.value)
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "must hold one line"),
        ("\n", "must hold one line"),
        (f"{SECRET}\n\n", "must hold one line"),
        (f"{SECRET}\r\n", "must hold one line"),
        (f"one\n{SECRET}\n", "must hold one line"),
        (b"\xff" + SECRET.encode(), "is not UTF-8"),
        ("x" * (limits.SECRET_FILE_BYTES_MAX + 1), "is longer than"),
    ],
)
def test_a_secret_is_one_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    """A file that holds more or less than one line of text is refused, and nothing of it is shown."""
    with pytest.raises((UsageProblem, UnsafeFile), match=says) as caught:
        read_secret(secret_file(tmp_path / "secret", content))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_files_that_others_can_open_are_refused(tmp_path: Path, mode: int) -> None:
    """Neither a key nor a passphrase is taken from a file that others can read or write."""
    open_key = secret_file(tmp_path / "open", pem(ED, SECRET), mode)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        signs(str(open_key), ED)
    key = secret_file(tmp_path / "key", pem(ED, SECRET))
    with pytest.raises(UnsafeFile, match="chmod 600"):
        signs(str(key), ED, secret_file(tmp_path / "passphrase", SECRET, mode))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link to a key, or to a passphrase, is refused: it may lead anywhere by the time it is read."""
    target = secret_file(tmp_path / "target", pem(ED))
    (tmp_path / "link").symlink_to(target)
    for path in (tmp_path / "link", tmp_path / "absent"):
        with pytest.raises(UnsafeFile, match="cannot be read"):
            signs(str(path), ED)
        with pytest.raises(UnsafeFile, match="cannot be read"):
            read_secret(path)


def test_a_passphrase_comes_through_a_descriptor(tmp_path: Path, pipe: tuple[Path, int]) -> None:
    """A pipe that the caller hands down, as the shell's <(...), gives the passphrase."""
    name, writing = pipe
    with os.fdopen(writing, "w") as file:
        file.write(f"{SECRET}\n")
    assert signs(str(secret_file(tmp_path / "key", pem(ED, SECRET))), ED, name)


def test_descriptors_have_bounds(tmp_path: Path, pipe: tuple[Path, int]) -> None:
    """Descriptors that are closed, or lead to a file that others can open, are refused, and so is too much in one."""
    name, writing = pipe
    with os.fdopen(writing, "wb") as file:
        file.write(b"x" * (limits.SECRET_FILE_BYTES_MAX + 1))
    with pytest.raises(UnsafeFile, match="is longer than"):
        read_secret(name)
    with pytest.raises(UnsafeFile, match="Bad file descriptor"):
        read_secret(Path("/dev/fd/999999"))
    for mode, says in ((0o644, "nobody else can open"), (0o600, None)):
        with secret_file(tmp_path / f"file{mode}", SECRET, mode).open("rb") as opened:
            reading = Path(f"/proc/self/fd/{opened.fileno()}")
            if says is None:
                assert read_secret(reading) == SECRET
            else:
                with pytest.raises(UnsafeFile, match=says):
                    read_secret(reading)


def test_openssh_s_own_encryption_is_left_to_the_agent(tmp_path: Path) -> None:
    """An OpenSSH file under a passphrase is refused before anybody is asked, with what to do instead."""
    path = tmp_path / "id_ed25519"
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", SECRET, "-f", str(path))
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UsageProblem, match="OpenSSH's own form") as caught:
        signs(str(path), ED)
    assert f"ssh-add {path}, then agent:" in str(caught.value)
    assert public_key_of(f"{path}.pub", passphrase_file=None) != spki(ED)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"garbage " + SECRET.encode(), "is not a private key in PEM form"),
        (b"", "is not a private key in PEM form"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "is not a private key"),
        (rsa.generate_private_key(65537, 2048), "is not an Ed25519 or P-256 key"),
        (ec.generate_private_key(ec.SECP384R1()), "is not an Ed25519 or P-256 key"),
    ],
    ids=["garbage", "empty", "openssh", "rsa", "p384"],
)
def test_files_without_a_member_s_key(
    tmp_path: Path, content: bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, says: str
) -> None:
    """Garbage and other kinds of keys are refused, and nothing of the file is shown."""
    if not isinstance(content, bytes):
        content = content.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UsageProblem, match=says) as caught:
        signs(str(secret_file(tmp_path / "key", content)), ED)
    assert SECRET not in str(caught.value)


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    """A passphrase or a PIN for a key that has none is an error, not ignored; a URI in the way is not shown."""
    key, other = secret_file(tmp_path / "key", pem(ED)), tmp_path / "other"
    for reference, passphrase_file, pin_file, says in (
        (str(key), other, None, "the file is not encrypted"),
        (str(key), None, other, "leave out --pin-file"),
        ("agent:", other, None, "leave out --passphrase-file"),
        ("agent:", None, other, "leave out --pin-file"),
        ("pkcs11:token=a?pin-value=4711", other, None, "leave out --passphrase-file"),
    ):
        with pytest.raises(UsageProblem, match=says) as caught:
            open_signer(reference, member=ALICE, passphrase_file=passphrase_file, pin_file=pin_file)
        assert "4711" not in str(caught.value)


# Agent ------------------------------------------------------------------------------------------------------


def test_an_agent_s_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """agent: is the agent's only key, agent:SHA256:... one of several."""
    with real_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.path))
        agent.add(write_key(tmp_path / "first", ED))
        assert signs("agent:", ED)
        agent.add(write_key(tmp_path / "second", KEYS["p256"]))
        with pytest.raises(AgentProblem, match="has 2 keys"):
            signs("agent:", ED)
        for key in KEYS.values():
            reference = f"agent:{ssh_fingerprint(ssh_blob(spki(key)))}"
            assert signs(reference, key)
            assert public_key_of(reference, passphrase_file=None) == spki(key)


# Token ------------------------------------------------------------------------------------------------------


def in_process(token: CreatedToken, reference: str, **files: str) -> dict[str, str]:
    """Return what came of signing with this key in a command of its own."""
    words = json.dumps({"key": reference, "message": MESSAGE.decode(), **files})
    done = subprocess.run(
        (sys.executable, str(PROCESS), words),
        env={"SOFTHSM2_CONF": str(token.softhsm2_conf), "PYTHONPATH": package_root()},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert done.stderr == ""
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("path", ["", f";object={LOG_KEY}", f";id=%{LOG_KEY.encode().hex('%')};type=private"])
def test_a_token_s_key_is_named_by_its_uri(token: CreatedToken, path: str) -> None:
    """A pkcs11: URI names module, token and key; the PIN comes from its file, and the signature verifies."""
    reference = f"pkcs11:token=alice%20card{path}?module-path={token.module}"
    answer = in_process(token, reference, pin_file=str(token.pin_file))
    assert "error" not in answer, answer
    public_key = bytes.fromhex(answer["public_key"])
    assert public_key.endswith(token.log_public_key)
    assert verifies(public_key, bytes.fromhex(answer["signature"]), MESSAGE)


def test_a_wrong_pin_is_said_and_not_shown(token: CreatedToken, tmp_path: Path) -> None:
    """A refused PIN is an error of the command line's own kind, without the PIN."""
    pin_file = secret_file(tmp_path / "pin", "wrong-4711")
    answer = in_process(token, f"pkcs11:token=alice%20card?module-path={token.module}", pin_file=str(pin_file))
    assert answer["kind"] == "TokenKeyProblem"
    assert "refused the PIN" in answer["error"]
    assert "4711" not in answer["error"]


def test_a_pin_is_asked_for_on_a_terminal_only(token: CreatedToken) -> None:
    """Without a file and without a terminal the error names the option."""
    answer = in_process(token, f"pkcs11:token=alice%20card?module-path={token.module}")
    assert answer["error"] == "PIN of token 'alice card': there is no terminal to ask on; give --pin-file FILE"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("pkcs11:", "it needs module-path="),
        ("pkcs11:token=a", "it needs module-path="),
        ("pkcs11:token=a?module-path=m.so", "must be the full path"),
        ("pkcs11:object=a?module-path=/m.so", "it needs token="),
        ("pkcs11:token=?module-path=/m.so", "it needs token="),
        ("pkcs11:token=%00?module-path=/m.so", "it needs token="),
        ("pkcs11:token=%ff?module-path=/m.so", "is not UTF-8"),
        ("pkcs11:token=%zz?module-path=/m.so", "NAME=VALUE"),
        ("pkcs11:token=a;token=b?module-path=/m.so", "each name once"),
        ("pkcs11:token=a;serial=4711?module-path=/m.so", "'serial' is not understood"),
        ("pkcs11:token=a?module-name=opensc", "'module-name' is not understood"),
        ("pkcs11:token=a;object?module-path=/m.so", "NAME=VALUE"),
        ("pkcs11:token=a;id=?module-path=/m.so", "id= has 1 to 64 bytes"),
        (f"pkcs11:token=a;id={'x' * 65}?module-path=/m.so", "id= has 1 to 64 bytes"),
        ("pkcs11:token=a;type=cert?module-path=/m.so", "type= must be private"),
        ("pkcs11:token=a?module-path=/m.so&pin-value=4711", "a PIN does not belong in a URI"),
        ("pkcs11:token=a;pin-value=4711?module-path=/m.so", "a PIN does not belong in a URI"),
        ("pkcs11:token=a?module-path=/m.so&pin-value:4711", "a PIN does not belong in a URI"),
        ("pkcs11:token=a?module-path=/m.so&pin-source=file:4711", "a PIN does not belong in a URI"),
    ],
)
def test_uris_that_are_not_understood(uri: str, says: str) -> None:
    """What a URI lacks or has too much is said before a module is loaded; a PIN in it is refused and not shown."""
    with pytest.raises(UsageProblem, match=says) as caught:
        parse_token_uri(uri)
    assert "4711" not in str(caught.value)
