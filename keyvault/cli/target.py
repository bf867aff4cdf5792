"""Which server a command talks to, as whom, and whose key signs changes: from a deployment's folder or from options.

A deployment's folder gives everything: ``keyvault.toml`` the address and the enclave, ``ca/`` the authority, ``certs/``
one certificate per identity, ``members/`` approval keys, ``log.vkey`` the ledger's key. Each can be named on its own
instead, for machines that hold one identity only; of the folder only what is not named is looked at, besides
``log.vkey``, which pins the ledger of its enclave wherever it is there.
"""

import functools
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.client.addresses import parse_addresses
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, MemberName, parse_enclave_name, parse_member_name
from keyvault.ledger.note import parse_vkey

DEFAULT_NAME = "demo"
"""Name of the bot and the auditor that `keyvault init` makes."""

PORT_FILE = "port"
"""Where ``serve --port-file DIR/port`` leaves the port of a deployment that listens on port 0."""
VKEY_FILE = "log.vkey"
"""Where ``init`` leaves the key that verifies the ledger's checkpoints, in C2SP form."""
VKEY_VARIABLE = "KEYVAULT_VKEY_FILE"
"""Environment variable that names such a file, for every command that pins the ledger's key."""
TIMEOUT_S = 15.0
OFFLINE = "keyvault.offline"
"""Set in ``Context.meta`` by a command that asks no server, whatever the options of one that it stands on would ask."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  names of addresses, nothing listens here
_MEMBER_VARIABLE = "KEYVAULT_MEMBER"
_VOICES = ("admin", "approver")
"""Roles under which a member may have a certificate of their own; what they may do with it, the server says."""
_SECONDS = click.FloatRange(min=0, max=3_600, min_open=True)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

Command = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An enclave, the servers of it, and the identity with which to ask."""

    addresses: tuple[str, ...]
    enclave: EnclaveName
    ca: Path
    certificate: Path
    private_key: Path
    timeout_s: float
    log_vkey: str | None
    """The log key that --vkey-file or the deployment's folder pins; None: as the server names it."""
    pinned_by: Path | None
    """The file that log_vkey is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenMember:
    """Whose approval key signs, and where that key lives (``cli.approver_key``)."""

    name: MemberName
    reference: str
    passphrase_file: Path | None = None
    pin_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What stood on the command line or in the environment."""

    deployment: Path | None
    identity: str | None
    address: str | None
    enclave: str | None
    ca: Path | None
    cert: Path | None
    cert_key: Path | None
    vkey_file: Path | None
    timeout: float
    pins: bool


