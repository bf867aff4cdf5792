"""``keyvault audit``: verify, read, export and prove the ledger. What verifies is ``keyvault.ledger`` alone."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from keyvault import intents
from keyvault.cli.audit_checkpoints import checkpoints
from keyvault.cli.cosigner_options import cosigner_options
from keyvault.cli.exits import AuditProblem, Exit, UsageProblem
from keyvault.cli.narrate import Line, narrate
from keyvault.cli.output import JsonValue, emit, hexed, json_option, printable, printable_lines, say, table, time_text
from keyvault.cli.session import call
from keyvault.cli.target import VKEY_VARIABLE, Target, expected_vkey, target_options
from keyvault.client import AsyncClient
from keyvault.core import limits
from keyvault.core.errors import Corrupt, Malformed, NotFound
from keyvault.core.events import SignatureEscalated
from keyvault.core.statements import decode_statement, signer_named, words_sha256
from keyvault.ledger import archive, note, report
from keyvault.ledger.codec import decode
from keyvault.ledger.cosigners import Policy
from keyvault.ledger.evidence import check_evidence as verify_evidence
from keyvault.ledger.evidence_words import evidence_text, evidence_values
from keyvault.ledger.gather import evidence_of
from keyvault.ledger.proof import verify_proof
from keyvault.ledger.verify import Row
from keyvault.secretfile import write_new_file

_PATH = click.Path(path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_vkey_file = click.option(
    "--vkey-file",
    envvar=VKEY_VARIABLE,
    type=_NEW_FILE,
    help=f"File that holds it, such as the log.vkey of `keyvault init`; or {VKEY_VARIABLE}.",
)


@click.group()
def command() -> None:
    """Verify, read, export and prove the ledger.

    \b
    Example:
      keyvault audit verify ./desk/ledger.db --vkey-file ./log.vkey
      keyvault audit show ./desk/ledger.db --start 0 --count 20
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("path", type=_PATH)
@click.option("--log-vkey", metavar="VKEY", help="The log's key as you know it, from elsewhere than the ledger.")
@_vkey_file
@click.option(
    "--checkpoint", type=_PATH, help="File of a checkpoint that you kept, such as ledger.db.checkpoint; or a folder."
)
@cosigner_options
@json_option
@click.pass_context
def verify(
    context: click.Context,
    path: Path,
    log_vkey: str | None,
    vkey_file: Path | None,
    checkpoint: Path | None,
    cosigners: Policy | None,
) -> None:
    """Verify a database file or an export at PATH, offline: recompute everything, trust nothing.

    Every payload is decoded again here, and has to do what its entry says. Ends with 1 and says exactly what is wrong
    if anything is. Without the log's key from elsewhere a ledger that was replaced as a whole, genesis included, looks
    right; without a checkpoint kept elsewhere, one whose end was cut. Of several nodes name the keys: then it says up
    to which entry enough of them vouch, and ends with 1 if they do for none (`audit checkpoints` gathers their word).

    \b
    Example:
      keyvault audit verify ./desk/ledger.db --vkey-file ./log.vkey --checkpoint ./ledger.db.checkpoint
      keyvault audit verify ./ledger.db --vkey-file ./log.vkey --checkpoint ./cosigned --cosigner-policy ./nodes.policy
    """  # noqa: D301  as above
    _check_there(path)
    key = expected_vkey(log_vkey, vkey_file)
    if key is None and cosigners is not None and len(cosigners.logs) == 1:
        key = cosigners.logs[0].vkey
    if key is None:
        say("No --log-vkey: this checks the ledger against itself only. Pin the key that `keyvault init` printed.")
    kept = archive.read_notes(checkpoint) if checkpoint else ()
    found = archive.audit(path, log_vkey=key, kept=kept, cosigners=cosigners, read=intents.parse)
    emit({**_plain(report.as_json(found)), "log_vkey_expected": key}, lambda: report.summary(found))
    if not found.ok:
        context.exit(Exit.REFUSED)


