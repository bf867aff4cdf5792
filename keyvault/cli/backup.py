"""``keyvault backup``: a backup of the ledger that is verified when it is written, and tried before it is needed."""

import tempfile
from pathlib import Path

import click

from keyvault import config, intents
from keyvault.cli.exits import Exit, UsageProblem
from keyvault.cli.output import JsonValue, emit, fields, hexed, json_option, time_text
from keyvault.cli.target import VKEY_VARIABLE, expected_vkey
from keyvault.ledger.archive import audit
from keyvault.ledger.codec import decode
from keyvault.ledger.report import Report, summary
from keyvault.store.backup import BackupArchive, restore, write_backup

_FOLDER = click.Path(file_okay=False, path_type=Path)
vkey_option = click.option(
    "--vkey-file",
    envvar=VKEY_VARIABLE,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File of the log's key, such as the log.vkey of `keyvault init`; or {VKEY_VARIABLE}.",
)


@click.group(invoke_without_command=True)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The deployment's keyvault.toml.")
@click.option("--out", type=_FOLDER, help="Folder of the backup; made, or brought up to date.")
@vkey_option
@json_option
@click.pass_context
def command(context: click.Context, config_file: Path | None, out: Path | None, vkey_file: Path | None) -> None:
    """Write a backup of the ledger, also while the server runs, and audit what was written.

    Only what is new is written. A ledger that is not the one in the backup, or is shorter, is refused: a restored
    ledger never replaces what it lacks. Private keys are not in it; the token has its own backup.

    Of a ledger that a pair ever kept it goes up to the newest checkpoint, which is about a second old: the other
    machines have confirmed that, and what stands behind may not be there any more when one of them leads.

    \b
    Example:
      keyvault backup --config ./desk/keyvault.toml --out /mnt/backup/desk
      keyvault backup drill --from /mnt/backup/desk
    """  # noqa: D301  \b tells click to keep the lines
    if context.invoked_subcommand is not None:
        return
    if config_file is None or out is None:
        raise UsageProblem("give --config and --out, or `keyvault backup drill`")
    database = config.load(config_file).enclave.database
    done = write_backup(database, out, log_vkey=expected_vkey(None, vkey_file), read=intents.parse)
    emit(
        {
            "folder": str(out),
            "written": list(done.written),
            "segments": len(done.manifest.segments),
            "left_out": done.left_out,
            **_document(done.report),
        },
        lambda: (
            f"Backed up {done.report.entries} entries to {out}, {len(done.written)} files are new; the newest"
            f" checkpoint covers {done.report.covered}. Audited: nothing is wrong.{_left_out(done.left_out)}"
        ),
    )


@command.command()
@click.option("--from", "folder", type=_FOLDER, required=True, help="Folder of the backup.")
@vkey_option
@json_option
@click.pass_context
def drill(context: click.Context, folder: Path, vkey_file: Path | None) -> None:
    """Restore a backup into a temporary folder, audit that, and say what would be there; for cron.

    Ends with 0 if everything is right. It says when the newest entry was made: nobody else knows how old a backup may
    be.

    \b
    Example:
      keyvault backup drill --from /mnt/backup/desk --vkey-file ./log.vkey
    """  # noqa: D301  as above
    key = expected_vkey(None, vkey_file)
    with tempfile.TemporaryDirectory(prefix="keyvault-drill-") as temporary:
        database = Path(temporary) / "ledger.db"
        restore(folder, database, log_vkey=key, read=intents.parse)
        found = audit(database, log_vkey=key, read=intents.parse)
    newest = _newest_at(folder)
    emit(
        {"folder": str(folder), "newest_at_ms": newest, **_document(found)},
        lambda: f"{fields((('restores', str(folder)), ('newest', time_text(newest))))}\n{summary(found)}",
    )
    if not found.ok:
        context.exit(Exit.REFUSED)


def _left_out(entries: int | None) -> str:
    if entries is None:
        return ""
    return (
        f" This is the ledger of a pair, so it ends at that checkpoint; {entries} entries behind it are left out: who"
        " else has them is not known yet."
    )


def _newest_at(folder: Path) -> int:
    archive = BackupArchive(folder)
    return max(decode(row.body).at for row in archive.rows(archive.manifest.size - 1))


def _document(found: Report) -> dict[str, JsonValue]:
    return {
        "ok": found.ok,
        "entries": found.entries,
        "covered": found.covered,
        "root": hexed(found.root),
        "origin": found.origin,
        "problems": [each.sentence for each in found.problems],
    }
