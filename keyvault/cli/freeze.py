"""``keyvault freeze`` and ``keyvault thaw``: stop a key, a principal, a venue or everything; and go on again.

One member stops; it takes the quorum of the charter to lift that.
"""

from collections.abc import Callable

import click

from keyvault.cli.output import emit, json_option, table
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Command, Target, approval_options, member_options, target_options
from keyvault.cli.told import emit_proposal
from keyvault.core.policy_kinds import VENUES
from keyvault.core.statements import FreezeScope


@click.group()
def command() -> None:
    """Stop a key, a principal, a venue, or the whole enclave: nothing is signed for it from the next decision on.

    One member with a voice is enough, and at once. Lifting it (`keyvault thaw`) needs a quorum.

    \b
    Example:
      keyvault freeze key eth-mm-1 --deployment ./desk --member alice
      keyvault freeze enclave --deployment ./desk --member alice
    """  # noqa: D301  \b tells click to keep the lines


@click.group()
def thaw_command() -> None:
    """Lift a freeze; that is proposed, and other members approve it.

    \b
    Example:
      keyvault thaw key eth-mm-1 --deployment ./desk --member alice
    """  # noqa: D301  as above


@command.command(name="list")
@target_options("auditor", "approver", "admin")
@json_option
def list_freezes(target: Target) -> None:
    """List what is frozen.

    \b
    Example:
      keyvault freeze list --deployment ./desk
    """  # noqa: D301  as above
    found = call(target, lambda client: client.list_freezes())
    emit(
        {"freezes": [{"scope": scope.value, "name": name} for scope, name in found]},
        lambda: table(("scope", "name"), found) if found else "Nothing is frozen.",
    )


def _freeze(target: Target, member: ChosenMember, scope: FreezeScope, name: str) -> None:
    key = signer(member)
    emit_proposal(call(target, lambda client: client.freeze(scope, name, signer=key)))


def _thaw(
    target: Target, member: ChosenMember, scope: FreezeScope, name: str, approvers: tuple[ChosenMember, ...]
) -> None:
    key, others = signer(member), tuple(map(signer, approvers))
    emit_proposal(call(target, lambda client: client.thaw(scope, name, signer=key, approvers=others)))


_ARGUMENTS: dict[FreezeScope, Callable[[Command], Command] | None] = {
    FreezeScope.ENCLAVE: None,
    FreezeScope.KEY: click.argument("name", metavar="KEY"),
    FreezeScope.PRINCIPAL: click.argument("name", metavar="PRINCIPAL"),
    FreezeScope.VENUE: click.argument("name", metavar="VENUE", type=click.Choice(sorted(VENUES))),
}
_EXAMPLES = {
    FreezeScope.ENCLAVE: "",
    FreezeScope.KEY: " eth-mm-1",
    FreezeScope.PRINCIPAL: " spiffe://keyvault.local/bot/demo",
    FreezeScope.VENUE: " binance",
}
_WHAT = {
    FreezeScope.ENCLAVE: "the whole enclave: nothing is signed at all",
    FreezeScope.KEY: "a key: no version of it signs",
    FreezeScope.PRINCIPAL: "a principal: nothing is signed for it",
    FreezeScope.VENUE: "a venue: no request for it is signed",
}


def _add(scope: FreezeScope) -> None:
    """Give both groups the command of this scope."""
    argument = _ARGUMENTS[scope]

    def freezes(target: Target, member: ChosenMember, name: str = "") -> None:
        _freeze(target, member, scope, name)

    def thaws(target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...], name: str = "") -> None:
        _thaw(target, member, scope, name, approvers)

    freezes.__doc__ = f"Freeze {_WHAT[scope]}.\n\n{_example('freeze', scope)}"
    thaws.__doc__ = f"Lift the freeze of {_WHAT[scope].partition(':')[0]}.\n\n{_example('thaw', scope)}"
    freezing: Command = member_options(target_options("admin", "approver")(json_option(freezes)))
    thawing: Command = member_options(approval_options(target_options("admin")(json_option(thaws))))
    for group, function in ((command, freezing), (thaw_command, thawing)):
        group.command(name=scope.value)(function if argument is None else argument(function))


def _example(verb: str, scope: FreezeScope) -> str:
    return f"\b\nExample:\n  keyvault {verb} {scope.value}{_EXAMPLES[scope]} --deployment ./desk --member alice"


for _scope in FreezeScope:
    _add(_scope)
