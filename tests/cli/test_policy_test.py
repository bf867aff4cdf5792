"""``keyvault policy test`` and ``policy examples``: files in, verdicts out, no server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.cli.policy_examples import EXAMPLES, example

Run = Callable[..., Result]
HOME = "0x52908400098527886E0F7030069857D2E4169EE7"
POLICY = f"""\
version: 2
rules:
  - id: home
    verdict: allow
    keys: [hot]
    principals: any
    kinds: [evm-transaction]
    operations: [transfer]
    chains: [1]
    destinations: ["{HOME}"]
    amount: 10 ether
    fee: 0.01 ether
  - {{id: large, verdict: escalate, quorum: 2 of risk, above: 2 ether}}
  - {{id: new, verdict: escalate, quorum: 1 of desk, first_seen: 1d}}
limits:
  - {{id: a-minute, keys: any, window: 1m, count: 2}}
"""
READS = """\
  - id: reads
    verdict: allow
    keys: [hot, cold]
    principals: any
    kinds: [binance-rest]
    operations: [request]
    venues: [binance]
"""
DEFAULTS = """\
defaults: {key: hot, principal: "spiffe://a/bot/b", at: 2026-11-26T12:00:00Z}
cases:
"""
SEEN = f'    seen: [{{destination: "{HOME.lower()}", at: 2026-11-01T00:00:00Z}}]\n'


def pay(ether: str, to: str = HOME, nonce: int = 0) -> str:
    fields = f'chain_id: 1, nonce: {nonce}, to: "{to}", value: {ether} ether, gas: 21000, max_fee: 20 gwei'
    return f"evm: {{{fields}}}"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    file = tmp_path / "desk.yaml"
    file.write_text(POLICY)
    return file


def cases(desk: Path, text: str) -> Path:
    file = desk.with_name("desk.test.yaml")
    file.write_text(DEFAULTS + text)
    return file


def test_cases_stand_beside_the_policy(offline: Run, desk: Path) -> None:
    """Each case is told with the engine's own explanation; all that go as they must end with 0."""
    cases(
        desk,
        f"  - name: one\n    {pay('1')}\n{SEEN}    expect: allow\n    rules: [home]\n"
        f"  - name: three\n    {pay('3')}\n{SEEN}    expect: escalate\n    rules: [large]\n    quorums: [2 of risk]\n"
        f"  - name: stranger\n    {pay('1', '0x' + '66' * 20)}\n    expect: deny\n    reason: NO_RULE_ALLOWS\n"
        "  - name: garbage\n    kind: evm-transaction\n    parts: 0xff\n    expect: malformed\n",
    )
    result = offline("policy", "test", desk)
    assert result.exit_code == 0, result.output
    assert "ok    one\n      allowed by rule home\n" in result.stdout
    assert "      rule large asks members: 2 of risk\n" in result.stdout
    assert "would allow it but for: destination 0x66" in result.stdout
    assert result.stdout.endswith("4 cases pass.\n")


def test_what_goes_another_way_is_told_and_ends_with_1(offline: Run, desk: Path) -> None:
    """Verdict, reason, rules, quorums and every field of every effect are compared, and each difference is a line."""
    cases(
        desk,
        f"  - name: one\n    {pay('1')}\n{SEEN}    expect: deny\n    reason: DENIED_BY_RULE\n    rules: [x]\n"
        f"    facts: [{{operation: transfer, chain_id: 5, symbol: Z}}]\n"
        f"  - name: two\n    {pay('1')}\n{SEEN}    expect: allow\n    facts: []\n",
    )
    result = offline("policy", "test", desk)
    assert result.exit_code == 1
    for line in (
        "FAIL  one",
        "expected deny, got allow",
        "expected reason DENIED_BY_RULE, got none",
        "expected rules x, got home",
        "effect 1: expected chain_id 5, got 1",
        "effect 1: expected symbol Z, got none",
        "effect 1: expected amount none, got 1000000000000000000",
        "expected 0 effects, got 1",
        "2 of 2 cases fail.",
    ):
        assert line in result.stdout


