"""``keyvault proposals``: what waits for members, and what became of it."""

import asyncio

import click

from keyvault.cli.exits import Exit
from keyvault.cli.output import emit, json_option, say, table
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.cli.told import HEADER, document, emit_proposal, row, standing
from keyvault.client import AsyncClient, Proposal
from keyvault.core.proposals import Outcome

_READERS = ("auditor", "approver", "admin")
_FOREVER_S = 7 * 24 * 3600.0
"""Longest life of a proposal: no watch is longer."""


@click.group()
def command() -> None:
    """List, show and watch proposals.

    NAME is the proposal's: its first 8 or more hex digits will do.

    \b
    Example:
      keyvault proposals list --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines


@command.command(name="list")
@click.option("--all", "include_closed", is_flag=True, help="Also those that ended lately.")
@target_options(*_READERS)
@json_option
def list_proposals(include_closed: bool, target: Target) -> None:
    """List what waits for members, the newest first.

    \b
    Example:
      keyvault proposals list --all --deployment ./desk
    """  # noqa: D301  as above

    async def read(client: AsyncClient) -> tuple[Proposal, ...]:
        await client.get_enclave()  # pins the enclave that statements must name
        return await client.list_proposals(include_closed=include_closed)

    found = call(target, read)
    emit(
        {"proposals": [document(each) for each in found]},
        lambda: table(HEADER, [row(each) for each in found]) if found else "Nothing waits for members.",
    )


@command.command()
@click.argument("name")
@target_options(*_READERS)
@json_option
def show(name: str, target: Target) -> None:
    """Show how proposal NAME stands. What a payload means is shown by `keyvault approve`, before it signs.

    \b
    Example:
      keyvault proposals show 3f2a91bc77e0 --deployment ./desk
    """  # noqa: D301  as above
    emit_proposal(call(target, lambda client: fetch(client, name)))


@command.command()
@click.argument("name")
@click.option("--wait", type=click.FloatRange(min=0, min_open=True), help="Seconds. [until it has ended]")
@target_options(*_READERS)
@json_option
def watch(name: str, wait: float | None, target: Target) -> None:
    """Watch proposal NAME until it has ended; ends with 0 if it was carried out, else with 1.

    \b
    Example:
      keyvault proposals watch 3f2a91bc77e0 --wait 3600 --deployment ./desk
    """  # noqa: D301  as above

    async def follow(client: AsyncClient) -> Proposal:
        last = await fetch(client, name)
        try:
            async with asyncio.timeout(wait or _FOREVER_S):
                async for seen in client.watch_proposal(last.name):
                    last = seen
                    say(f"{standing(last)}; approved by {', '.join(last.approved_by) or 'nobody yet'}")
        except TimeoutError:
            say(f"Still {standing(last)} after {wait:g} s.")
        return last

    last = call(target, follow)
    emit_proposal(last)
    if last.outcome is not Outcome.EXECUTED:
        click.get_current_context().exit(Exit.REFUSED)


async def fetch(client: AsyncClient, name: str) -> Proposal:
    """Return a proposal of the enclave that is expected, whole; what is said to it is ``AsyncClient.cast``'s to guard.

    No proof is asked for here: whoever says no must not have to wait for one.
    """
    await client.get_enclave()  # pins the enclave that statements must name
    return await client.get_proposal(name)
