"""``keyvault key``: the life of keys. Every change is proposed by one member and approved by others.

Disabling is the exception: it only stops, so one member does it alone, at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

from keyvault.cli.key_shown import due_text, identity, is_due, key_document, key_text, staying, stays, tokens_text
from keyvault.cli.output import emit, json_option, say, table
from keyvault.cli.params import Days
from keyvault.cli.secret_option import secret_option
from keyvault.cli.session import call, signer
from keyvault.cli.target import (
    ChosenMember,
    Command,
    Target,
    approval_options,
    member_options,
    target_options,
    with_options,
)
from keyvault.cli.told import document as proposal_document
from keyvault.cli.told import next_step, told
from keyvault.client import AsyncClient, Proposal
from keyvault.client.results import Key
from keyvault.core import limits
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.proposals import Outcome

_GENERATED = ("secp256k1", "p256", "ed25519")
_IMPORTED = {"hmac-sha256": KeyAlgorithm.HMAC_SHA256, "hmac-sha512": KeyAlgorithm.HMAC_SHA512}
_READERS = ("auditor", "approver", "admin")
_VERSION = click.option("--version", type=click.IntRange(min=1), help="Which version. [the primary]")
_CRYPTOPERIOD = click.option(
    "--cryptoperiod", type=Days(), default=0, metavar="DAYS", help="Due for rotation after so long, as in 365d. [never]"
)
_PRE_ACTIVE = click.option("--pre-active", is_flag=True, help="It signs nothing before `key enable`.")

Ask = Callable[[AsyncClient], Awaitable[Proposal]]


@click.group()
def command() -> None:
    """Create, import, rotate, disable, enable, destroy, list and show keys.

    \b
    Example:
      keyvault key create eth-mm-1 --algorithm secp256k1 --deployment ./desk --member alice
      keyvault approve 3f2a91bc77e0 --deployment ./desk --member bob
      keyvault key list --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines


def _change_options(function: Command) -> Command:
    """Give a command ``key``, ``member``, ``approvers``, ``target`` and --json."""
    options = (click.argument("key"), member_options, approval_options, target_options("admin"), json_option)
    return with_options(function, options)


# Changes ----------------------------------------------------------------------------------------------------


