"""``keyvault member``: keys made and shown."""

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from keyvault.cli import member
from keyvault.cli.approver_key import open_signer
from keyvault.client.public_key import parse_public_key, read_public_key, ssh_blob, ssh_fingerprint, verifies
from keyvault.core.approvals import keyid_of
from keyvault.core.errors import Malformed
from keyvault.core.ids import MemberName
from keyvault.hsm.create import create_token
from keyvault.secretfile import write_secret_file
from tests.client.agents import PrivateKey, real_agent, spki, write_key
from tests.deployment import run_keyvault

Run = Callable[..., Result]
SECRET = "correct horse battery staple"
KEYS: dict[str, PrivateKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
}


def public(key: PrivateKey | rsa.RSAPrivateKey, encoding: Encoding, form: PublicFormat) -> bytes:
    return key.public_key().public_bytes(encoding, form)


def spki_of(path: Path, passphrase: str | None) -> bytes:
    """Return the public half of the private key in a file, as members have it."""
    private = load_pem_private_key(path.read_bytes(), None if passphrase is None else passphrase.encode())
    assert isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
    return spki(private)


def secret_file(folder: Path, content: str = SECRET) -> Path:
    path = folder / "passphrase"
    path.touch(mode=0o600)
    path.write_text(content)
    return path


# keygen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_new_key_is_two_files(offline: Run, tmp_path: Path, algorithm: str) -> None:
    """`member keygen` writes an encrypted key for us alone, and its public half; it prints what others need."""
    out = tmp_path / "alice.key"
    given = ("--algorithm", algorithm, "--passphrase-file", secret_file(tmp_path), "--json")
    made = offline("member", "keygen", "alice", "--out", out, *given)
    assert made.exit_code == 0, made.stderr
    document = json.loads(made.stdout)
    public_key = read_public_key(tmp_path / "alice.key.pub")
    assert document == {
        "member": "alice",
        "private_key": str(out),
        "public_key": f"{out}.pub",
        "algorithm": algorithm.upper(),
        "keyid": keyid_of(public_key),
        "fingerprint": ssh_fingerprint(ssh_blob(public_key)),
    }
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert spki_of(out, SECRET) == public_key
    assert SECRET not in made.output


def test_a_new_key_signs(offline: Run, tmp_path: Path) -> None:
    """What keygen made opens with its passphrase, and signs for its member."""
    out, passphrase = tmp_path / "alice.key", secret_file(tmp_path)
    assert offline("member", "keygen", "alice", "--out", out, "--passphrase-file", passphrase).exit_code == 0
    signer = open_signer(str(out), member=MemberName("alice"), passphrase_file=passphrase, pin_file=None)
    assert verifies(read_public_key(f"{out}.pub"), signer.sign(b"yes"), b"yes")


def test_the_passphrase_is_stretched(offline: Run, tmp_path: Path) -> None:
    """The file is PBES2 with scrypt, N=16384, r=8, p=5, and AES-256, as OpenSSL reads it."""
    out = tmp_path / "alice.key"
    offline("member", "keygen", "alice", "--out", out, "--passphrase-file", secret_file(tmp_path))
    shown = subprocess.run(("openssl", "asn1parse", "-in", str(out)), capture_output=True, text=True, check=True).stdout
    assert [word for word in ("PBES2", "scrypt", ":4000", ":08", ":05", "aes-256-cbc") if word not in shown] == []
    source = f"file:{tmp_path / 'passphrase'}"
    command = ("openssl", "pkey", "-in", str(out), "-passin", source, "-pubout")
    assert subprocess.run(command, capture_output=True, check=True).stdout == Path(f"{out}.pub").read_bytes()


def test_a_passphrase_is_typed_twice(offline: Run, tmp_path: Path) -> None:
    """Without a file the passphrase is asked for, twice, and not shown; another second one is asked for again."""
    out = tmp_path / "alice.key"
    typed = f"{SECRET}\nanother one\n{SECRET}\n{SECRET}\n"
    made = offline("member", "keygen", "alice", "--out", out, stdin=typed)
    assert made.exit_code == 0, made.stderr
    assert "do not match" in made.stderr
    assert SECRET not in made.output
    assert spki_of(out, SECRET) == read_public_key(f"{out}.pub")


