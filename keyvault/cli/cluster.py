"""``keyvault cluster``: the nodes of an enclave, who of them leads, and moving the lead."""

from dataclasses import asdict, replace
from typing import TypeGuard

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, json_option, printable, table
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.client.cluster import NodeStanding
from keyvault.client.errors import KeyvaultRpcError


@click.group()
def command() -> None:
    """Show the nodes of an enclave, and move the lead between them.

    Give --target all addresses, separated by commas.

    \b
    Example:
      keyvault cluster status --deployment ./desk --target kv-1:7443,kv-2:7443,kv-3:7443
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@target_options("admin", "auditor", "approver")
@json_option
def status(target: Target) -> None:
    """Ask every node how it stands. A node that does not answer is shown with the reason.

    position: entries that the node has verified; checkpoint: the newest one that it compared with its own copy;
    cosigner: the key of its cosignatures, to be compared with the line "cosigning" in that node's own log.
    Below, where nodes have a place: which enclaves of the database are led there and which could be, as the first node
    that answers sees it.

    \b
    Example:
      keyvault cluster status --deployment ./desk --target kv-1:7443,kv-2:7443,kv-3:7443
    """  # noqa: D301  as above
    found = [(address, _ask(target, address)) for address in target.addresses]
    emit(
        {"nodes": [_shown(answer) | {"target": address} for address, answer in found]},
        lambda: (
            "\n".join(
                [
                    table(
                        ("target", "role", "place", "epoch", "position", "checkpoint", "note"),
                        [(address, *_row(answer)) for address, answer in found],
                    ),
                    *(printable(f"cosigner  {each.cosigner_vkey}") for _, each in found if _cosigns(each)),
                ]
            )
            + _spread([answer for _, answer in found if isinstance(answer, NodeStanding)])
        ),
    )


@command.command("step-down")
@target_options("admin")
@json_option
def step_down(target: Target) -> None:
    """Let another node lead. What is under way ends first; clients of the SDK do not notice.

    Where enclaves are spread over places, it evens out again half a minute later, with this enclave or another: to keep
    a node from leading, drain it.

    \b
    Example:
      keyvault cluster step-down --deployment ./desk --target kv-1:7443,kv-2:7443,kv-3:7443
    """  # noqa: D301  as above
    for address in target.addresses:
        answer = _ask(target, address)
        if isinstance(answer, NodeStanding) and answer.leads:
            call(replace(target, addresses=(address,)), lambda client: client.step_down())
            text = f"{address} does not lead any more."
            emit({"stepped_down": address}, lambda: text)  # noqa: B023  it is called at once
            return
    raise UsageProblem("none of these nodes leads now; `keyvault cluster status` shows how they stand")


@command.command()
@click.option("--off", is_flag=True, help="Let the node come back.")
@target_options("admin")
@json_option
def drain(target: Target, off: bool) -> None:
    """Keep one node away from the lead until its next start, or until --off. --target names that node alone.

    For maintenance: it hands over first, goes on following, and serves reads. One node is one enclave's: drain those of
    every enclave to empty a place. The others take over evenly, nothing moves there meanwhile, and after --off, or the
    next start, the place gets its share again in a minute or two.

    \b
    Example:
      keyvault cluster drain --deployment ./desk --target kv-1:7443
    """  # noqa: D301  as above
    if len(target.addresses) != 1:
        raise UsageProblem("--target must be the one node that is to be drained")
    standing = call(target, lambda client: client.set_drained(drained=not off))
    emit(_shown(standing), lambda: f"{target.addresses[0]} {'may lead again' if off else 'is drained'}.")


def _ask(target: Target, address: str) -> NodeStanding | KeyvaultRpcError:
    try:
        return call(replace(target, addresses=(address,)), lambda client: client.get_node())
    except KeyvaultRpcError as error:
        return error


def _cosigns(answer: NodeStanding | KeyvaultRpcError) -> TypeGuard[NodeStanding]:
    return isinstance(answer, NodeStanding) and bool(answer.cosigner_vkey)


def _spread(answers: list[NodeStanding]) -> str:
    """Return the places as one of the nodes sees them, to stand below the table of nodes."""
    places = next((answer.places for answer in answers if answer.places), ())
    if not places:
        return ""
    rows = [(each.place, str(len(each.leads)), " ".join(each.leads), " ".join(each.able)) for each in places]
    return "\n\n" + table(("place", "leads", "which", "could lead"), [tuple(map(printable, row)) for row in rows])


def _shown(answer: NodeStanding | KeyvaultRpcError) -> dict[str, JsonValue]:
    if isinstance(answer, KeyvaultRpcError):
        return {"error": printable(str(answer))}
    return {name: value for name, value in asdict(answer).items() if name != "cosigned"}


def _row(answer: NodeStanding | KeyvaultRpcError) -> tuple[str, ...]:
    if isinstance(answer, KeyvaultRpcError):
        return ("no answer", "", "", "", "", printable(str(answer)))
    by = f"drained by {answer.drained_by}" if answer.drained_by else ""
    role = "quarantine" if answer.quarantined else "leads" if answer.leads else "follows"
    return (
        role,
        printable(answer.place),
        str(answer.epoch),
        str(answer.position),
        str(answer.checkpoint_size),
        printable("; ".join(filter(None, (answer.obstacle, by, answer.installing)))),
    )
