"""``keyvault charter``: who rules the enclave, checked, shown, and changed by those who rule it."""

from dataclasses import replace
from pathlib import Path

import click

from keyvault.cli.charter_file import format_charter, read_charter, threshold_text
from keyvault.cli.differences import charter_changes, charter_wait
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, hexed, json_option, say
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Target, approval_options, member_options, target_options
from keyvault.cli.told import emit_proposal
from keyvault.client import AsyncClient, Proposal
from keyvault.core.charter import Charter, Duty, Rulers
from keyvault.ledger.codec_charter import charter_sha256, encode_charter

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Check, show and change the charter: members, groups, and how many of whom each duty needs.

    \b
    Example:
      keyvault charter show --deployment ./desk > charter.yaml
      keyvault charter apply charter.yaml --next-version --deployment ./desk --member alice
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("file", type=_FILE)
@json_option
def check(file: Path) -> None:
    """Check a charter FILE offline; every problem is listed as file:line:column.

    \b
    Example:
      keyvault charter check charter.yaml
    """  # noqa: D301  as above
    charter = read_charter(file)
    digest = hexed(charter_sha256(encode_charter(charter)))
    emit(
        {"file": str(file), "version": charter.version, "sha256": digest, **_counts(charter)},
        lambda: f"{file}: no problems; {_size(charter)}.",
    )


@command.command()
@target_options("auditor", "approver", "admin")
@json_option
def show(target: Target) -> None:
    """Show the charter in force, as a file that `charter check` accepts.

    \b
    Example:
      keyvault charter show --deployment ./desk > charter.yaml
    """  # noqa: D301  as above
    found = call(target, lambda client: client.get_charter())
    text = format_charter(found.charter)
    emit({"version": found.charter.version, "sha256": hexed(found.sha256), "yaml": text}, text.rstrip)


@command.command()
@click.argument("file", type=_FILE)
@click.option("--next-version", is_flag=True, help="Propose it as the next version, whatever the file says.")
@click.option("--break-glass", is_flag=True, help="For when the charter's own threshold cannot be met any more.")
@click.option("--reason", help="Why the glass must be broken; stands in the ledger for ever.")
@member_options
@approval_options
@target_options("admin")
@json_option
def apply(
    file: Path,
    next_version: bool,
    break_glass: bool,
    reason: str | None,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Check FILE, show who and what changes, and propose it.

    It needs the threshold for charters of the one in force and of the new one. If it shortens or drops a delay, it
    waits that long; if it adds a duty with a delay, as long as the longest. With --break-glass it needs the threshold
    for break-glass instead, and waits as long as that says; anybody with a voice can veto it meanwhile.

    \b
    Example:
      keyvault charter apply charter.yaml --deployment ./desk --member alice
    """  # noqa: D301  as above
    if break_glass is not bool(reason):
        raise UsageProblem("--break-glass and --reason TEXT go together")
    wanted, key, others = read_charter(file), signer(member), tuple(map(signer, approvers))

    async def propose(client: AsyncClient) -> Proposal:
        current = (await client.get_charter()).charter
        charter = _next(wanted, current.version, file, chosen=next_version)
        say(f"Charter version {charter.version} of enclave {target.enclave}: {_size(charter)}.")
        say(charter_changes(current, charter))
        duty = Duty.BREAK_GLASS if break_glass else Duty.CHARTER
        say("\n".join(filter(None, (_needs(current, duty), charter_wait(current, charter, duty)))))
        return await client.change_charter(charter, signer=key, approvers=others, break_glass_reason=reason)

    emit_proposal(call(target, propose))


def _next(charter: Charter, current: int, file: Path, *, chosen: bool) -> Charter:
    if chosen:
        return replace(charter, version=current + 1)
    if charter.version != current + 1:
        raise UsageProblem(
            f"{file}: version {charter.version} does not follow version {current}, which is in force;"
            f" write version: {current + 1}, or give --next-version"
        )
    return charter


def _needs(charter: Charter, duty: Duty) -> str:
    found = Rulers(charter).thresholds.get(duty)
    return f"{duty}: {threshold_text(found) if found else 'nobody may do it'}."


def _counts(charter: Charter) -> dict[str, JsonValue]:
    return {
        "members": len(charter.members),
        "groups": len(charter.groups),
        "thresholds": len(charter.thresholds),
    }


def _size(charter: Charter) -> str:
    return ", ".join(
        f"{number} {word if number != 1 else word.removesuffix('s')}" for word, number in _counts(charter).items()
    )
