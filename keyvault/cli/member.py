"""``keyvault member``: approval keys, made and shown. No server is asked; who is a member stands in the ledger.

A new key's file is PKCS#8 under a passphrase: PBES2 with scrypt (RFC 7914) and AES-256-CBC, which OpenSSL reads, too.
"""

from pathlib import Path

import click
from Crypto.PublicKey import ECC
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyvault.cli.approver_key import PASSPHRASE_OPTION, public_key_of
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, fields, json_option
from keyvault.cli.secret_input import ask_secret, read_secret
from keyvault.client.public_key import ED25519, kind_of, pem_of, ssh_blob, ssh_fingerprint
from keyvault.client.statements import PrivateKey
from keyvault.core import limits
from keyvault.core.approvals import keyid_of
from keyvault.core.ids import parse_member_name
from keyvault.secretfile import UnsafeFile, write_new_file, write_secret_file

_FILE = click.Path(dir_okay=False, path_type=Path)
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 5
"""OWASP's choice for 16 MiB of memory; OpenSSL reads files that want up to 32."""
_SALT_BYTES = 16


@click.group()
def command() -> None:
    """Make and show members' approval keys.

    A member's key signs what the member approves. It may live in a file under a passphrase, in an SSH agent, or in a
    smart card or another PKCS#11 token.

    \b
    Example:
      keyvault member keygen alice --out alice.key
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("name")
@click.option("--out", required=True, type=_FILE, help="New file of the private key; the public one is FILE.pub.")
@click.option("--algorithm", type=click.Choice(["ed25519", "p256"]), default="ed25519", show_default=True)
@click.option(PASSPHRASE_OPTION, type=_FILE, help="File (0600) or descriptor with the passphrase. [asked for]")
@click.option("--no-passphrase", is_flag=True, help="Whoever can read the file can approve.")
@json_option
def keygen(name: str, out: Path, algorithm: str, passphrase_file: Path | None, no_passphrase: bool) -> None:
    """Make the approval key of member NAME, as two new files; show what others need to know of it.

    \b
    Example:
      keyvault member keygen alice --out alice.key
    """  # noqa: D301  as above
    member = parse_member_name(name)
    public_file = out.with_name(out.name + ".pub")
    for path in (out, public_file):
        _check_new(path)  # before anybody types a passphrase
    passphrase = _new_passphrase(member, passphrase_file, no_passphrase=no_passphrase)
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _write_both(out, _private_pem(key, passphrase), public_file, pem_of(public_key).encode())
    pairs = (("member", member), ("private_key", str(out)), ("public_key", str(public_file)), *_said(public_key))
    emit(dict(pairs), lambda: fields(pairs))


@command.command()
@click.argument("key", metavar="KEY")
@click.option(PASSPHRASE_OPTION, type=_FILE, help="For an encrypted private key. [asked for]")
@json_option
def show(key: str, passphrase_file: Path | None) -> None:
    """Show the public key and its key id. KEY is a file, agent:NAME, or a pkcs11: URI.

    Files may be public keys (PEM, or a line of OpenSSH) or private ones. A key in an agent has the name that ssh-add -l
    shows, SHA256:... or comment; agent: alone is its only key.

    \b
    Example:
      keyvault member show alice.key.pub
      keyvault member show ~/.ssh/id_ed25519.pub
      keyvault member show agent:
    """  # noqa: D301  as above
    public_key = public_key_of(key, passphrase_file=passphrase_file)
    pem = pem_of(public_key)
    pairs = _said(public_key)
    emit({**dict(pairs), "public_key_pem": pem}, lambda: f"{fields(pairs)}\n{pem.rstrip()}")


def _said(public_key: bytes) -> tuple[tuple[str, str], ...]:
    return (
        ("algorithm", "ED25519" if kind_of(public_key) == ED25519 else "P256"),
        ("keyid", keyid_of(public_key)),
        ("fingerprint", ssh_fingerprint(ssh_blob(public_key))),
    )


def _check_new(path: Path) -> None:
    if path.is_symlink() or path.exists():
        raise UnsafeFile(f"{path}: is there already and is never overwritten; move it away first")


def _new_passphrase(member: str, file: Path | None, *, no_passphrase: bool) -> str | None:
    if no_passphrase:
        if file is not None:
            raise UsageProblem(f"give {PASSPHRASE_OPTION} or --no-passphrase, not both")
        return None
    what = f"New passphrase of {member}'s key"
    text = ask_secret(what, PASSPHRASE_OPTION, twice=True) if file is None else read_secret(file)
    if len(text) < limits.PASSPHRASE_CHARS_MIN:
        raise UsageProblem(f"the passphrase must have at least {limits.PASSPHRASE_CHARS_MIN} characters")
    return text


def _private_pem(key: PrivateKey, passphrase: str | None) -> bytes:
    """Return the key as PKCS#8. cryptography would stretch the passphrase by 2048 rounds of PBKDF2: too few."""
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    plain = ECC.import_key(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    pem = plain.export_key(
        format="PEM",
        passphrase=passphrase.encode(),
        protection="scryptAndAES256-CBC",
        prot_params={
            "iteration_count": _SCRYPT_N,
            "block_size": _SCRYPT_R,
            "parallelization": _SCRYPT_P,
            "salt_size": _SALT_BYTES,
        },
    )
    return f"{pem}\n".encode()


def _write_both(private_file: Path, private: bytes, public_file: Path, public: bytes) -> None:
    """Write both files or neither."""
    write_secret_file(private_file, private)
    try:
        write_new_file(public_file, public)
    except (UnsafeFile, OSError):
        private_file.unlink()  # ours, of this moment: O_EXCL made it
        raise