def test_a_key_without_a_passphrase_is_asked_for_by_name(offline: Run, tmp_path: Path) -> None:
    """--no-passphrase writes a plain file, also for its owner only; it does not go with --passphrase-file."""
    out = tmp_path / "alice.key"
    both = ("--no-passphrase", "--passphrase-file", secret_file(tmp_path))
    refused = offline("member", "keygen", "alice", "--out", out, *both)
    assert (refused.exit_code, out.exists()) == (2, False)
    assert offline("member", "keygen", "alice", "--out", out, "--no-passphrase").exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert spki_of(out, None) == read_public_key(f"{out}.pub")


@pytest.mark.parametrize("passphrase", ["short", "       \n"])
def test_a_short_passphrase_is_refused(offline: Run, tmp_path: Path, passphrase: str) -> None:
    """Fewer than eight characters are no passphrase; nothing is written, and they are not shown."""
    given = ("--passphrase-file", secret_file(tmp_path, passphrase))
    refused = offline("member", "keygen", "alice", "--out", tmp_path / "alice.key", *given)
    assert refused.exit_code == 2
    assert "at least 8 characters" in refused.stderr
    assert "short" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["passphrase"]


@pytest.mark.parametrize("there", ["alice.key", "alice.key.pub"])
def test_nothing_is_overwritten(offline: Run, tmp_path: Path, there: str) -> None:
    """If either file is there, nobody is asked for a passphrase, nothing is made, and the file stays as it was."""
    (tmp_path / there).write_text("mine")
    refused = offline("member", "keygen", "alice", "--out", tmp_path / "alice.key")
    assert refused.exit_code == 2
    assert f"{tmp_path / there}: is there already and is never overwritten" in refused.stderr
    assert "passphrase" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_half_a_pair_is_not_left(offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the public file cannot be written, because somebody was faster, there is no private one, either."""
    out, theirs = tmp_path / "alice.key", tmp_path / "alice.key.pub"

    def slow(path: Path, data: bytes) -> None:
        write_secret_file(path, data)
        theirs.write_text("theirs")

    monkeypatch.setattr(member, "write_secret_file", slow)
    refused = offline("member", "keygen", "alice", "--out", out, "--no-passphrase")
    assert refused.exit_code == 2
    assert "is never overwritten" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [theirs.name]
    assert theirs.read_text() == "theirs"


def test_a_member_has_a_member_s_name(offline: Run, tmp_path: Path) -> None:
    """A name that the ledger would not take is refused before anything is made."""
    refused = offline("member", "keygen", "Alice!", "--out", tmp_path / "alice.key", "--no-passphrase")
    assert refused.exit_code == 2
    assert list(tmp_path.iterdir()) == []


# show -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", ["pem", "openssh", "commented", "private"])
def test_a_key_in_a_file_is_shown(offline: Run, tmp_path: Path, kind: str, form: str) -> None:
    """PEM, a line of OpenSSH and a plain private key all show the same public key, key id and fingerprint."""
    key, path = KEYS[kind], tmp_path / "key"
    line = public(key, Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.touch(mode=0o600)
    path.write_bytes(
        {
            "pem": public(key, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "openssh": line,
            "commented": line + b" alice @ her desk\n",
            "private": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        }[form]
    )
    shown = offline("member", "show", path, "--json")
    assert shown.exit_code == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert set(document) == {"algorithm", "keyid", "fingerprint", "public_key_pem"}
    assert (document["keyid"], document["algorithm"]) == (keyid_of(spki(key)), kind.upper())
    assert load_pem_public_key(document["public_key_pem"].encode()) == key.public_key()
    text = offline("member", "show", path).stdout
    assert document["keyid"] in text
    assert text.endswith("-----END PUBLIC KEY-----\n")


def test_the_fingerprint_is_ssh_keygen_s(offline: Run, tmp_path: Path) -> None:
    """The fingerprint is the one that ssh-keygen shows for the same key."""
    path = tmp_path / "key.pub"
    path.write_bytes(public(KEYS["p256"], Encoding.OpenSSH, PublicFormat.OpenSSH))
    theirs = subprocess.run(("ssh-keygen", "-l", "-f", str(path)), capture_output=True, text=True, check=True).stdout
    assert json.loads(offline("member", "show", path, "--json").stdout)["fingerprint"] == theirs.split()[1]


def test_an_encrypted_key_is_shown_with_its_passphrase(offline: Run, tmp_path: Path) -> None:
    """The public half of an encrypted file is shown after its passphrase, from a file or typed."""
    out, passphrase = tmp_path / "alice.key", secret_file(tmp_path)
    offline("member", "keygen", "alice", "--out", out, "--passphrase-file", passphrase)
    wanted = offline("member", "show", f"{out}.pub").stdout
    assert offline("member", "show", out, "--passphrase-file", passphrase).stdout == wanted
    assert offline("member", "show", out, stdin=f"{SECRET}\n").stdout == wanted
    wrong = offline("member", "show", out, stdin="wrong-4711\n")
    assert wrong.exit_code == 2
    assert "the passphrase does not open it" in wrong.stderr
    assert "4711" not in wrong.output


def test_an_agent_s_key_is_shown(offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """agent: shows the agent's only key; without an agent the error says how to start one."""
    with real_agent(tmp_path) as agent:
        agent.add(write_key(tmp_path / "key", KEYS["ed25519"]))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.path))
        shown = offline("member", "show", "agent:", "--json")
    assert json.loads(shown.stdout)["keyid"] == keyid_of(spki(KEYS["ed25519"]))
    monkeypatch.delenv("SSH_AUTH_SOCK")
    missing = offline("member", "show", "agent:")
    assert missing.exit_code == 2
    assert "SSH_AUTH_SOCK is not set" in missing.stderr


