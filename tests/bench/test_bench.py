import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault import intents
from keyvault.bench import Options, decide, decide_policy, describe, run
from keyvault.bench.decide_payloads import CASES
from keyvault.bench.decide_policy import CROWDED
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


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that the user postgres can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_failover_counts_what_was_lost(open_folder: Path) -> None:
    """Each fault once, on real servers: gaps, no failed call, nothing lost or repeated, and the price of standbys."""
    figures = run(Options(failover=True, without_patroni=True, rounds=1, seconds=SECONDS, folder=open_folder))
    failover = figures["failover"]
    assert isinstance(failover, dict)
    assert len(failover["faults"]) == 4
    assert all(fault["gap_max_s"] > 0 and fault["failed_calls"] == 0 for fault in failover["faults"].values())
    ledger = failover["ledger"]
    assert (ledger["lost"], ledger["repeated"], ledger["audit"]) == (0, 0, "ok")
    assert ledger["epochs"] > 4
    assert failover["steady"]["postgres/sqlite"] > 0
    assert "no Patroni" in describe(figures)
    assert list(open_folder.iterdir()) == []


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


def test_decisions_are_timed_by_payload_and_by_size_of_policy() -> None:
    """Without any process: percentiles of every payload with their aims, and medians under policies of three sizes."""
    figures = run(Options(quick=True, decide=True))
    found = figures["decide"]
    assert isinstance(found, dict)
    assert set(found) == {"cases", "p50_by_rules", "decisions_each", "policy"}
    assert set(found["cases"]) == set(found["p50_by_rules"]) == set(CASES)
    times = {"p50_us", "p95_us", "p99_us", "cpu_p50_us", "cpu_p99_us", "decode_p50_us", "judge_p50_us"}
    for case in found["cases"].values():
        assert set(case) == times | {"aim_p50_us", "aim_p99_us", "effects", "bytes"}
        assert all(case[name] > 0 for name in times)
        assert case["p50_us"] <= case["p95_us"] <= case["p99_us"]
    assert {name: each["effects"] for name, each in found["cases"].items() if each["effects"] > 1} == {
        "permit2-batch-3": 3, "solana-20": 18,
    }  # fmt: skip
    sizes = {"20", "200", "500", "200/20", "500/20"}
    for name, medians in found["p50_by_rules"].items():
        assert set(medians) == (sizes | {"crowded", "crowded/20"} if name in CROWDED else sizes)
    assert "solana-20" in describe(figures)
    only = run(Options(quick=True, decide=True, only=("coin-transfer",)))["decide"]
    assert isinstance(only, dict)
    assert set(only["cases"]) == {"coin-transfer"}
    with pytest.raises(Malformed, match="must be among erc20-transfer, "):
        run(Options(decide=True, only=("p256",)))


@pytest.mark.parametrize("name", CASES)
def test_timed_payloads_are_unlike_each_other(name: str) -> None:
    """No payload whose decision is timed has the bytes of another; its key can sign it."""
    case = CASES[name]
    made = {case.make(number, 1_790_000_000_000) for number in range(2**24, 2**24 + 2_000)}
    assert len(made) == 2_000
    assert case.algorithm in decide.sample(case).algorithms


@pytest.mark.parametrize(("rules", "crowded"), [(20, False), (200, False), (500, False), (200, True)])
def test_timed_policies_have_no_known_hole(rules: int, crowded: bool) -> None:  # noqa: FBT001 - a parameter
    """The policies of the decisions have so many rules and limits, and would be published anywhere."""
    timed = decide_policy.policy(rules, decide.LIMITS, as_of=1, crowded=crowded)
    more = decide_policy.CROWD * len(CROWDED) if crowded else 0
    assert (len(timed.rules), len(timed.limits)) == (rules + more, decide.LIMITS)
    assert lint(timed) == ()


@pytest.mark.parametrize("name", CASES)
def test_timed_decisions_count_for_limits(name: str) -> None:
    """Every payload whose decision is timed is compared with limits, and is counted for them."""
    desk = decide.Desk(20)
    desk.turn(CASES[name], 3)
    used = {quota.limit: quota.used for quota in desk.quotas(CASES[name])}
    assert used["per-minute"] == used["per-day"] == used[f"{name}-hour"] == 3


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
