"""``keyvault pair``: two or three machines without a database between them, and which of them leads."""

import click

from keyvault.cli.output import JsonValue, emit, fields, json_option, printable, say
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Target, approval_options, member_options, target_options
from keyvault.cli.told import emit_proposal
from keyvault.client import AsyncClient, EnclaveInfo, Proposal
from keyvault.core.ids import UnixMillis
from keyvault.core.units import utc


@click.group()
def command() -> None:
    """Two or three machines without a database between them, and which of them leads.

    The leader gives nothing out before every follower has it on its disk. Nothing but members' word moves the lead:
    when a machine is gone, start a follower with --stand-after-epoch, and let members name it.

    \b
    Example:
      keyvault pair show --deployment ./desk --target kv-2:7443
      keyvault pair set spiffe://keyvault.local/node/kv-2 --reason "kv-1 burnt" --target kv-2:7443 --member alice
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@target_options("auditor", "approver", "admin")
@json_option
def show(target: Target) -> None:
    """Show who leads by this node's ledger, how old its last decision is, and how far the others are.

    \b
    Example:
      keyvault pair show --deployment ./desk --target kv-2:7443
    """  # noqa: D301  as above
    found = call(target, lambda client: client.get_enclave())
    node = call(target, lambda client: client.get_node())
    pair = found.pair
    rows = [("peer", f"{printable(each.node)} {_peer(each.position, printable(each.obstacle))}") for each in node.peers]
    document: dict[str, JsonValue] | None = None
    if pair is not None:
        document = {
            "leader": pair.leader,
            "followers": list(pair.followers),
            "term_node": pair.term_node,
            "stands": pair.stands,
            "position": pair.position,
            "decided_at_ms": pair.decided_at,
        }
    emit(
        {
            "epoch": found.epoch,
            "pair": document,
            "leads_now": node.leads and not (pair is not None and pair.stands),
            "obstacle": node.obstacle,
            "peers": [
                {"node": each.node, "address": each.address, "position": each.position, "obstacle": each.obstacle}
                for each in node.peers
            ],
        },
        lambda: fields((*_told(found), ("note", printable(node.obstacle) or "none"), *rows)),
    )


@command.command("set")
@click.argument("leader", metavar="SPIFFE-ID")
@click.option(
    "--follower", "followers", multiple=True, metavar="SPIFFE-ID", help="Must have every entry first; 0 to 2."
)
@click.option("--reason", required=True, help="Stands in the ledger for ever.")
@member_options
@approval_options
@target_options("admin")
@json_option
def set_pair(
    leader: str,
    followers: tuple[str, ...],
    reason: str,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Propose who leads, and who must have every entry before anything is given out; other members approve it.

    Ask the node that leads; when it is gone, the one that stands, and no other. Without --follower the leader is alone:
    what it signs is nowhere else.

    \b
    Example:
      keyvault pair set spiffe://keyvault.local/node/kv-1 --follower spiffe://keyvault.local/node/kv-2 --reason "two
      sites" --deployment ./desk --target kv-1:7443 --member alice
    """  # noqa: D301  as above
    key, others = signer(member), tuple(map(signer, approvers))

    async def propose(client: AsyncClient) -> Proposal:
        say(fields(_told(await client.get_enclave())))
        return await client.set_pair(leader, followers, reason=reason, signer=key, approvers=others)

    emit_proposal(call(target, propose))


def _told(found: EnclaveInfo) -> tuple[tuple[str, str], ...]:
    pair = found.pair
    if pair is None:
        return (("pair", "none: this server's configuration has no [pair]"),)
    named = printable(pair.leader) or "nobody"
    stands = ", which STANDS: members must name it" if pair.stands else ""
    return (
        ("named leader", named),
        ("followers", printable(" ".join(pair.followers)) or "none"),
        ("epoch", f"{found.epoch}, on {printable(pair.term_node)}{stands}"),
        ("last decision", f"entry {pair.position - 1}, {utc(UnixMillis(pair.decided_at))}"),
    )


def _peer(position: int | None, obstacle: str) -> str:
    entries = "" if position is None else f"has {position} entries"
    return "; ".join(filter(None, (entries, obstacle))) or "was not asked yet"
