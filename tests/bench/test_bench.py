import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from keyvault import intents
from keyvault.bench import Options, describe, run
from keyvault.bench.options import ALGORITHMS, Kind
from keyvault.bench.requests import RequestIds, Requests, sample
from keyvault.bench.setup import policy
from keyvault.core.errors import Malformed
from keyvault.core.policy_lint import lint

SECONDS = 0.05


def test_one_run_gives_every_figure(tmp_path: Path) -> None:
    """A run against a real deployment answers every question of the issue, without an error, and leaves nothing."""
    figures = run(Options(quick=True, seconds=SECONDS, only=("hmac", "p256"), folder=tmp_path))
    kinds = {"p256", "hmac"}
    assert set(figures) == {
        "machine", "conditions", "echo_unary_per_s", "sign_unary_per_s", "sign_stream_per_s", "token_raw_per_s",
        "ratios", "latency_us", "cpu_us_per_signature", "per_s_min_max", "server_rss_mb", "worker_rss_mb",
        "checker_rss_mb", "workers", "ledger_mb", "errors", "took_s",
    }  # fmt: skip
    for name in ("sign_unary_per_s", "sign_stream_per_s", "token_raw_per_s"):
        rates = figures[name]
        assert isinstance(rates, dict)
        assert set(rates) == kinds
        assert all(rate > 0 for rate in rates.values())
    latencies = figures["latency_us"]
    assert isinstance(latencies, dict)
    assert {at: set(each) for at, each in latencies.items()} == {"1": kinds | {"echo"}, "32": kinds | {"echo"}}
    assert isinstance(figures["ratios"], dict)
    assert {name: set(each) for name, each in figures["ratios"].items()} == dict.fromkeys(
        ("unary/echo", "stream/raw", "stream/(raw*workers)", "p99_sign_32/p99_echo_32"), kinds
    )
    assert (figures["errors"], figures["workers"]) == ({}, 2)
    assert "p256" in describe(figures)
    assert list(tmp_path.iterdir()) == []


def test_growth_compares_a_small_ledger_with_a_large_one(tmp_path: Path) -> None:
    """Ledgers that were filled offline are served and measured side by side."""
    figures = run(Options(quick=True, seconds=SECONDS, events=1_500, folder=tmp_path))
    growth = figures["growth"]
    assert isinstance(growth, dict)
    assert set(growth) == {"small", "large", "large/small", "errors"}
    assert (growth["small"]["events_before"], growth["large"]["events_before"]) == (1_000, 1_500)
    assert all(growth["large/small"].values())
    assert growth["errors"] == {}
    assert "recovery_s" in describe(figures)
    assert list(tmp_path.iterdir()) == []


def test_governance_compares_no_proposals_with_many(tmp_path: Path) -> None:
    """Two enclaves are measured side by side, ten members approve, and a freeze stops everything."""
    figures = run(Options(quick=True, seconds=SECONDS, governance=True, folder=tmp_path))
    governance = figures["governance"]
    assert isinstance(governance, dict)
    assert (governance["members"], governance["open_proposals"], governance["errors"]) == (100, 500, {})
    assert all(governance["with/without"].values())
    assert all(governance["ten_approvals_ms"].values())
    assert governance["freeze_ms"]["command_to_answer"] > 0
    assert "command_to_last_signature" in describe(figures)
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    """A run that is told to end removes its folder and ends the processes that it started."""
    script = (
        "import sys, pathlib, keyvault.bench as b; b.run(b.Options(seconds=30.0, folder=pathlib.Path(sys.argv[1])))"
    )
    program = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE)
    while not list(tmp_path.glob("*/desk/port")) and program.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(0.05)
    program.terminate()
    _, said = program.communicate(timeout=60)
    assert b"ended by SIGTERM" in said
    assert list(tmp_path.iterdir()) == []
    assert not [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in read(each)]


def read(path: Path) -> bytes:
    """Return what a file of /proc says; nothing when its process has ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_unknown_kinds_are_refused() -> None:
    """What cannot be measured is said before anything is started."""
    with pytest.raises(Malformed, match="must be among p256, secp256k1, ed25519, hmac"):
        run(Options(only=("rsa",)))


@pytest.mark.parametrize("kind", list(Kind))
def test_payloads_are_what_they_say(kind: Kind) -> None:
    """Every request that is measured is a payload that its key can sign, each time another one."""
    assert ALGORITHMS[kind] in intents.parse(sample(kind), intents.ANYBODY).algorithms
    requests = Requests("bench", kind, RequestIds())
    made = [requests.next().payload.SerializeToString() for _ in range(100)]
    assert len(set(made)) == len(made)


def test_the_measured_policy_has_no_known_hole() -> None:
    """The policy of the measurements would be published anywhere."""
    assert lint(policy(2)) == ()


def test_request_ids_are_uuid7_and_grow() -> None:
    """Ids of the load are version 7 with the right variant, in order, and of the millisecond that is asked for."""
    ids = RequestIds()
    made = [ids.next(1_790_000_000_000) for _ in range(5_000)]
    assert sorted(made) == made
    assert len(set(made)) == len(made)
    assert {(len(each), each[14], each[19]) for each in made} == {(36, "7", "8")}
    assert {int(each[:13].replace("-", ""), 16) for each in made} == {1_790_000_000_000}
