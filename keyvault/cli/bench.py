"""``keyvault bench``: figures of this machine, in one JSON object."""

import importlib

import click

from keyvault.cli.output import emit, fields, json_option


@click.command()
@click.option("--quick", is_flag=True, help="Some seconds instead of minutes; rough figures.")
@click.option("--events", type=click.IntRange(min=0), help="Events in the ledger before measuring. [bench's own]")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Length of each measurement. [bench's own]")
@click.option("--only", multiple=True, help="Only these measurements; repeatable.")
@json_option
def command(quick: bool, events: int | None, seconds: float | None, only: tuple[str, ...]) -> None:
    """Measure signatures per second, latencies and memory, against a bare server and the bare token.

    Starts what it needs in a scratch folder and removes it again.

    \b
    Example:
      keyvault bench --quick --json
    """  # noqa: D301  \b tells click to keep the lines
    bench = importlib.import_module("keyvault.bench")
    chosen = {"quick": quick, "events": events, "seconds": seconds, "only": only}
    options = bench.Options(**{name: value for name, value in chosen.items() if value})
    figures = bench.run(options)
    emit(figures, lambda: fields([(name, str(value)) for name, value in figures.items()]))