@command.command()
@click.argument("path", type=_PATH, required=False)
@click.option("--live", is_flag=True, help="Ask the server instead of reading a file.")
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True, help="Index of the first entry.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="Entries at most.")
@target_options("auditor", "admin", only_with="live")
@json_option
def show(path: Path | None, start: int, count: int, target: Target | None) -> None:
    """Show entries of a ledger at PATH, or of a server with --live, in plain words. Verifies nothing.

    \b
    Example:
      keyvault audit show ./desk/ledger.db --count 20
      keyvault audit show --live --start 100 --deployment ./desk
    """  # noqa: D301  as above
    if path is not None and target is None:
        bodies = _stored(path, start, count)
    elif path is None and target is not None:
        bodies = _served(target, start, count)
    else:
        raise UsageProblem("say which ledger: either PATH of a file or export, or --live for a server")
    lines = [(_line(index, body), body) for index, body in enumerate(bodies, start)]
    emit({"entries": [line.document(body) for line, body in lines]}, lambda: _rows([line for line, _ in lines]))


@command.command()
@click.argument("path", type=_PATH)
@click.argument("folder", type=_PATH)
@click.option("--checkpoint", type=_PATH, help="Export under the newest of these, from `audit checkpoints`.")
@json_option
def export(path: Path, folder: Path, checkpoint: Path | None) -> None:
    """Write the ledger in the database file PATH as a new FOLDER of C2SP tiles, which other tools read, too.

    With --checkpoint the export ends where the newest cosigned checkpoint ends, and has its cosignatures.

    \b
    Example:
      keyvault audit export ./desk/ledger.db ./export-2026-01
    """  # noqa: D301  as above
    _check_there(path)
    with contextlib.closing(archive.open_archive(path)) as opened:
        size = archive.export(opened, folder, archive.read_notes(checkpoint) if checkpoint else ())
        left = opened.head[0] - size if opened.head else 0
    emit(
        {"folder": str(folder), "entries": size, "not_covered": left},
        lambda: f"Wrote {size} entries to {folder}; {left} later ones are not under a checkpoint yet.",
    )


@command.command()
@click.argument("index", type=click.IntRange(min=0))
@click.option("--out", type=_NEW_FILE, help="New file for the proof; the entry goes beside it. [INDEX.tlog-proof]")
@target_options("auditor", "admin")
@json_option
def proof(index: int, out: Path | None, target: Target) -> None:
    """Get the proof that entry INDEX is in the ledger, check it here, and write it as C2SP tlog-proof.

    \b
    Example:
      keyvault audit proof 7 --deployment ./desk
    """  # noqa: D301  as above
    if target.log_vkey is None:
        say("The log's key is taken from the server; a deployment's log.vkey would pin it.")
    found = call(target, lambda client: client.inclusion_proof(index))
    proof_file = out or Path(f"{index}.tlog-proof")
    entry_file = proof_file.with_suffix(".entry")
    write_new_file(proof_file, found.text)
    write_new_file(entry_file, found.entry)
    size, root = found.checkpoint.size, found.checkpoint.root
    emit(
        {
            "index": index,
            "tree_size": size,
            "root": hexed(root),
            "proof": str(proof_file),
            "entry": str(entry_file),
        },
        lambda: f"Entry {index} is in the ledger of {size} entries. Wrote {proof_file} and {entry_file}.",
    )


