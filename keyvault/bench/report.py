"""Figures for programs and for people."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from keyvault.bench.options import CONCURRENCY, Figure, Kind
from keyvault.bench.rounds import Samples

_WIDTH = 120


def rounded(part: float, whole: float) -> float | None:
    """Return a ratio to three digits; None where there is nothing to compare with."""
    return round(part / whole, 3) if whole else None


def per_kind(kinds: Sequence[Kind], figure: Callable[[Kind], Figure]) -> dict[str, Figure]:
    """Return one figure for each kind, by name."""
    return {kind.value: figure(kind) for kind in kinds}


def latency(samples: Samples, kinds: Sequence[Kind], concurrency: int) -> dict[str, Figure]:
    """Return p50 and p99 of the echo and of every kind at this concurrency, in microseconds."""
    return {
        name: {
            "p50": round(samples.median(f"{name}@{concurrency}", "p50_us")),
            "p99": round(samples.median(f"{name}@{concurrency}", "p99_us")),
        }
        for name in ("echo", *kinds)
    }


def describe(figures: Mapping[str, Figure]) -> str:
    """Return the figures as tables for a terminal."""
    console = Console(width=_WIDTH)
    with console.capture() as captured:
        if "decide" in figures:
            console.print(_decide(_mapping(figures["decide"])))
        elif "governance" in figures:
            console.print(_governance(_mapping(figures["governance"])))
        elif "failover" in figures:
            console.print(_failover(_mapping(figures["failover"])))
        elif "growth" in figures:
            console.print(_growth(_mapping(figures["growth"])))
        else:
            console.print(_rates(figures))
            console.print(_rest(figures))
    return captured.get().rstrip()


def _rates(figures: Mapping[str, Figure]) -> Table:
    grid = Table(title="signatures per second (medians)", title_justify="left")
    for name in ("", "unary", "of echo", "stream", "raw token", "stream/raw", "p50 us", "p99 us", "p99/echo"):
        grid.add_column(name, justify="right" if name else "left")
    ratios = _mapping(figures["ratios"])
    slow = _mapping(_mapping(figures["latency_us"])[str(CONCURRENCY)])
    echo = _mapping(slow["echo"])
    grid.add_row("echo", str(figures["echo_unary_per_s"]), "", "", "", "", str(echo["p50"]), str(echo["p99"]), "")
    for kind, unary in _mapping(figures["sign_unary_per_s"]).items():
        cells = (
            unary,
            _mapping(ratios["unary/echo"])[kind],
            _mapping(figures["sign_stream_per_s"])[kind],
            _mapping(figures["token_raw_per_s"])[kind],
            _mapping(ratios["stream/raw"])[kind],
            _mapping(slow[kind])["p50"],
            _mapping(slow[kind])["p99"],
            _mapping(ratios["p99_sign_32/p99_echo_32"])[kind],
        )
        grid.add_row(kind, *map(str, cells))
    return grid


def _rest(figures: Mapping[str, Figure]) -> Table:
    grid = Table.grid(padding=(0, 2))
    machine, conditions = _mapping(figures["machine"]), _mapping(figures["conditions"])
    shown = {
        "machine": f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1m']}",
        "commit": f"{conditions['commit']}, {conditions['ledger_filesystem']}, sync {conditions['disk_sync_us']} us",
        "server memory": f"{figures['server_rss_mb']} MB",
        "beside it": f"workers {figures['worker_rss_mb']} MB, checkers {figures['checker_rss_mb']} MB",
        "ledger": f"{figures['ledger_mb']} MB",
        "errors": str(figures["errors"] or "none"),
        "took": f"{figures['took_s']} s",
    }
    for name, text in shown.items():
        grid.add_row(name, text)
    return grid


def _decide(figures: Mapping[str, Figure]) -> Table:
    grid = Table(title=f"microseconds of one decision; {figures['policy']}", title_justify="left")
    by_rules = _mapping(figures["p50_by_rules"])
    ratios = [name for name in _mapping(next(iter(by_rules.values()))) if "/" in name]
    for name in (
        "",
        "p50",
        "aim",
        "p95",
        "p99",
        "aim",
        "cpu p99",
        "decode p50",
        "judge p50",
        *(f"{name} rules" for name in ratios),
    ):
        grid.add_column(name, justify="right" if name else "left")
    for name, case in _mapping(figures["cases"]).items():
        one, several = _mapping(case), _mapping(by_rules[name])
        shown = (
            "p50_us",
            "aim_p50_us",
            "p95_us",
            "p99_us",
            "aim_p99_us",
            "cpu_p99_us",
            "decode_p50_us",
            "judge_p50_us",
        )
        cells = [*(one[part] for part in shown), *(several.get(ratio) for ratio in ratios)]
        grid.add_row(name, *("" if cell is None else str(cell) for cell in cells))
    return grid


def _governance(figures: Mapping[str, Figure]) -> Table:
    grid = Table(
        title=f"{figures['members']} members and {figures['open_proposals']} open proposals (medians)",
        title_justify="left",
    )
    without, having = _mapping(figures["without"]), _mapping(figures["with"])
    for name in ("", "without", "with"):
        grid.add_column(name, justify="right" if name else "left")
    for name in without:
        grid.add_row(name, str(without[name]), str(having[name]))
    for part in ("with/without", "ten_approvals_ms", "freeze_ms"):
        for name, figure in _mapping(figures[part]).items():
            grid.add_row(f"{part}: {name}", "", str(figure))
    return grid


def _failover(figures: Mapping[str, Figure]) -> Table:
    steady = _mapping(figures["steady"])
    grid = Table(
        title=f"seconds without an answer, {figures['rounds']} rounds each; {figures['promotion']}",
        title_justify="left",
        caption=f"without Patroni: {figures['without_patroni']}" if figures["without_patroni"] else None,
        caption_justify="left",
    )
    for name in ("", "p50", "p99", "max", "aim", "failed calls"):
        grid.add_column(name, justify="right" if name else "left")
    for name, fault in _mapping(figures["faults"]).items():
        shown = _mapping(fault)
        cells = (shown[part] for part in ("gap_p50_s", "gap_p99_s", "gap_max_s", "aim_s", "failed_calls"))
        grid.add_row(name, *map(str, cells))
    for name, value in {**_mapping(figures["ledger"]), **steady}.items():
        grid.add_row(name, str(value))
    return grid


def _growth(figures: Mapping[str, Figure]) -> Table:
    grid = Table(title="a small ledger and a large one (medians)", title_justify="left")
    small, large = _mapping(figures["small"]), _mapping(figures["large"])
    for name in ("", "small", "large"):
        grid.add_column(name, justify="right" if name else "left")
    for name in small:
        grid.add_row(name, str(small[name]), str(large[name]))
    return grid


def _mapping(figure: Figure) -> Mapping[str, Figure]:
    if isinstance(figure, Mapping):
        return figure
    raise TypeError(type(figure))