def test_json_has_all_that_is_told(offline: Run, desk: Path) -> None:
    """With --json each case has its line, verdict, rules, explanation and effects; the exit code is the same."""
    cases(desk, f"  - name: one\n    attack: A1\n    {pay('1')}\n{SEEN}    expect: deny\n")
    result = offline("policy", "test", desk, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["passed"], document["failed"]) == (0, 1)
    (case,) = document["cases"]
    assert (case["name"], case["attack"], case["line"], case["pass"]) == ("one", "A1", 3, False)
    assert (case["verdict"], case["rules"], case["differences"]) == ("allow", ["home"], ["expected deny, got allow"])
    assert case["effects"][0]["amount"] == 10**18


def test_earlier_requests_count(offline: Run, desk: Path) -> None:
    """What was asked before uses up limits, and makes a destination known; one that is refused fails the case."""
    before = "".join(f"      - {pay('1', nonce=n)}\n" for n in range(2))
    cases(
        desk,
        f"  - name: third\n{SEEN}    earlier:\n{before}    {pay('1', nonce=9)}\n    expect: deny\n"
        f"    reason: LIMIT_EXCEEDED\n    rules: [a-minute]\n"
        f"  - name: new\n    {pay('1')}\n    expect: escalate\n    rules: [new]\n"
        f"  - name: dreamt\n{SEEN}    earlier:\n      - {pay('50')}\n    {pay('1', nonce=9)}\n    expect: allow\n",
    )
    result = offline("policy", "test", desk)
    assert "ok    third" in result.stdout
    assert "ok    new" in result.stdout
    assert "FAIL  dreamt\n      earlier request 1 must be allowed to count, and is not: no rule allows" in result.stdout


def test_an_earlier_request_can_be_repeated_and_be_of_another_key(offline: Run, desk: Path) -> None:
    """``times`` and ``every`` fill windows without many lines; the keys of a limit are counted as the policy says."""
    read = "exchange: {venue: binance, query: limit=5}"
    desk.write_text(POLICY.replace("limits:", READS + "limits:"))
    cases(
        desk,
        f"  - name: twice\n    earlier: [{{{read}, times: 2}}]\n    {read}\n    expect: deny\n"
        f"  - name: apart\n    earlier: [{{{read}, times: 2, at: 2026-11-26T11:58:00Z, every: 30s}}]\n"
        f"    {read}\n    expect: allow\n"
        f"  - name: other\n    earlier: [{{{read}, times: 2, key: cold}}]\n    {read}\n    expect: allow\n",
    )
    assert offline("policy", "test", desk).exit_code == 0


def test_several_files_and_other_forms(offline: Run, desk: Path, tmp_path: Path) -> None:
    """Cases can be several files; parts can be files beside them, text that looks like hex, or an exchange's fields."""
    (tmp_path / "payload.bin").write_bytes(b"\xff\xfe")
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    first.write_text(
        f"{DEFAULTS}  - {{name: file, kind: evm-transaction, parts: 'file:payload.bin', expect: malformed}}\n"
        "  - {name: text, kind: evm-message, parts: 'text:0xdeadbeef', expect: deny, facts: [{operation: message, "
        "source: '0x7e5f4552091a69125d5dfcb7b8c2659029395bdf'}]}\n"
    )
    second.write_text(
        f"{DEFAULTS}  - name: read\n    exchange: {{venue: binance, query: limit=5}}\n    expect: deny\n"
        "    completeness: FULL\n    facts: [{operation: request, venue: binance}]\n"
    )
    result = offline("policy", "test", desk, first, second)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("3 cases pass.\n")


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("{name: a, expect: allow}", "a request has one of parts, evm, typed_data, exchange, this one has 0"),
        ("{name: a, parts: 0x00, expect: allow}", "parts need a kind"),
        ("{name: a, kind: evm-tx, parts: 0x00, expect: allow}", "unknown kind 'evm-tx'"),
        ("{name: a, kind: raw-digest, parts: 0x0, expect: allow}", "parts: "),
        ("{name: a, kind: raw-digest, parts: 'file:none', expect: allow}", "No such file"),
        ("{name: a, kind: raw-digest, parts: 0x00, expect: maybe}", "unknown verdict 'maybe'"),
        ("{name: a, kind: raw-digest, parts: 0x00}", "expect is missing"),
        ("{name: a, kind: raw-digest, parts: 0x00, expect: deny, reason: BECAUSE}", "unknown reason 'BECAUSE'"),
        ("{name: a, kind: raw-digest, parts: 0x00, expect: allow, reason: FROZEN}", "allow has no reason"),
        ("{name: a, kind: raw-digest, parts: 0x00, expect: deny, facts: [{op: order}]}", "unknown field 'op'"),
        ("{name: a, kind: raw-digest, parts: 0x00, expect: deny, facts: [{operation: steal}]}", "unknown operation"),
        ("{name: a, exchange: {venue: mtgox}, expect: deny}", "unknown venue 'mtgox'"),
        ("{name: a, exchange: {venue: binance, uri: x}, expect: deny}", "binance-rest has no uri"),
        ("{name: a, typed_data: {type: Mail, domain: {}, message: {}}, expect: deny}", "as EIP-712 hashes it"),
        ("{name: a, typed_data: {type: 'A(uint256 b)', domain: {}}, expect: deny}", "must have type, domain"),
        ("{name: a, evm: {chain_id: 1, to: 0x00, gas: 1, max_fee: 1 wei}, expect: deny}", "evm: to "),
    ],
)
def test_every_problem_has_its_place(offline: Run, desk: Path, case: str, problem: str) -> None:
    """What is not a case is told as file:line:column, and the exit code is 2: nothing was tried."""
    file = cases(desk, f"  - {case}\n")
    result = offline("policy", "test", desk)
    assert result.exit_code == 2
    assert f"{file}:3:" in result.stderr
    assert problem in result.stderr
    assert "pass" not in result.stdout