@command.command("check-proof")
@click.argument("proof_file", type=_PATH)
@click.argument("entry_file", type=_PATH)
@click.option("--log-vkey", metavar="VKEY", help="The log's key as you know it, from elsewhere.")
@_vkey_file
@json_option
def check_proof(proof_file: Path, entry_file: Path, log_vkey: str | None, vkey_file: Path | None) -> None:
    """Check offline that PROOF_FILE shows the entry in ENTRY_FILE to be in the ledger of a log key.

    \b
    Example:
      keyvault audit check-proof 7.tlog-proof 7.entry --vkey-file ./log.vkey
    """  # noqa: D301  as above
    key = expected_vkey(log_vkey, vkey_file)
    if key is None:
        raise UsageProblem("a proof shows nothing without the log's key: give --log-vkey or --vkey-file")
    entry = _read(entry_file, limits.ENTRY_BYTES_MAX)
    text = _read(proof_file, 2 * limits.NOTE_BYTES_MAX)
    index, covering = verify_proof(text, entry, note.parse_vkey(key))
    line = _line(index, entry)
    emit(
        {**line.document(entry), "tree_size": covering.size, "root": hexed(covering.root)},
        lambda: f"Entry {index} is in the ledger of {covering.size} entries: {line.what}",
    )


@command.command()
@click.argument("which", nargs=-1, metavar="[INDEX] [PATH]")
@click.option("--proposal", metavar="NAME", help="Of this proposal, in place of INDEX: its name, or its first digits.")
@click.option("--out", type=_NEW_FILE, help="New file for the bundle. [evidence-INDEX.json]")
@click.option("--live", is_flag=True, help="Ask the server instead of reading a file.")
@target_options("auditor", "admin", only_with="live")
@json_option
def evidence(which: tuple[str, ...], proposal: str | None, out: Path | None, target: Target | None) -> None:
    """Write one file that shows who approved what entry INDEX did, to anybody who has the log's key.

    PATH is the ledger's database file or an export. The file holds the entry, its proposal, the members' signatures,
    the charters from the genesis on, and what proves that all this is in the ledger.

    \b
    Example:
      keyvault audit evidence 7 ./desk/ledger.db --out key.json
      keyvault audit evidence --proposal 1f0c99a2b3d4 ./desk/ledger.db
    """  # noqa: D301  as above
    index, path = _which(which, by_index=proposal is None, by_path=target is None)
    if target is not None:
        if target.log_vkey is None:
            say("The log's key is taken from the server; a deployment's log.vkey would pin it.")
        served = call(target, _everything)
        pinned = None if target.log_vkey is None else note.parse_vkey(target.log_vkey)
        data, found = evidence_of(served, index=index, proposal=proposal, key=pinned)
    else:
        _check_there(path)
        with contextlib.closing(archive.open_archive(path)) as opened:
            data, found = evidence_of(opened, index=index, proposal=proposal)
    file = out or Path(f"evidence-{found.account.index}.json")
    write_new_file(file, data)
    emit(
        {"file": str(file), "bytes": len(data), **_plain(evidence_values(found))},
        lambda: (
            f"{printable_lines(evidence_text(found))}\n\nWrote {file}. Check it anywhere:"
            f" keyvault audit check-evidence {file} --vkey-file log.vkey"
        ),
    )


@command.command("check-evidence")
@click.argument("file", type=_PATH)
@click.option("--log-vkey", metavar="VKEY", help="The log's key as you know it, from elsewhere.")
@_vkey_file
@json_option
def check_evidence(file: Path, log_vkey: str | None, vkey_file: Path | None) -> None:
    """Check offline what a bundle of `keyvault audit evidence` shows under a log key, and say it in plain words.

    Of a signature the payload is decoded again here, and must mean what the members were told.

    \b
    Example:
      keyvault audit check-evidence key.json --vkey-file ./log.vkey
    """  # noqa: D301  as above
    key = expected_vkey(log_vkey, vkey_file)
    if key is None:
        raise UsageProblem("evidence shows nothing without the log's key: give --log-vkey or --vkey-file")
    found = verify_evidence(_read(file, limits.EVIDENCE_BYTES_MAX), note.parse_vkey(key))
    meaning = _meaning(found.account.case.escalation)
    emit(
        {**_plain(evidence_values(found)), "meaning": meaning},
        lambda: printable_lines(evidence_text(found) + (f"\npayload   {meaning}" if meaning else "")),
    )


