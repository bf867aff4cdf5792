"""``keyvault serve``: the server in the foreground."""

import os
import sys
from pathlib import Path

import click

from keyvault import app, config
from keyvault.telemetry import configure_logging


@click.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), required=True, help="The deployment's keyvault.toml."
)
@click.option("--port-file", type=click.Path(path_type=Path), help="File for the port, there while calls are accepted.")
@click.option(
    "--stand-after-epoch",
    type=click.IntRange(min=1),
    help="Of a pair, when its leader is gone for good: stop following, and let members name this node. The epoch that"
    " `keyvault pair show` says; in any other this does nothing.",
)
@click.option("--ready-fd", type=int, help="Open descriptor that gets the port and is closed when calls are accepted.")
def command(config_file: Path, port_file: Path | None, ready_fd: int | None, stand_after_epoch: int | None) -> None:
    """Serve a deployment in the foreground until SIGTERM or SIGINT, which drain it and end with 0.

    Logs go to stderr. Exit code 70 means that the term ended by itself: start it again, it recovers from the ledger.

    \b
    Example:
      keyvault serve --config ./desk/keyvault.toml
      keyvault serve --config ./kv-2/keyvault.toml --stand-after-epoch 7
    """  # noqa: D301  \b tells click to keep the lines
    checked = config.load(config_file)
    configure_logging(checked.log.format, checked.log.level)

    def tell(port: int) -> None:
        if port_file is not None:
            _write_port(port_file, port)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w") as reader:
                reader.write(f"{port}\n")

    try:
        status = app.run(checked, on_ready=tell, stands_after=stand_after_epoch or 0)
    finally:
        if port_file is not None:
            port_file.unlink(missing_ok=True)
    sys.exit(status)


def _write_port(path: Path, port: int) -> None:
    """Write the port; a reader sees all of it or no file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(f"{port}\n")
    draft.replace(path)
