"""``keyvault init``: a working single-node deployment in a new folder. Nothing is overwritten, ever."""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from keyvault import config
from keyvault.cli import pki
from keyvault.cli.charter_file import CharterFileError, format_charter, parse_delay, read_charter
from keyvault.cli.exits import UsageProblem
from keyvault.cli.first_charter import TRYING_OUT, Wanted, first_charter
from keyvault.cli.output import emit, fields, json_option, say
from keyvault.cli.target import DEFAULT_NAME, VKEY_FILE
from keyvault.client.public_key import pem_of, read_public_key
from keyvault.core.charter import Charter
from keyvault.core.events import Genesis
from keyvault.core.ids import EnclaveName, Epoch, UnixMillis, parse_enclave_name, parse_principal, role_of
from keyvault.core.keys import KeyTransport
from keyvault.core.policy import Policy
from keyvault.engine.genesis import write_genesis
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.ledger import note
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from keyvault.secretfile import write_new_file
from keyvault.store.sqlite import open_store

CONFIG_FILE = "keyvault.toml"
CHARTER_FILE = "charter.yaml"
"""The first charter, as it stands in the genesis."""
_EMPTY_POLICY = Policy(version=1, rules=(), limits=())
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  names of addresses, nothing listens here
_MEMBER_ROLES = frozenset({"admin", "approver", "auditor"})
"""Roles of certificates that members call with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made, checked as far as it can be before anything is.

    ``charter`` is a whole charter that was given; otherwise ``members`` are who shall rule.
    """

    directory: Path
    enclave: EnclaveName
    trust_domain: str
    listen: str
    members: tuple[Wanted, ...]
    charter: Charter | None
    loosen_delay_ms: int
    hosts: tuple[str, ...]
    key_transport: KeyTransport

    @property
    def made_here(self) -> tuple[Wanted, ...]:
        """Members whose keys are made in the deployment's own folder."""
        return tuple(wanted for wanted in self.members if wanted.public_key is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What stands after a successful ``init``."""

    principals: tuple[str, ...]
    charter: Charter
    log_vkey: str


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--enclave", default="hot", show_default=True, help="Name of the enclave.")
@click.option("--trust-domain", default="keyvault.local", show_default=True, help="Host part of every spiffe:// id.")
@click.option("--listen", default="127.0.0.1:7443", show_default=True, help="host:port; port 0 takes any free one.")
@click.option(
    "--member",
    "members",
    multiple=True,
    metavar="NAME[=FILE.pub][:ROLE]",
    help="A member: admin, approver or auditor. Without FILE the key is made here. [alice, bob, carol:approver]",
)
@click.option("--charter", "charter_file", type=click.Path(dir_okay=False, path_type=Path), help="A whole charter.")
@click.option("--delay", default="24h", show_default=True, help="How long a policy that loosens waits once approved.")
@click.option("--host", "hosts", multiple=True, help="Further DNS name or IP address of the server; repeatable.")
@click.option(
    "--key-transport",
    type=click.Choice([KeyTransport.NONE.value, KeyTransport.KWP.value]),
    default=KeyTransport.NONE.value,
    help="kwp: keys can move, wrapped, to tokens that members let join. For ever. [none: they stay]",
)
@json_option
def command(  # noqa: PLR0913  one for each option
    *,
    directory: Path,
    enclave: str,
    trust_domain: str,
    listen: str,
    members: tuple[str, ...],
    charter_file: Path | None,
    delay: str,
    hosts: tuple[str, ...],
    key_transport: str,
) -> None:
    """Make a working single-node deployment in DIRECTORY, which must be new or empty.

    Makes the configuration, a certificate authority with certificates for the server, a bot, an auditor and the
    members, a SoftHSM token with random PINs, and the ledger with its genesis. The first policy has no rules: it
    refuses everything until you publish one.

    Who rules is the charter. To try keyvault out three members are made, with their keys in DIRECTORY/members. In
    earnest everybody makes their own key, elsewhere (keyvault member keygen), and hands in its public half: --member
    alice=alice.key.pub, or --charter FILE for groups and thresholds of your own.

    \b
    Example:
      keyvault init ./desk --enclave hot --listen 127.0.0.1:7443
      keyvault init ./desk --member alice=alice.key.pub --member bob=bob.key.pub --member carol=carol.key.pub:approver
    """  # noqa: D301  \b tells click to keep the lines
    plan = Plan(
        directory=directory.absolute(),
        enclave=parse_enclave_name(enclave),
        trust_domain=_checked_trust_domain(trust_domain),
        listen=listen,
        members=_members(members, charter_file),
        charter=None if charter_file is None else _first(charter_file),
        loosen_delay_ms=parse_delay(delay),
        hosts=_hosts(listen, hosts),
        key_transport=KeyTransport(key_transport),
    )
    made = _in_new_directory(plan.directory, lambda: make(plan))
    emit(_document(plan, made), lambda: _summary(directory, plan, made))


def make(plan: Plan) -> Made:
    """Make the deployment in an existing empty directory. Raises KeyvaultError or OSError half-way."""
    directory = plan.directory
    write_new_file(directory / CONFIG_FILE, config.render_default(_deployment(plan)).encode())
    authority = directory / "ca"
    pki.create_authority(authority, plan.trust_domain)
    charter = plan.charter or _charter(plan)
    write_new_file(directory / CHARTER_FILE, format_charter(charter).encode())
    issued = [
        pki.issue(authority, "server", plan.enclave, directory / "certs", hosts=plan.hosts),
        pki.issue(authority, "bot", DEFAULT_NAME, directory / "certs"),
        pki.issue(authority, "auditor", DEFAULT_NAME, directory / "certs"),
    ]
    issued += [pki.issue(authority, role, name, directory / "certs") for role, name in _callers(plan, charter)]
    say("Making the token and its keys ...")
    token = create_token(directory / "token", plan.enclave, key_transport=plan.key_transport)
    log_vkey = _write_ledger(plan, token, charter)
    write_new_file(directory / VKEY_FILE, f"{log_vkey}\n".encode())
    config.load(directory / CONFIG_FILE)  # what we made is what `serve` accepts
    return Made(principals=tuple(each.principal for each in issued), charter=charter, log_vkey=log_vkey)


def _charter(plan: Plan) -> Charter:
    """Return the first charter of the members that are wanted, making the keys that nobody handed in."""
    folder = plan.directory / "members"
    folder.mkdir(mode=0o700)
    members = [wanted.member(_public_key(folder, wanted), plan.trust_domain) for wanted in plan.members]
    return first_charter(members, loosen_delay_ms=plan.loosen_delay_ms)


def _public_key(folder: Path, wanted: Wanted) -> bytes:
    if wanted.public_key is not None:
        return read_public_key(wanted.public_key)
    public_key = pki.create_member_key(folder / f"{wanted.name}.key")
    write_new_file(folder / f"{wanted.name}.key.pub", pem_of(public_key).encode())
    return public_key


def _callers(plan: Plan, charter: Charter) -> Iterator[tuple[str, str]]:
    """Give role and name of each certificate that a member of the charter calls with."""
    for member in charter.members:
        for principal in sorted(member.principals):
            domain, role, name = principal.removeprefix("spiffe://").split("/")
            if domain == plan.trust_domain and role_of(principal) in _MEMBER_ROLES:
                yield role, name


def _write_ledger(plan: Plan, token: CreatedToken, charter: Charter) -> str:
    """Write the genesis; return the key that verifies the ledger's checkpoints, in C2SP form."""
    genesis = Genesis(
        at=UnixMillis(time.time_ns() // 1_000_000),
        epoch=Epoch(0),
        enclave=plan.enclave,
        log_public_key=token.log_public_key,
        import_public_key=token.import_public_key,
        charter=charter,
        charter_document=encode_charter(charter),
        policy=_EMPTY_POLICY,
        policy_document=encode_policy(_EMPTY_POLICY),
        nonce=secrets.token_bytes(16),
        sealed=token.sealed,
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
        key_transport=plan.key_transport,
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


def _members(texts: tuple[str, ...], charter_file: Path | None) -> tuple[Wanted, ...]:
    if charter_file is not None:
        if texts:
            raise UsageProblem("give --member or --charter, not both: a charter names its members")
        return ()
    members = tuple(map(Wanted.parse, texts or TRYING_OUT))
    names = [wanted.name for wanted in members]
    if len(set(names)) != len(names):
        raise UsageProblem("--member: each member once; further keys of a person belong in --charter FILE")
    return members


def _first(path: Path) -> Charter:
    charter = read_charter(path)
    if charter.version != 1:
        raise CharterFileError((f"{path}: version {charter.version} is not the first: write version: 1",))
    return charter


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
        "members": tuple(member.name for member in made.charter.members),
        "member_keys": tuple(str(plan.directory / "members" / f"{each.name}.key") for each in plan.made_here),
        "principals": made.principals,
    }


def _summary(directory: Path, plan: Plan, made: Made) -> str:
    folder = os.fspath(directory)
    found = fields(
        (
            ("enclave", plan.enclave),
            ("listen", plan.listen),
            ("members", ", ".join(f"{each.name} ({', '.join(sorted(each.roles))})" for each in made.charter.members)),
            ("charter", f"{folder}/{CHARTER_FILE} (who must approve what)"),
            ("identities", ", ".join(made.principals)),
            ("authority", f"{folder}/ca (issues certificates: best kept elsewhere)"),
            ("log vkey", f"{made.log_vkey} (auditors pin it; also in {folder}/{VKEY_FILE})"),
        )
    )
    asker = next((each.name for each in made.charter.members if "admin" in each.roles), "NAME")
    return f"""\
Made a deployment in {folder}.

{found}
{_warning(folder, plan)}
Next:
  keyvault serve --config {folder}/{CONFIG_FILE}
  export KEYVAULT_DEPLOYMENT={folder} KEYVAULT_MEMBER={asker}
  keyvault key create eth-mm-1 --algorithm secp256k1    (proposes it; another member approves)
  keyvault policy apply FILE    (the first policy refuses everything)"""


def _warning(folder: str, plan: Plan) -> str:
    """Say loudly what keys of several people in one folder are worth."""
    if not plan.made_here:
        return ""
    names = ", ".join(wanted.name for wanted in plan.made_here)
    return f"""
FOR TRYING OUT ONLY: the approval keys of {names} were made here and lie together in {folder}/members, without a
passphrase. Whoever can read that folder is all of them at once. In earnest each member makes their own key, where only
they can use it (keyvault member keygen), and you give its public half: --member NAME=FILE.pub
"""