command.add_command(checkpoints)


@dataclass(slots=True)
class _Served:
    """A ledger as a server gave it."""

    checkpoints: list[tuple[int, bytes]]
    bodies: list[bytes]

    def rows(self, start: int = 0) -> Iterator[Row]:
        """Give the entries from index ``start``."""
        return (Row(index=index, body=self.bodies[index]) for index in range(start, len(self.bodies)))


async def _everything(client: AsyncClient) -> _Served:
    newest = await client.checkpoint()
    bodies: list[bytes] = []
    if newest.checkpoint.size:
        async for entry in client.entries(0):
            bodies.append(entry.body)
            if len(bodies) == newest.checkpoint.size:
                break
    return _Served(checkpoints=[(newest.checkpoint.size, newest.note)], bodies=bodies)


def _which(which: tuple[str, ...], *, by_index: bool, by_path: bool) -> tuple[int | None, Path]:
    """Return index and path of what was given; what is not wanted is None, or empty."""
    if len(which) != by_index + by_path:
        raise UsageProblem("give INDEX or --proposal, and the ledger: PATH of a file or export, or --live for a server")
    if by_index and not (which[0].isascii() and which[0].isdecimal()):
        raise UsageProblem(f"{which[0]!r} is not the index of an entry")
    return int(which[0]) if by_index else None, Path(which[-1]) if by_path else Path()


def _meaning(escalation: SignatureEscalated | None) -> str:
    """Return what the payload of an escalated signature means, decoded here; raise AuditProblem if it is another."""
    if escalation is None:
        return ""
    try:
        signer = signer_named(decode_statement(escalation.statement))
        intent = intents.parse(escalation.request.payload, signer)
    except Malformed as error:
        raise AuditProblem(f"the evidence holds, but this version cannot decode the payload: {error}") from None
    words = intents.describe(intent)
    same = (
        (intent.effects, intent.approved_input, intent.completeness)
        == (escalation.effects, escalation.signing_input, escalation.completeness)
    ) and words_sha256(words) == decode_statement(escalation.statement)["words_sha256"]
    if not same:
        raise AuditProblem("the payload means something else than the entry says, or than the members were told")
    return " ".join(words.splitlines())


def _stored(path: Path, start: int, count: int) -> list[bytes]:
    _check_there(path)
    with contextlib.closing(archive.open_archive(path)) as opened:
        return [row.body for row in islice(opened.rows(start), count)]


def _served(target: Target, start: int, count: int) -> list[bytes]:
    async def read(client: AsyncClient) -> list[bytes]:
        bodies: list[bytes] = []
        async for entry in client.entries(start):
            bodies.append(entry.body)
            if len(bodies) == count:
                break
        return bodies

    return call(target, read)


def _line(index: int, body: bytes) -> Line:
    try:
        return narrate(index, decode(body))
    except (Corrupt, Malformed) as error:
        raise AuditProblem(f"entry {index} cannot be read: {error}; `keyvault audit verify` says more") from None


def _rows(lines: list[Line]) -> str:
    rows = [
        (str(line.index), time_text(line.at), line.kind, *map(printable, (_short(line.who), line.what, line.why)))
        for line in lines
    ]
    return table(("index", "at", "kind", "who", "what", "why"), rows)


def _short(who: str) -> str:
    """Return ``bot/mm-1`` of ``spiffe://<trust-domain>/bot/mm-1``."""
    return who.split("/", 3)[-1]


def _check_there(path: Path) -> None:
    if not path.exists():
        raise NotFound(f"{path}: there is no such file or folder")


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Malformed(str(path), f"is longer than {bytes_max} bytes")
    return data


def _plain(values: dict[str, object]) -> dict[str, JsonValue]:
    """Return what the ledger package calls plain values, as what JSON takes."""
    document: dict[str, JsonValue] = json.loads(json.dumps(values))
    return document