def test_names_are_taken_once_and_keys_are_needed(offline: Run, desk: Path) -> None:
    """A second case of one name is refused; without defaults a case must say key and principal."""
    file = desk.with_name("desk.test.yaml")
    case = "{name: a, kind: raw-digest, parts: 0x00, expect: deny}"
    cases(desk, f"  - {case}\n  - {case}\n")
    assert "the name a is taken" in offline("policy", "test", desk).stderr
    file.write_text(f"cases:\n  - {case}\n")
    told = offline("policy", "test", desk).stderr
    assert "key is missing" in told
    assert "principal is missing" in told


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_good_and_say_what_they_promise(offline: Run, tmp_path: Path, name: str) -> None:
    """Each example can be written, is well formed, and passes the cases beside it; no file is overwritten."""
    assert offline("policy", "examples", name, "--out", tmp_path).exit_code == 0
    file = tmp_path / f"{name}.yaml"
    assert offline("policy", "check", file).exit_code == 0
    tried = offline("policy", "test", file)
    assert tried.exit_code == 0, tried.stdout
    assert offline("policy", "examples", name).stdout.rstrip() == file.read_text().rstrip()
    again = offline("policy", "examples", name, "--out", tmp_path)
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_examples_are_listed(offline: Run) -> None:
    """Without a name the examples are listed with what they are for."""
    listed = offline("policy", "examples")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(EXAMPLES)
    assert "A market maker on two exchanges" in listed.stdout


@pytest.mark.parametrize(("name", "still"), [("market-maker", "closing"), ("dex-bot", "made smaller")])
def test_an_order_freeze_leaves_what_makes_risk_smaller(offline: Run, tmp_path: Path, name: str, still: str) -> None:
    """With the freeze that stands in the example all orders are refused; cancels and what only reduces go on."""
    file = tmp_path / f"{name}.yaml"
    file.write_text(example(name).replace("# - {id: order-freeze", "- {id: order-freeze"))
    file.with_name(f"{name}.test.yaml").write_text(example(name, ".test.yaml"))
    found = json.loads(offline("policy", "test", file, "--json").stdout)["cases"]
    asked = {"order", "cancel", "reduce"}
    by_operation = {(each["effects"][0]["operation"], each["verdict"]) for each in found if each["effects"]}
    assert {verdict for operation, verdict in by_operation if operation == "order"} == {"deny"}
    assert {verdict for operation, verdict in by_operation if operation in asked - {"order"}} == {"allow"}
    assert any(still in each["name"] or "closed" in each["name"] for each in found if each["verdict"] == "allow")
