"""The auditor's program: ``python -m keyvault.ledger verify|export|show|evidence``.

It needs this package and keyvault.core, a file, and no network. Exit status: 0 nothing is wrong, 1 something is,
2 it could not be looked at.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from keyvault.core.errors import Corrupt, KeyvaultError, Malformed
from keyvault.ledger.archive import audit, export, open_archive, read_evidence, read_notes, read_policy
from keyvault.ledger.codec import decode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import check_evidence
from keyvault.ledger.evidence_words import evidence_text, evidence_values
from keyvault.ledger.note import parse_vkey
from keyvault.ledger.report import as_json, summary
from keyvault.ledger.show import describe
from keyvault.ledger.verify import Row

EXIT_OK = 0
EXIT_PROBLEMS = 1
EXIT_UNREADABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyvaultError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_UNREADABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyvault.ledger", description="Audit a keyvault ledger, offline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("verify", help="recompute everything and say what is wrong")
    command.add_argument("path", type=Path, metavar="PATH", help="database file or export folder")
    command.add_argument(
        "--log-vkey", metavar="VKEY", help="the log key as you know it, from elsewhere than the ledger"
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a checkpoint that you kept, such as LEDGER.db.checkpoint, or a folder of them",
    )
    command.add_argument(
        "--cosigner-policy", type=Path, metavar="FILE", help="C2SP tlog-policy: whose cosignatures it must have"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_verify)
    command = commands.add_parser("export", help="write a folder of C2SP tiles for other tools")
    command.add_argument("path", type=Path, metavar="PATH", help="database file")
    command.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    command.set_defaults(run=_export)
    command = commands.add_parser("show", help="print entries, one JSON object a line")
    command.add_argument("path", type=Path, metavar="PATH", help="database file or export folder")
    command.add_argument("--start", type=int, default=0, metavar="INDEX", help="first entry (default: 0)")
    command.add_argument("--count", type=int, default=100, metavar="N", help="number of entries (default: 100)")
    command.set_defaults(run=_show)
    command = commands.add_parser("evidence", help="check a bundle of evidence and say what it shows")
    command.add_argument("path", type=Path, metavar="FILE", help="bundle of `keyvault audit evidence`")
    command.add_argument("--log-vkey", metavar="VKEY", required=True, help="the log key as you know it, from elsewhere")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_evidence)
    return parser


def _verify(options: argparse.Namespace) -> int:
    kept = read_notes(options.checkpoint) if options.checkpoint else ()
    cosigners = read_policy(options.cosigner_policy) if options.cosigner_policy else None
    report = audit(options.path, log_vkey=options.log_vkey, kept=kept, cosigners=cosigners)
    text = json.dumps(as_json(report), indent=2) if options.json else summary(report)
    sys.stdout.write(text + "\n")
    return EXIT_OK if report.ok else EXIT_PROBLEMS


def _export(options: argparse.Namespace) -> int:
    with contextlib.closing(open_archive(options.path)) as archive:
        size = export(archive, options.folder)
        left = archive.head[0] - size if archive.head else 0
    sys.stdout.write(f"{size} entries written to {options.folder}; {left} are not under a checkpoint yet\n")
    return EXIT_OK


def _show(options: argparse.Namespace) -> int:
    with contextlib.closing(open_archive(options.path)) as archive:
        for row in islice(archive.rows(max(0, options.start)), max(0, options.count)):
            sys.stdout.write(_line(row) + "\n")
    return EXIT_OK


def _evidence(options: argparse.Namespace) -> int:
    key, data = parse_vkey(options.log_vkey), read_evidence(options.path)
    try:
        found = check_evidence(data, key)
    except (Malformed, Unproven) as error:
        sys.stdout.write(f"WRONG: {error}\n")
        return EXIT_PROBLEMS
    text = json.dumps(evidence_values(found), indent=2) if options.json else evidence_text(found)
    sys.stdout.write(text + "\n")
    return EXIT_OK


def _line(row: Row) -> str:
    try:
        return json.dumps({"index": row.index, **describe(decode(row.body))})
    except Corrupt as error:
        return json.dumps({"index": row.index, "corrupt": str(error)})


if __name__ == "__main__":
    sys.exit(main())
