"""``keyvault init``: a working single-node deployment in a new folder. Nothing is overwritten, ever."""

import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from keyvault import config
from keyvault.cli import pki
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, fields, json_option, say
from keyvault.cli.target import VKEY_FILE
from keyvault.core.approvals import Member
from keyvault.core.events import Genesis
from keyvault.core.ids import (
    EnclaveName,
    Epoch,
    MemberName,
    UnixMillis,
    parse_enclave_name,
    parse_member_name,
    parse_principal,
)
from keyvault.core.policy import Policy
from keyvault.engine.genesis import write_genesis
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.ledger import note
from keyvault.ledger.codec_policy import encode_policy
from keyvault.secretfile import write_new_file
from keyvault.store.sqlite import open_store

CONFIG_FILE = "keyvault.toml"
_EMPTY_POLICY = Policy(version=1, rules=(), limits=())
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  names of addresses, nothing listens here


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made, checked as far as it can be before anything is."""

    directory: Path
    enclave: EnclaveName
    trust_domain: str
    listen: str
    member: MemberName
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What stands after a successful ``init``."""

    principals: tuple[str, ...]
    log_vkey: str


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--enclave", default="hot", show_default=True, help="Name of the enclave.")
@click.option("--trust-domain", default="keyvault.local", show_default=True, help="Host part of every spiffe:// id.")
@click.option("--listen", default="127.0.0.1:7443", show_default=True, help="host:port; port 0 takes any free one.")
@click.option("--member", default="admin", show_default=True, help="Name of the first member: its key signs changes.")
@click.option("--host", "hosts", multiple=True, help="Further DNS name or IP address of the server; repeatable.")
@json_option
def command(directory: Path, enclave: str, trust_domain: str, listen: str, member: str, hosts: tuple[str, ...]) -> None:
    """Make a working single-node deployment in DIRECTORY, which must be new or empty.

    Makes the configuration, a certificate authority with certificates for the server, a bot, an admin and an auditor,
    the first member's approval key, a SoftHSM token with random PINs, and the ledger with its genesis. The first policy
    has no rules: it refuses everything until you publish one.

    \b
    Example:
      keyvault init ./desk --enclave hot --listen 127.0.0.1:7443
    """  # noqa: D301  \b tells click to keep the lines
    plan = Plan(
        directory=directory.absolute(),
        enclave=parse_enclave_name(enclave),
        trust_domain=_checked_trust_domain(trust_domain),
        listen=listen,
        member=parse_member_name(member),
        hosts=_hosts(listen, hosts),
    )
    made = _in_new_directory(plan.directory, lambda: make(plan))
    emit(_document(plan, made), lambda: _summary(directory, plan, made))


def make(plan: Plan) -> Made:
    """Make the deployment in an existing empty directory. Raises KeyvaultError or OSError half-way."""
    directory = plan.directory
    write_new_file(directory / CONFIG_FILE, config.render_default(_deployment(plan)).encode())
    authority = directory / "ca"
    pki.create_authority(authority, plan.trust_domain)
    issued = (
        pki.issue(authority, "server", plan.enclave, directory / "certs", hosts=plan.hosts),
        pki.issue(authority, "bot", "demo", directory / "certs"),
        pki.issue(authority, "admin", plan.member, directory / "certs"),
        pki.issue(authority, "auditor", "demo", directory / "certs"),
    )
    (directory / "members").mkdir(mode=0o700)
    member_key = pki.create_member_key(directory / "members" / f"{plan.member}.key")
    say("Making the token and its keys ...")
    token = create_token(directory / "token", plan.enclave)
    log_vkey = _write_ledger(plan, token, member_key)
    write_new_file(directory / VKEY_FILE, f"{log_vkey}\n".encode())
    config.load(directory / CONFIG_FILE)  # what we made is what `serve` accepts
    return Made(principals=tuple(each.principal for each in issued), log_vkey=log_vkey)


