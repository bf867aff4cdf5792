"""``keyvault restore``: a ledger's database file from a backup, verified on the way in."""

from pathlib import Path

import click

from keyvault import intents
from keyvault.cli.backup import vkey_option
from keyvault.cli.output import emit, json_option
from keyvault.cli.target import expected_vkey
from keyvault.store.backup import restore


@click.command()
@click.option("--from", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="The backup.")
@click.option(
    "--database", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to make; must not exist."
)
@vkey_option
@json_option
def command(folder: Path, database: Path, vkey_file: Path | None) -> None:
    """Make a ledger's database file from a backup, after an audit of everything in it.

    Nobody knows what was signed after the backup, so the server serves this ledger in quarantine, where members decide
    (`keyvault quarantine`). A checkpoint file beside it stays: it is the last that the lost ledger signed. To move a
    server that is stopped, nothing is restored: move its ledger.db and ledger.db.checkpoint.

    \b
    Example:
      keyvault restore --from /mnt/backup/desk --database ./desk/ledger.db --vkey-file ./desk/log.vkey
    """  # noqa: D301  \b tells click to keep the lines
    found = restore(folder, database, log_vkey=expected_vkey(None, vkey_file), read=intents.parse)
    emit(
        {"database": str(database), "entries": found.entries, "covered": found.covered, "origin": found.origin},
        lambda: (
            f"Restored {found.entries} entries of {found.origin} to {database}; the newest checkpoint covers"
            f" {found.covered}. Audited: nothing was wrong. The server starts in quarantine: what was signed after the"
            " backup is not here."
        ),
    )
