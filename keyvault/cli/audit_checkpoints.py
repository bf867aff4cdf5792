"""``keyvault audit checkpoints``: what every node has cosigned, put together for an auditor to keep."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from keyvault.cli.cosigner_options import cosigner_options
from keyvault.cli.exits import AuditProblem, Exit, UsageProblem
from keyvault.cli.output import JsonValue, emit, json_option, printable, table, time_text
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.client import AsyncClient, Unavailable
from keyvault.client.cluster import NodeStanding
from keyvault.client.errors import KeyvaultRpcError
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.ledger.checkpoint import split_origin
from keyvault.ledger.cosigners import Cosigned, Policy, Reach
from keyvault.ledger.errors import TwoHistories, Unproven
from keyvault.ledger.merge import Answer, Extension, answer, check_one_history, merged
from keyvault.ledger.note import Verifier, parse_vkey
from keyvault.secretfile import write_new_file

_LAST_SECOND = 253_402_300_799
"""The end of the year 9999: a cosigner may say any time."""
_TRIES = 5
"""A node that follows has a new checkpoint once a second; comparing with it takes some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What came of one address: an answer, or a problem in words."""

    address: str
    answer: Answer | None = None
    problem: str = ""


@click.command("checkpoints")
@click.argument("folder", type=click.Path(path_type=Path))
@cosigner_options
@target_options("auditor", "admin")
@json_option
@click.pass_context
def checkpoints(context: click.Context, folder: Path, cosigners: Policy | None, target: Target) -> None:
    """Ask every node for the newest checkpoint that it cosigned, and keep them in a new FOLDER.

    Those of one size become one, with all cosignatures that verify under the keys that you give; those of several
    sizes are proven to be of one history. Keep the folder: `audit verify --checkpoint FOLDER` holds every later ledger
    against it. Look at the times, too: a node that shows an old checkpoint hides what came later.

    Ends with 1 if fewer cosigned than are required. If the log key signed two histories, both checkpoints are written:
    they are what shows it.

    \b
    Example:
      keyvault audit checkpoints ./cosigned --deployment ./desk --target kv-1:7443,kv-2:7443,kv-3:7443 \\
        --cosigner-policy ./nodes.policy
    """  # noqa: D301  \b tells click to keep the lines
    if cosigners is None:
        raise UsageProblem("say whose cosignatures count: --cosigner VKEY, or --cosigner-policy FILE")
    log = _log_key(target, cosigners)
    asked = [_ask(target, address, log, cosigners) for address in target.addresses]
    try:
        notes = merged([each.answer for each in asked if each.answer is not None])
        _check_one_history(target, log, notes)
    except TwoHistories as two:
        raise AuditProblem(_keep_both(folder, two)) from None
    files = _keep(folder, notes)
    reach = Reach(cosigners)
    for each in notes:
        reach.saw(each.checkpoint.size, each.note)
    found = reach.found()
    emit(_document(folder, asked, files, found), lambda: _text(folder, asked, found))
    if found is None or not found.size:
        context.exit(Exit.REFUSED)


def _log_key(target: Target, cosigners: Policy) -> Verifier:
    pinned = [parse_vkey(target.log_vkey)] if target.log_vkey is not None else list(cosigners.logs)
    if len(pinned) != 1:
        raise UsageProblem("checkpoints show nothing without the log's key: give --vkey-file")
    if not cosigners.is_about(pinned[0]):
        raise UsageProblem(f"the policy is not about the log key {pinned[0].vkey}")
    return pinned[0]


def _ask(target: Target, address: str, log: Verifier, cosigners: Policy) -> _Asked:
    try:
        standing = call(replace(target, addresses=(address,)), lambda client: client.get_node())
    except KeyvaultRpcError as error:
        return _Asked(address=address, problem=f"no answer: {error}")
    if not standing.cosigned:
        return _Asked(address=address, problem="has cosigned nothing yet")
    try:
        found = answer(address, standing.cosigned, log, cosigners.cosigners)
    except (Unproven, Malformed) as error:
        return _Asked(address=address, problem=f"what it gave shows nothing: {error}")
    return _Asked(address=address, answer=found, problem=_stranger(standing, cosigners))


def _stranger(standing: NodeStanding, cosigners: Policy) -> str:
    """Return that the node signs with a key that nobody gave, in words; it may have another address or token now."""
    if standing.cosigner_vkey in {each.vkey for each in cosigners.cosigners}:
        return ""
    return f"cosigns as {standing.cosigner_vkey}, which is none of the keys that you gave"


def _check_one_history(target: Target, log: Verifier, notes: Sequence[Answer]) -> None:
    """Compare all of the newest incarnation through whoever has the largest. Raises TwoHistories, AuditProblem."""
    if not notes:
        return
    newest = notes[-1]
    compared = [each for each in notes if _incarnation(each) == _incarnation(newest)]
    if len(compared) == 1:
        return
    who = newest.who.partition(", ")[0]

    async def show(client: AsyncClient) -> None:
        for _ in range(_TRIES):
            shown = [await _extension(client, who, each.checkpoint.size, log) for each in compared]
            try:
                check_one_history(compared, shown)
            except Unproven:
                continue
            return
        raise AuditProblem(f"{who} has a new checkpoint each time it is asked: ask once more in a second")

    try:
        call(replace(target, addresses=(who,)), show)
    except (KeyvaultRpcError, Unavailable) as error:
        raise AuditProblem(f"{who} does not show that its checkpoint extends the others: {error}") from error


async def _extension(client: AsyncClient, who: str, old_size: int, log: Verifier) -> Extension:
    given = await client.consistency_proof(old_size)
    return Extension(old_size=old_size, hashes=given.hashes, newest=answer(who, given.note, log, ()))


def _incarnation(each: Answer) -> int:
    return split_origin(each.checkpoint.origin)[1]


def _keep(folder: Path, notes: Sequence[Answer]) -> list[tuple[Path, Answer]]:
    """Write one file for each note; return which."""
    files = [(folder / f"{_incarnation(each)}-{each.checkpoint.size}.checkpoint", each) for each in notes]
    _make(folder)
    for file, each in files:
        write_new_file(file, each.note)
    return files


def _keep_both(folder: Path, found: TwoHistories) -> str:
    """Write both notes; return what an auditor has to know."""
    _make(folder)
    files = [folder / f"history-{number}.checkpoint" for number in (1, 2)]
    for file, (_, note) in zip(files, (found.first, found.second), strict=True):
        write_new_file(file, note)
    return (
        f"{found}. Kept: {files[0]} (from {found.first[0]}) and {files[1]} (from {found.second[0]}). Nobody can deny"
        " them: the log key signed both. Stop signing, keep every node's ledger.db, and find out who had the key"
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageProblem(f"{folder}: a new folder is needed ({error.strerror})") from error


def _document(
    folder: Path, asked: Sequence[_Asked], files: Sequence[tuple[Path, Answer]], found: Cosigned | None
) -> dict[str, JsonValue]:
    return {
        "folder": str(folder),
        "asked": "" if found is None else found.asked,
        "cosigned": 0 if found is None else found.size,
        "nodes": [
            {
                "target": each.address,
                "entries": _size(each),
                "cosigned_at_ms": _at_ms(each),
                "problem": printable(each.problem),
            }
            for each in asked
        ],
        "checkpoints": [
            {
                "file": str(file),
                "entries": each.checkpoint.size,
                "cosigners": [by.vkey for by in each.cosigned],
            }
            for file, each in files
        ],
    }


def _text(folder: Path, asked: Sequence[_Asked], found: Cosigned | None) -> str:
    rows = [
        (each.address, str(_size(each) or ""), time_text(at) if (at := _at_ms(each)) else "", printable(each.problem))
        for each in asked
    ]
    reach = (
        f"{found.asked} vouch for the first {found.size} entries. Kept in {folder}."
        if found is not None and found.size
        else f"WRONG: fewer vouch for any entry than are required. What there was is in {folder}."
    )
    return f"{table(('target', 'entries', 'cosigned', 'note'), rows)}\n\n{reach}"


def _at_ms(asked: _Asked) -> UnixMillis:
    return UnixMillis(0 if asked.answer is None else min(asked.answer.cosigned_at_s, _LAST_SECOND) * 1000)


def _size(asked: _Asked) -> int:
    return 0 if asked.answer is None else asked.answer.checkpoint.size