_TARGET_OPTIONS = (
    click.option("--deployment", envvar="KEYVAULT_DEPLOYMENT", type=_FOLDER, help="Folder made by `keyvault init`."),
    click.option(
        "--as",
        "identity",
        metavar="ROLE/NAME",
        help="Whose certificate of the deployment to use. [that of --member or KEYVAULT_MEMBER, or the only one]",
    ),
    click.option(
        "--target",
        "address",
        metavar="HOST:PORT[,...]",
        help="The server, or all that serve the enclave: the one that leads is found. [listen of the deployment]",
    ),
    click.option("--enclave", help="The enclave. [that of the deployment]"),
    click.option("--ca", type=_FILE, help="Authority that the server's certificate must come from."),
    click.option("--cert", type=_FILE, help="Our certificate, instead of --as."),
    click.option("--cert-key", type=_FILE, help="The private key of --cert."),
    click.option("--timeout", type=_SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds, retries included."),
)
_PIN_OPTION = click.option(
    "--vkey-file",
    envvar=VKEY_VARIABLE,
    type=_FILE,
    help="The ledger's key, as `keyvault init` printed it. [log.vkey of the deployment]",
)


def target_options(*roles: str, only_with: str | None = None, pins: bool = True) -> Callable[[Command], Command]:
    """Give a command the options that name a server; it gets ``target``. Without --as, the first of ``roles`` asks.

    With ``only_with``, the name of a flag, ``target`` is None unless that flag is given; the command does not get it.
    Unless it ``pins``, it knows no log key: bots may not ask a server which ledger it has.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_target(  # noqa: PLR0913  one for each option
            *,
            deployment: Path | None,
            identity: str | None,
            address: str | None,
            enclave: str | None,
            ca: Path | None,
            cert: Path | None,
            cert_key: Path | None,
            timeout: float,
            vkey_file: Path | None = None,
            **others: object,
        ) -> None:
            given = Given(
                deployment=deployment,
                identity=identity,
                address=address,
                enclave=enclave,
                ca=ca,
                cert=cert,
                cert_key=cert_key,
                vkey_file=vkey_file,
                timeout=timeout,
                pins=pins,
            )
            wanted = only_with is None or others.pop(only_with)
            if click.get_current_context().meta.get(OFFLINE):
                wanted = False
            member = others.get("member")
            command(target=resolve(given, roles, _own_names(roles, member)) if wanted else None, **others)

        return with_options(with_target, (*_TARGET_OPTIONS, _PIN_OPTION) if pins else _TARGET_OPTIONS)

    return decorate


def member_options(command: Command) -> Command:
    """Give a command the options that name a member's approval key; it gets ``member``. Stands above target_options.

    Without --as, the target is then asked with this member's own certificate.
    """

    @functools.wraps(command)
    def with_member(
        *,
        member_name: str | None,
        reference: str | None,
        passphrase_file: Path | None,
        pin_file: Path | None,
        **others: object,
    ) -> None:
        chosen = replace(
            resolve_member(_given_folder(others), member_name, reference),
            passphrase_file=passphrase_file,
            pin_file=pin_file,
        )
        command(member=chosen, **others)

    return with_options(
        with_member,
        (
            click.option(
                "--member",
                "member_name",
                envvar=_MEMBER_VARIABLE,
                help="Who signs, or KEYVAULT_MEMBER. [the only one in the deployment]",
            ),
            click.option(
                "--key",
                "reference",
                metavar="REFERENCE",
                help="Their approval key: a file, agent:NAME or a pkcs11: URI. [DEPLOYMENT/members/MEMBER.key]",
            ),
            click.option("--passphrase-file", type=_FILE, help="File (0600) or descriptor. [asked for where needed]"),
            click.option("--pin-file", type=_FILE, help="The same for the PIN of a token. [asked for]"),
        ),
    )


def approval_options(command: Command) -> Command:
    """Give a command the options that approve at once what it asks for; it gets ``approvers``."""

    @functools.wraps(command)
    def with_approvers(*, approve_with: tuple[str, ...], approver_keys: tuple[str, ...], **others: object) -> None:
        folder = _given_folder(others)
        chosen = [resolve_member(folder, name, None) for name in approve_with]
        chosen += [_named_key(text) for text in approver_keys]
        command(approvers=tuple(chosen), **others)

    return with_options(
        with_approvers,
        (
            click.option(
                "--approve-with",
                multiple=True,
                metavar="NAME",
                help="Approve at once with this member's key of DEPLOYMENT/members, too; repeatable. For trying out and"
                " for scripts: it defeats the purpose where keys are to live with different people.",
            ),
            click.option(
                "--approver-key",
                "approver_keys",
                multiple=True,
                metavar="NAME=REFERENCE",
                help="The same with a key that lives elsewhere: a file, agent:NAME or a pkcs11: URI.",
            ),
        ),
    )


def _own_names(roles: tuple[str, ...], member: object) -> tuple[str, ...]:
    """Return the names of certificates of whoever asks: of the member who signs, or else of the one who usually does.

    Only what members do anyway is asked as a member: bots' commands are bots'.
    """
    if isinstance(member, ChosenMember):
        return tuple(f"{role}-{member.name}" for role in (*roles, *_VOICES))
    usual = os.environ.get(_MEMBER_VARIABLE)
    name = parse_member_name(usual) if usual else None
    return () if name is None else tuple(f"{role}-{name}" for role in roles if role in _VOICES)


def resolve(given: Given, roles: tuple[str, ...], own: tuple[str, ...] = ()) -> Target:
    """Return the target, asked with the first of these certificates that is there; raise UsageProblem, Malformed."""
    certificate, private_key = _credential(given, roles, own)
    pin_file = _pin_file(given) if given.pins else None
    return Target(
        addresses=parse_addresses(given.address or _address(_folder(given, "--target"))),
        enclave=parse_enclave_name(given.enclave or _text(_folder(given, "--enclave"), "enclave", "name")),
        ca=given.ca or _folder(given, "--ca") / "ca" / "ca.crt",
        certificate=certificate,
        private_key=private_key,
        timeout_s=given.timeout,
        log_vkey=None if pin_file is None else read_vkey(pin_file),
        pinned_by=pin_file,
    )


def read_vkey(path: Path) -> str:
    """Return the log key that a file such as ``log.vkey`` holds; raise UsageProblem if it holds none."""
    try:
        with path.open("rb") as file:
            return parse_vkey(file.read(limits.NOTE_BYTES_MAX).decode().strip()).vkey
    except (OSError, ValueError, Malformed) as error:
        raise UsageProblem(f"{path}: cannot be read as the ledger's key ({error})") from None


def expected_vkey(log_vkey: str | None, vkey_file: Path | None) -> str | None:
    """Return the log key that was given as it is or in a file; None if neither was. An empty one is no key: Malformed.

    Raises UsageProblem and Malformed.
    """
    if log_vkey is not None:
        return parse_vkey(log_vkey).vkey
    return None if vkey_file is None else read_vkey(vkey_file)


def resolve_member(deployment: Path | None, name: str | None, reference: str | None) -> ChosenMember:
    """Return who signs; a key file is named after its member. Raise UsageProblem where that is not clear."""
    if reference is not None:
        if name is None and reference.startswith(("agent:", "pkcs11:")):
            raise UsageProblem("say whose key that is with --member NAME")
        return ChosenMember(name=parse_member_name(name or Path(reference).stem), reference=reference)
    if deployment is None:
        raise UsageProblem("nobody to sign: give --deployment DIR, or --member NAME and --key REFERENCE")
    wanted = None if name is None else parse_member_name(name)
    path = _only(deployment / "members", f"{wanted or '*'}.key", "--member NAME (or set KEYVAULT_MEMBER), --key")
    return ChosenMember(name=parse_member_name(path.stem), reference=str(path))


def _named_key(text: str) -> ChosenMember:
    name, equals, reference = text.partition("=")
    if not equals or not reference:
        raise UsageProblem(f"--approver-key {text[:80]!r} is not NAME=REFERENCE, as in bob=agent:bob")
    return ChosenMember(name=parse_member_name(name), reference=reference)


def with_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """Return the command with these options, in this order in its help."""
    for option in reversed(options):
        command = option(command)
    return command


def _folder(given: Given, instead: str) -> Path:
    if given.deployment is None:
        raise UsageProblem(f"no deployment: give --deployment DIR (or set KEYVAULT_DEPLOYMENT), or {instead}")
    return given.deployment


def _given_folder(options: dict[str, object]) -> Path | None:
    folder = options["deployment"]
    return folder if isinstance(folder, Path) else None


def _credential(given: Given, roles: tuple[str, ...], names: tuple[str, ...]) -> tuple[Path, Path]:
    if given.cert is not None and given.cert_key is not None:
        return given.cert, given.cert_key
    if given.cert is not None or given.cert_key is not None:
        raise UsageProblem("--cert and --cert-key go together")
    folder = _folder(given, "--cert and --cert-key") / "certs"
    if given.identity is not None:
        certificate = folder / f"{given.identity.replace('/', '-', 1)}.crt"
        if not certificate.is_file():
            raise UsageProblem(f"{certificate} is not there; `keyvault cert issue {given.identity}` makes it")
    elif own := [path for name in names if (path := folder / f"{name}.crt").is_file()]:
        certificate = own[0]
    else:
        role = next((role for role in roles if any(folder.glob(f"{role}-*.crt"))), roles[0])
        certificate = _only(folder, f"{role}-*.crt", "--as ROLE/NAME")
    return certificate, certificate.with_suffix(".key")


def _only(folder: Path, pattern: str, instead: str) -> Path:
    found = sorted(folder.glob(pattern))
    first = [path for path in found if path.stem.endswith(f"-{DEFAULT_NAME}")]
    if len(found) > 1 and len(first) == 1:
        return first[0]  # the one that `init` made; others are most likely for other machines
    if len(found) != 1:
        names = ", ".join(path.stem for path in found) or "none"
        raise UsageProblem(f"{folder} has {len(found)} files {pattern} ({names}); say which one with {instead}")
    return found[0]


def _address(folder: Path) -> str:
    """Return where the deployment listens, as a client on this machine reaches it."""
    host, _, port = _text(folder, "server", "listen").rpartition(":")
    if port == "0":
        try:
            port = (folder / PORT_FILE).read_text().strip()
        except OSError:
            raise UsageProblem(
                f"{folder} takes any free port: start it with --port-file {folder / PORT_FILE}, or give --target"
            ) from None
    return f"{_EVERYWHERE.get(host, host)}:{port}"


def _pin_file(given: Given) -> Path | None:
    """Return the file with the ledger's key; None if nothing pins it."""
    if given.vkey_file is not None or given.deployment is None:
        return given.vkey_file
    path = given.deployment / VKEY_FILE
    if not path.exists():
        return None
    of_folder = parse_vkey(read_vkey(path)).name
    if given.enclave is not None and not of_folder.startswith(f"keyvault/{given.enclave}/"):
        return None  # another ledger is meant than that of the folder
    return path


def _text(folder: Path, section: str, key: str) -> str:
    """Return one value of the deployment's configuration. Not ``config.load``: a client may not read the secrets."""
    path = folder / "keyvault.toml"
    try:
        with path.open("rb") as file:
            document = tomllib.loads(file.read(limits.CONFIG_BYTES_MAX).decode())
        value = document[section][key]
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read ({error.strerror}); is this a folder of `keyvault init`?") from None
    except (ValueError, KeyError, TypeError):
        raise UsageProblem(f"{path}: has no {section}.{key}; `keyvault serve` says what is wrong with it") from None
    return str(value)
