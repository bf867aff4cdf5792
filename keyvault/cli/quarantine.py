"""``keyvault quarantine``: why a restored ledger signs nothing, and how members let it go on."""

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, fields, hexed, json_option, printable, say
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Target, approval_options, member_options, target_options
from keyvault.cli.told import emit_proposal
from keyvault.client import AsyncClient, Proposal
from keyvault.core.marks import Quarantine


@click.group()
def command() -> None:
    """See why nothing is signed on a restored ledger, and let it go on.

    A server whose ledger has not got all that was seen of it signs nothing. If the newest ledger is anywhere, serve
    that: nothing is lost then. What is given up here is given up for ever.

    \b
    Example:
      keyvault quarantine show --deployment ./desk
      keyvault quarantine leave --reason "the disk and its mirror are gone" --deployment ./desk --member alice
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@target_options("auditor", "approver", "admin")
@json_option
def show(target: Target) -> None:
    """Show what was seen of the ledger and is not there.

    \b
    Example:
      keyvault quarantine show --deployment ./desk
    """  # noqa: D301  as above
    found = call(target, lambda client: client.get_enclave())
    quarantine = found.quarantine
    emit(
        {
            "incarnation": found.incarnation,
            "quarantine": None
            if quarantine is None
            else {
                "position": quarantine.position,
                "lost_incarnation": quarantine.lost.incarnation,
                "lost_epoch": quarantine.lost.epoch,
                "lost_position": quarantine.lost.size,
                "lost_root": hexed(quarantine.lost.root),
                "found": quarantine.found,
                "of_node": quarantine.of_node,
            },
        },
        lambda: "Not in quarantine." if quarantine is None else _told(quarantine),
    )


@command.command()
@click.option("--reason", required=True, help="Why the newest ledger is gone; stands in the ledger for ever.")
@member_options
@approval_options
@target_options("admin")
@json_option
def leave(reason: str, target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...]) -> None:
    """Propose to give up what is lost and go on with what is there; other members approve it.

    Then it signs again under another name of the ledger. Open proposals are void. Every limit counts as full until
    what may have been spent has left its window. Request ids of the lost period are not known: bots read nonces and
    open orders anew before they ask.

    \b
    Example:
      keyvault quarantine leave --reason "the disk and its mirror are gone" --deployment ./desk --member alice
    """  # noqa: D301  as above
    key, others = signer(member), tuple(map(signer, approvers))

    async def propose(client: AsyncClient) -> Proposal:
        quarantine = (await client.get_enclave()).quarantine
        if quarantine is None:
            raise UsageProblem(f"enclave {target.enclave} is not in quarantine: there is nothing to give up")
        if quarantine.of_node:
            raise UsageProblem(f"members cannot give anything up here: {printable(str(quarantine))}")
        say(_told(quarantine))
        return await client.leave_quarantine(reason, signer=key, approvers=others)

    emit_proposal(call(target, propose))


def _told(quarantine: Quarantine) -> str:
    if quarantine.of_node:
        has = f"{quarantine.lost}, {quarantine.position} of them up to the last that decided anything"
        return fields((("quarantine", printable(str(quarantine))), ("this node has", has)))
    return fields(
        (
            ("quarantine", printable(quarantine.found)),
            ("is there", f"{quarantine.position} entries, up to the last that decided anything"),
            ("is lost", f"what came after, in a ledger of {quarantine.lost} or more"),
        )
    )