def _write_ledger(plan: Plan, token: CreatedToken, member_key: bytes) -> str:
    """Write the genesis; return the key that verifies the ledger's checkpoints, in C2SP form."""
    genesis = Genesis(
        at=UnixMillis(time.time_ns() // 1_000_000),
        epoch=Epoch(0),
        enclave=plan.enclave,
        log_public_key=token.log_public_key,
        import_public_key=token.import_public_key,
        members=(Member(name=plan.member, roles=frozenset({"admin"}), public_keys=(member_key,)),),
        admin_threshold=1,
        policy=_EMPTY_POLICY,
        policy_document=encode_policy(_EMPTY_POLICY),
        nonce=secrets.token_bytes(16),
    )
    store = open_store(plan.directory / "ledger.db", create=True)
    try:
        origin = write_genesis(store, genesis)
    finally:
        store.close()
    return note.verifier(origin, token.log_public_key).vkey


def _deployment(plan: Plan) -> config.Deployment:
    return config.Deployment(
        enclave=plan.enclave,
        trust_domain=plan.trust_domain,
        label=plan.enclave[:32],  # a PKCS#11 label has 32 bytes
        certificate=f"certs/server-{plan.enclave}.crt",
        private_key=f"certs/server-{plan.enclave}.key",
        client_ca=f"ca/{pki.AUTHORITY_CERTIFICATE}",
        database="ledger.db",
        pin_file="token/user.pin",
        softhsm_conf="token/softhsm2.conf",
        listen=plan.listen,
    )


# Before and after -------------------------------------------------------------------------------------------


def _in_new_directory(directory: Path, work: Callable[[], Made]) -> Made:
    """Make the directory and do the work in it; when that fails, remove what we made, or say what is left."""
    created = _open_directory(directory)
    try:
        return work()
    except BaseException as error:  # an interrupt leaves no half deployment either
        if created:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            left = ", ".join(sorted(path.name for path in directory.iterdir()))
            error.add_note(f"{directory} was there before and stays. Left in it: {left or 'nothing'}. Empty it first.")
        raise


def _open_directory(directory: Path) -> bool:
    """Return whether we made the directory (mode 0700); raise unless it is new or empty."""
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not directory.is_dir() or any(directory.iterdir()):
            raise UsageProblem(
                f"{directory} is not an empty folder and nothing is ever overwritten; name a new one"
            ) from None
        return False
    return True


def _checked_trust_domain(text: str) -> str:
    parse_principal(f"spiffe://{text}/server/name")
    return text


def _hosts(listen: str, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the server beyond localhost: where it listens, and what the caller adds."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageProblem(f"--listen {listen!r} is not host:port, as in 127.0.0.1:7443")
    host = host.strip("[]")
    return hosts if host in _EVERYWHERE else (host, *hosts)


# What is said -----------------------------------------------------------------------------------------------


def _document(plan: Plan, made: Made) -> dict[str, str | tuple[str, ...]]:
    return {
        "directory": str(plan.directory),
        "config": str(plan.directory / CONFIG_FILE),
        "enclave": plan.enclave,
        "listen": plan.listen,
        "log_vkey": made.log_vkey,
        "member": plan.member,
        "member_key": str(plan.directory / "members" / f"{plan.member}.key"),
        "principals": made.principals,
    }


def _summary(directory: Path, plan: Plan, made: Made) -> str:
    folder = os.fspath(directory)
    found = fields(
        (
            ("enclave", plan.enclave),
            ("listen", plan.listen),
            ("identities", ", ".join(made.principals)),
            ("member key", f"{folder}/members/{plan.member}.key (signs every change: keep it safe, best elsewhere)"),
            ("authority", f"{folder}/ca (issues certificates: best kept elsewhere, too)"),
            ("log vkey", f"{made.log_vkey} (auditors pin it; also in {folder}/{VKEY_FILE})"),
        )
    )
    return f"""\
Made a deployment in {folder}.

{found}

Next:
  keyvault serve --config {folder}/{CONFIG_FILE}
  export KEYVAULT_DEPLOYMENT={folder}
  keyvault key create eth-mm-1 --algorithm secp256k1
  keyvault policy apply FILE    (the first policy refuses everything)"""