def test_a_token_s_key_is_shown_without_its_pin(tmp_path: Path) -> None:
    """A pkcs11: URI shows the public half in the token; nobody needs the PIN for that."""
    token = create_token(tmp_path / "token", "card")
    token.pin_file.unlink()
    uri = f"pkcs11:token=card;object=keyvault-log-key?module-path={token.module}"
    shown = run_keyvault("member", "show", uri, "--json", env={"SOFTHSM2_CONF": str(token.softhsm2_conf)})
    assert (shown.returncode, shown.stderr) == (0, "")
    public_key = parse_public_key(json.loads(shown.stdout)["public_key_pem"].encode(), "shown")
    assert public_key.endswith(token.log_public_key)
    absent = run_keyvault(
        "member", "show", uri.replace("card", "none"), env={"SOFTHSM2_CONF": str(token.softhsm2_conf)}
    )
    assert absent.returncode == 2
    assert "It has: 'card'" in absent.stderr
    assert "Traceback" not in absent.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither a public key in PEM form nor one line"),
        (b"garbage", "neither a public key in PEM form nor one line"),
        (b"ssh-ed25519 AAAA\nssh-ed25519 AAAA\n", "neither a public key in PEM form nor one line"),
        (b"ssh-ed25519 not-base64!", "has no base64"),
        (b"ssh-ed25519 AAAA", "is not a well-formed ssh-ed25519 key"),
        (b"ssh-rsa AAAA", "is 'ssh-rsa', not ssh-ed25519 or ecdsa-sha2-nistp256"),
        (b"\x1b[2J AAAA", r"is '\\x1b[2J', not"),
        (b"sk-ssh-ed25519@openssh.com AAAA", "signs its own counter and flags"),
        (b"ssh-ed25519-cert-v01@openssh.com AAAA", "is 'ssh-ed25519-cert-v01@openssh.com', not"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is no public key in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no public key in PEM form"),
        (b"x" * 20_000, "is longer than"),
    ],
)
def test_what_is_no_member_s_key_is_said(offline: Run, tmp_path: Path, content: bytes, says: str) -> None:
    """Anything but the public half of an Ed25519 or P-256 key is refused with what was found."""
    path = tmp_path / "key.pub"
    path.write_bytes(content)
    shown = offline("member", "show", path)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert says in shown.stderr
    assert str(path) in shown.stderr


def test_other_keys_are_refused(tmp_path: Path) -> None:
    """RSA, other curves and the private half are not read as a member's public key."""
    curve = ec.generate_private_key(ec.SECP384R1())
    for data in (
        public(rsa.generate_private_key(65537, 2048), Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public(curve, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        with pytest.raises(Malformed, match="must be an Ed25519 or P-256 key"):
            parse_public_key(data, "key.pub")
    with pytest.raises(Malformed, match="holds a private key; give the file of its public half"):
        read_public_key(write_key(tmp_path / "key", KEYS["ed25519"]))


def test_a_file_that_is_not_there(offline: Run, tmp_path: Path) -> None:
    """A name that leads nowhere ends with the code for that."""
    assert offline("member", "show", tmp_path / "absent.pub").exit_code == 3