@command.command()
@click.option("--algorithm", type=click.Choice(_GENERATED), required=True, help="What the key is to sign with.")
@_CRYPTOPERIOD
@click.option("--propose-rotation", is_flag=True, help="The enclave proposes the rotation itself when it falls due.")
@click.option(
    "--plaintext-transport",
    is_flag=True,
    help="Ed25519: it may go to other tokens by its seed, in clear in a worker. Without it, where the token wraps no"
    " such keys (SoftHSM 2.6), it stays in one, and no other node can lead while it is active.",
)
@_PRE_ACTIVE
@_change_options
def create(  # noqa: PLR0913  one for each option
    *,
    key: str,
    algorithm: str,
    cryptoperiod: int,
    propose_rotation: bool,
    plaintext_transport: bool,
    pre_active: bool,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Generate KEY inside the token; it never leaves it, or only wrapped for the firm's other tokens.

    \b
    Example:
      keyvault key create eth-mm-1 --algorithm secp256k1 --deployment ./desk --member alice
      keyvault key create eth-mm-1 --algorithm secp256k1 --cryptoperiod 365d --propose-rotation --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(
        target,
        lambda client: client.create_key(
            key,
            KeyAlgorithm(algorithm.upper()),
            signer=asker,
            approvers=others,
            initial=_initial(pre_active),
            cryptoperiod_days=cryptoperiod,
            propose_rotation=propose_rotation,
            plaintext_transport=plaintext_transport,
        ),
    )


@command.command(name="import")
@click.option(
    "--algorithm",
    type=click.Choice(tuple(_IMPORTED)),
    default="hmac-sha256",
    help="What the venue takes; Kraken: hmac-sha512. [hmac-sha256]",
)
@secret_option(required=True)
@_CRYPTOPERIOD
@_PRE_ACTIVE
@_change_options
def import_key(
    key: str,
    algorithm: str,
    secret: bytes,
    cryptoperiod: int,
    pre_active: bool,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Import an HMAC secret, such as an exchange's API secret, as KEY.

    The secret is wrapped here for the token's import key: the server never sees it. It is never taken from an argument,
    where other users of the machine could read it.

    \b
    Example:
      keyvault key import binance-1 --secret-file ./binance.secret --deployment ./desk --member alice
      keyvault key import kraken-1 --algorithm hmac-sha512 --base64 --secret-file ./kraken.secret --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(
        target,
        lambda client: client.import_hmac_key(
            key,
            secret,
            signer=asker,
            approvers=others,
            algorithm=_IMPORTED[algorithm],
            initial=_initial(pre_active),
            cryptoperiod_days=cryptoperiod,
        ),
    )


@command.command()
@secret_option(required=False)
@_PRE_ACTIVE
@_change_options
def rotate(
    key: str,
    secret: bytes | None,
    pre_active: bool,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Make the next version of KEY; the one before signs nothing more, and its signatures stay provable.

    \b
    Example:
      keyvault key rotate eth-mm-1 --deployment ./desk --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    initial = _initial(pre_active)
    _change(
        target,
        lambda client: client.rotate_key(key, signer=asker, approvers=others, initial=initial, secret=secret),
    )


@command.command()
@_VERSION
@_change_options
def disable(
    key: str, version: int | None, target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...]
) -> None:
    """Disable KEY: it signs nothing from the next decision on. One member does this alone.

    \b
    Example:
      keyvault key disable eth-mm-1 --deployment ./desk --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(target, lambda client: client.disable_key(key, signer=asker, approvers=others, version=version))


@command.command()
@_VERSION
@_change_options
def enable(
    key: str, version: int | None, target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...]
) -> None:
    """Enable KEY, which was disabled or made pre-active: it signs.

    \b
    Example:
      keyvault key enable eth-mm-1 --deployment ./desk --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(target, lambda client: client.enable_key(key, signer=asker, approvers=others, version=version))


@command.command()
@_VERSION
@click.option(
    "--after",
    type=Days(),
    default=limits.DESTRUCTION_DAYS,
    metavar="DAYS",
    help=f"How long it can still be kept, at least {limits.DESTRUCTION_DAYS_MIN}d. [{limits.DESTRUCTION_DAYS}d]",
)
@_change_options
def destroy(
    key: str,
    version: int | None,
    after: int,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Destroy a version of KEY for ever, some weeks from now; it is disabled as soon as that is approved.

    \b
    Example:
      keyvault key destroy eth-mm-1 --version 1 --after 30d --deployment ./desk --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(
        target,
        lambda client: client.destroy_key(key, signer=asker, approvers=others, version=version, after_days=after),
    )


@command.command()
@_VERSION
@_change_options
def keep(
    key: str, version: int | None, target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...]
) -> None:
    """Keep a version of KEY that was to be destroyed; it stays disabled.

    \b
    Example:
      keyvault key keep eth-mm-1 --version 1 --deployment ./desk --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    _change(target, lambda client: client.keep_key(key, signer=asker, approvers=others, version=version))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """What became of a change: the version once it is carried out, and what to be warned of, if anything."""

    proposal: Proposal
    key: Key | None = None
    warning: str = ""


def _change(target: Target, ask: Ask) -> None:
    """Ask for the change; print the proposal, and the version of the key once it is carried out."""

    async def work(client: AsyncClient) -> _Changed:
        proposal = await ask(client)
        said = proposal.said
        if proposal.outcome is not Outcome.EXECUTED:
            warned = await client.stays_in_one_token(said)
            return _Changed(proposal=proposal, warning=staying(said) if warned else "")
        key = await client.get_key(f"{said['key']}/versions/{dict(said.parameters).get('version', '1')}")
        lone = key.state is KeyState.ACTIVE and not key.sealed and (await client.get_enclave()).keys_move
        return _Changed(proposal=proposal, key=key, warning=stays(key) if lone else "")

    done = call(target, work)
    proposal, key = done.proposal, done.key
    found = None if key is None else key_document(key)
    text = f"{told(proposal)}\n{next_step(proposal)}" if key is None else f"{told(proposal)}\n\n{key_text(key)}"
    emit({"proposal": proposal_document(proposal), "key": found, "warning": done.warning}, text.rstrip)
    if done.warning:
        say(f"\n{done.warning}")


def _initial(pre_active: bool) -> KeyState:
    return KeyState.PRE_ACTIVE if pre_active else KeyState.ACTIVE


# Looking ----------------------------------------------------------------------------------------------------


@command.command(name="list")
@target_options(*_READERS)
@json_option
def list_keys(target: Target) -> None:
    """List the keys of the enclave by their primary versions; warns of those that are due for rotation.

    \b
    Example:
      keyvault key list --deployment ./desk
    """  # noqa: D301  as above
    _list(call(target, lambda client: client.list_keys()))


@command.command()
@click.argument("key")
@target_options(*_READERS)
@json_option
def versions(key: str, target: Target) -> None:
    """List all versions of KEY there ever were.

    \b
    Example:
      keyvault key versions eth-mm-1 --deployment ./desk
    """  # noqa: D301  as above
    _list(call(target, lambda client: client.list_keys(key)))


def _list(keys: tuple[Key, ...]) -> None:
    emit(
        {"keys": [key_document(key) for key in keys]},
        lambda: table(
            ("key", "version", "algorithm", "state", "provenance", "due", "tokens", "address or public key"),
            _rows(keys),
        ),
    )
    for key in keys:
        if is_due(key):
            say(f"Due for rotation: {key.key} version {key.version}, {due_text(key)}; keyvault key rotate {key.key}")


@command.command()
@click.argument("key")
@target_options("bot", *_READERS, pins=False)
@json_option
def show(key: str, target: Target) -> None:
    """Show KEY with its public key and, for secp256k1, its Ethereum address.

    \b
    Example:
      keyvault key show eth-mm-1 --deployment ./desk
    """  # noqa: D301  as above
    found = call(target, lambda client: client.public_key(key))
    emit(key_document(found), lambda: key_text(found))


def _rows(keys: tuple[Key, ...]) -> list[tuple[str, ...]]:
    return [
        (
            key.key,
            f"{key.version}{'' if key.primary else ' (not primary)'}",
            key.algorithm,
            key.state,
            key.provenance,
            due_text(key),
            tokens_text(key),
            identity(key),
        )
        for key in keys
    ]
