"""``keyvault bench``: figures of this machine, in one JSON object."""

import importlib

import click

from keyvault.cli.output import emit, json_option


@click.command()
@click.option("--quick", is_flag=True, help="Some seconds instead of minutes; rough figures.")
@click.option("--events", type=click.IntRange(min=0), help="Events in the ledger before measuring. [bench's own]")
@click.option("--growth", is_flag=True, help="Compare a ledger of 10^3 events with one of 10^6 instead. [minutes]")
@click.option(
    "--governance", is_flag=True, help="Compare no proposals with 10,000, time approvals and a freeze instead."
)
@click.option(
    "--decide",
    is_flag=True,
    help="Time single decisions instead (decode, policy, limits; no token, no ledger), by payload and size of policy.",
)
@click.option(
    "--failover",
    is_flag=True,
    help=(
        "Measure what a bot notices when a node or PostgreSQL's primary dies instead, by Patroni with etcd where they "
        "are installed. [20 rounds: up to half an hour; needs PostgreSQL]"
    ),
)
@click.option(
    "--without-patroni", is_flag=True, help="With --failover: the bench itself replaces the primary, at once."
)
@click.option("--rounds", type=click.IntRange(1, 1_000), help="How often each is measured. [bench's own]")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Length of each measurement. [bench's own]")
@click.option("--only", multiple=True, help="Only these kinds, payloads or faults; repeatable.")
@json_option
def command(  # noqa: PLR0913, PLR0917  one for each option, by name
    quick: bool,
    growth: bool,
    governance: bool,
    decide: bool,
    failover: bool,
    without_patroni: bool,
    rounds: int | None,
    events: int | None,
    seconds: float | None,
    only: tuple[str, ...],
) -> None:
    """Measure signatures per second, latencies and memory, against a bare server and the bare token.

    Starts what it needs in a scratch folder and removes it again.

    \b
    Example:
      keyvault bench --quick --json
      keyvault bench --failover --rounds 20 --json
      keyvault bench --failover --only primary --rounds 3
    """  # noqa: D301  \b tells click to keep the lines
    bench = importlib.import_module("keyvault.bench")
    chosen = {
        "quick": quick,
        "growth": growth,
        "governance": governance,
        "decide": decide,
        "failover": failover,
        "without_patroni": without_patroni,
        "rounds": rounds,
        "events": events,
        "seconds": seconds,
        "only": only,
    }
    options = bench.Options(**{name: value for name, value in chosen.items() if value})
    figures = bench.run(options)
    emit(figures, lambda: bench.describe(figures))
