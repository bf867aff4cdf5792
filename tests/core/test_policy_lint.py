"""Policies that must not be published, and what lint says about them."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits as bounds
from keyvault.core import policy_kinds
from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict, evaluate
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import Prices

HOME = "0x" + "ab" * 20
BOT = Principal("spiffe://demo/bot/maker")
PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=frozenset({"eth-hot"}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=frozenset({1}),
    destinations=frozenset({HOME}),
    amount_max=100,
    fee_max=10,
)
DENY = Rule(id="deny", verdict=Verdict.DENY)
ASK = Rule(id="ask", verdict=Verdict.ESCALATE, quorum="2 of risk")
DAY = Limit(id="day", keys=ANY, window_ms=86_400_000, count_max=5)


def fields(*rules: Rule, limits: tuple[Limit, ...] = (), version: int = 1) -> set[str]:
    return {finding.field for finding in lint(Policy(version=version, rules=rules, limits=limits))}


def test_sound_rules_have_no_findings() -> None:
    """Sound rules, rules that deny or escalate everything, and an empty policy may be published."""
    assert fields(PAY, DENY, ASK, limits=(DAY,)) == set()
    assert fields(dataclasses.replace(DENY, amount_above=0), dataclasses.replace(ASK, amount_above=2**256 - 1)) == set()
    permits = dataclasses.replace(PAY, id="large", verdict=Verdict.ESCALATE, quorum="1 of a or 2 of b")
    assert fields(dataclasses.replace(permits, amount_max=None, amount_above=5, fee_max=ANY)) == set()
    assert fields(dataclasses.replace(permits, amount_max=ANY, fee_max=ANY)) == set()
    assert fields() == set()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "Pay"}, "id"),
        ({"keys": None}, "keys"),
        ({"keys": frozenset({"Eth"})}, "keys"),
        ({"principals": None}, "principals"),
        ({"principals": frozenset({"maker"})}, "principals"),
        ({"kinds": frozenset()}, "kinds"),
        ({"kinds": frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.BINANCE_REST})}, "kinds"),
        ({"operations": frozenset({Operation.TRANSFER, Operation.ORDER})}, "operations"),
        ({"operations": frozenset()}, "selectors"),
        ({"operations": frozenset({Operation.CALL})}, "selectors"),
        ({"operations": frozenset({Operation.CREATE})}, "destinations"),
        ({"chains": None}, "chains"),
        ({"chains": frozenset()}, "chains"),
        ({"chains": frozenset({0})}, "chains"),
        ({"destinations": None}, "destinations"),
        ({"destinations": frozenset({HOME.upper().replace("0X", "0x")})}, "destinations"),
        ({"destinations": frozenset({"bc1qhome"})}, "destinations"),
        ({"symbols": frozenset({"BTCUSDT"})}, "symbols"),
        ({"selectors": frozenset({"transfer"})}, "selectors"),
        ({"venues": frozenset({"binance"})}, "venues"),
        ({"primary_types": frozenset({"Order"})}, "primary_types"),
        ({"amount_max": None}, "amount_max"),
        ({"amount_max": 2**256}, "amount_max"),
        ({"fee_max": None}, "fee_max"),
        ({"quorum": "2 of risk"}, "quorum"),
        ({"amount_above": 5}, "amount_above"),
    ],
)
def test_a_flaw_of_an_allow_rule_is_found_at_its_field(change: dict[str, object], field: str) -> None:
    """What keeps a rule from ever matching, or is not written as decoders write it, is found."""
    assert field in fields(dataclasses.replace(PAY, **change))  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_max": 5}, "amount_max"),
        ({"fee_max": ANY}, "fee_max"),
        ({"destinations": frozenset()}, "destinations"),
        ({"kinds": frozenset({PayloadKind.BINANCE_REST}), "chains": frozenset({1})}, "chains"),
        ({"venues": frozenset({"binanse"})}, "venues"),
        ({"keys": frozenset({"Eth"})}, "keys"),
        ({"principals": frozenset({"maker"})}, "principals"),
        ({"destinations": frozenset({"0x12"})}, "destinations"),
        ({"contracts": frozenset({"0x12"})}, "contracts"),
        ({"assets": frozenset({"a token"})}, "assets"),
        ({"selectors": frozenset({"transfer"})}, "selectors"),
        ({"primary_types": frozenset({"1 Order"})}, "primary_types"),
        ({"type_hashes": frozenset({"0x12"})}, "type_hashes"),
        ({"symbols": frozenset({"BTC USDT"})}, "symbols"),
        ({"sides": frozenset({"buy"})}, "sides"),
        ({"quorum": "2 of risk"}, "quorum"),
        ({"amount_above": -1}, "amount_above"),
        ({"amount_above": 2**256}, "amount_above"),
        ({"kinds": frozenset({PayloadKind.BINANCE_REST}), "amount_above": 1}, "amount_above"),
        ({"operations": frozenset({Operation.TYPED_DATA, Operation.CANCEL}), "amount_above": 1}, "amount_above"),
    ],
)
def test_a_deny_rule_that_does_not_deny_what_it_says_is_found(change: dict[str, object], field: str) -> None:
    """Caps in a deny rule deny what is small; conditions that cannot hold, or name no value, deny nothing."""
    assert fields(dataclasses.replace(DENY, **change)) == {field}  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"quorum": ""}, "quorum", "an escalate rule must say who approves: add quorum: 2 of risk"),
        ({"quorum": "2  of risk"}, "quorum", "must be written 2 of risk"),
        ({"quorum": "2 of"}, "quorum", "character 5: nothing stands where the name of a group should"),
        ({"amount_max": 5}, "amount_max", "an escalate rule with amount would escalate what is small: use above"),
        ({"fee_max": 5}, "fee_max", "an escalate rule with fee would escalate what is small: write fee: any"),
        ({"amount_above": 2**256}, "amount_above", "must be 0 to 2^256-1"),
        (
            {"operations": frozenset({Operation.CANCEL}), "amount_above": 5},
            "amount_above",
            "cancel has no amount, so the rule never escalates it: leave above out",
        ),
        (
            {"kinds": frozenset({PayloadKind.BITCOIN_PSBT}), "venues": frozenset({"binance"})},
            "venues",
            "message, transfer has no venues, so the rule never escalates it: leave venues out",
        ),
        (
            {"kinds": frozenset({PayloadKind.EVM_TRANSACTION}), "destinations": frozenset({"bc1qhome"})},
            "destinations",
            "bc1qhome is not an EVM address: 0x and 40 hex digits",
        ),
    ],
)
def test_a_flaw_of_an_escalate_rule_is_found_at_its_field(change: dict[str, object], field: str, problem: str) -> None:
    """It says whom it asks in the one text of a quorum, has no caps, and asks nothing that never holds."""
    rule = dataclasses.replace(ASK, **change)  # type: ignore[arg-type]  # names of fields
    assert [(each.field, each.problem) for each in lint(Policy(version=1, rules=(rule,), limits=()))] == [
        (field, problem)
    ]


def test_raw_digests_need_their_operation_and_key_names() -> None:
    """A rule for raw digests says opaque, names keys, and asks nothing of what it cannot read."""
    raw = Rule(
        id="raw",
        verdict=Verdict.ALLOW,
        keys=frozenset({"raw-one"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )
    assert fields(raw) == set()
    assert fields(dataclasses.replace(raw, operations=frozenset())) == {"operations"}
    assert fields(dataclasses.replace(raw, keys=ANY)) == {"keys"}
    assert fields(dataclasses.replace(raw, chains=frozenset({1}))) == {"chains"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"keys": frozenset()}, "keys"),
        ({"window_ms": 999}, "window_ms"),
        ({"window_ms": 7 * 86_400_000 + 1}, "window_ms"),
        ({"count_max": None}, "id"),
        ({"count_max": -1}, "count_max"),
        ({"amount_max": 5}, "amount_max"),
        ({"chain_id": 1}, "amount_max"),
        ({"chain_id": 0, "amount_max": 5}, "chain_id"),
        ({"chain_id": 1, "amount_max": 2**256}, "amount_max"),
    ],
)
def test_a_flaw_of_a_limit_is_found_at_its_field(change: dict[str, object], field: str) -> None:
    """Limits have a window in bounds, a measure, and amounts with their chain."""
    limit = dataclasses.replace(DAY, **change)  # type: ignore[arg-type]  # names of fields
    assert fields(limits=(limit,)) == {field}


@pytest.mark.parametrize("field", ["chains", "destinations"])
def test_a_type_hash_stands_for_the_name_of_the_type_and_nothing_else(field: str) -> None:
    """Whatever else a rule for typed data leaves out keeps it from matching, and is found."""
    hashed = dataclasses.replace(
        PAY,
        kinds=frozenset({PayloadKind.TYPED_DATA}),
        operations=frozenset({Operation.TYPED_DATA}),
        type_hashes=frozenset({"0x" + "aa" * 32}),
        amount_max=None,
        fee_max=None,
    )
    assert fields(hashed) == set()
    assert fields(dataclasses.replace(hashed, **{field: None})) == {field}  # type: ignore[arg-type]  # names of fields
    assert fields(dataclasses.replace(hashed, type_hashes=None)) == {"primary_types"}


def test_a_cap_in_dollars_stands_for_the_amount_and_nothing_else() -> None:
    """Any selector is still any power over the contract, up to so many dollars."""
    call = dataclasses.replace(
        PAY, operations=frozenset({Operation.CALL}), selectors=ANY, amount_max=ANY, usd_max=10**9
    )
    assert fields(call) == {"selectors"}


def test_bounds_are_inclusive() -> None:
    """The highest chain id and the longest time that a destination is new may be said; 0 ms and one more may not."""
    assert fields(dataclasses.replace(DENY, chains=frozenset({1, 2**256 - 1}))) == set()
    assert fields(dataclasses.replace(DENY, chains=frozenset({2**256}))) == {"chains"}
    longest = bounds.FIRST_SEEN_MS_MAX
    found = [fields(dataclasses.replace(ASK, first_seen_ms=ms)) for ms in (0, 1, longest, longest + 1)]
    assert found == [{"first_seen_ms"}, set(), set(), {"first_seen_ms"}]


def test_an_amount_at_a_venue_is_of_an_asset() -> None:
    """With its asset it may be published; without, nobody knows of what."""
    spent = dataclasses.replace(DAY, amount_max=5, venue="binance", asset="USDT")
    assert fields(limits=(spent,)) == set()
    assert fields(limits=(dataclasses.replace(spent, asset=None),)) == {"amount_max"}


def test_an_id_is_taken_once_by_rules_and_limits_together() -> None:
    """Answers name rules and limits by id, so an id stands once."""
    findings = lint(Policy(version=1, rules=(PAY, PAY), limits=(dataclasses.replace(DAY, id="pay"),)))
    assert [(finding.section, finding.index, finding.field) for finding in findings] == [
        ("rules", 1, "id"),
        ("limits", 0, "id"),
    ]


def test_versions_rules_and_limits_are_bounded() -> None:
    """Version 0, too many rules and too many limits are found."""
    rules = tuple(dataclasses.replace(DENY, id=f"r{n}", chains=frozenset({n + 1})) for n in range(501))
    capped = tuple(dataclasses.replace(DAY, id=f"l{n}") for n in range(65))
    assert fields(*rules, limits=capped, version=0) == {"version", "rules", "limits"}


VALUES = {"chains": 1, "venues": "binance", "destinations": HOME, "selectors": "0xa9059cbb", "primary_types": "Order"}
VALUES |= {"symbols": "BTCUSDT", "contracts": HOME}
EFFECT_FIELDS = {"chains": "chain_id", "venues": "venue", "destinations": "destination", "selectors": "selector"}
EFFECT_FIELDS |= {
    "symbols": "symbol",
    "contracts": "contract",
    "primary_types": "primary_type",
    "amount_max": "amount",
    "fee_max": "fee_max",
}


def fitting_effect(kind: PayloadKind, operation: Operation) -> Effect:
    fields = policy_kinds.asked(kind, operation) & (VALUES.keys() | {"amount_max", "fee_max"})
    return Effect(operation=operation, **{EFFECT_FIELDS[field]: VALUES.get(field, 5) for field in fields})  # type: ignore[arg-type]  # names of fields


CONDITION = {field: st.sampled_from([None, ANY, frozenset({value})]) for field, value in VALUES.items()}


@given(
    rule=st.fixed_dictionaries(
        {
            **CONDITION,
            "operations": st.frozensets(st.sampled_from(Operation), min_size=1, max_size=2),
            "kinds": st.frozensets(st.sampled_from(PayloadKind), min_size=1, max_size=2),
            "keys": st.sampled_from([ANY, frozenset({"eth-hot"})]),
            "amount_max": st.sampled_from([None, ANY, 5]),
            "fee_max": st.sampled_from([None, ANY, 5]),
            "usd_max": st.sampled_from([None, ANY]),
        }
    )
)
def test_a_rule_without_findings_matches_every_operation_that_it_names(rule: dict[str, object]) -> None:
    """Lint and judgement agree: what lint lets pass allows a fitting effect of each operation it names."""
    allow = Rule(id="r", verdict=Verdict.ALLOW, principals=ANY, **rule)  # type: ignore[arg-type]  # names of fields
    policy = Policy(version=1, rules=(allow,), limits=())
    if lint(policy):
        return
    named = itertools.product(allow.kinds - policy_kinds.MIXED_KINDS, allow.operations - {Operation.OPAQUE})
    for kind, operation in named:
        if operation not in policy_kinds.KIND_OPERATIONS[kind]:
            continue
        asked = Intent(
            kind=kind,
            algorithms=frozenset(),
            signing_input=b"",
            effects=(fitting_effect(kind, operation),),
            completeness=Completeness.PARTIAL,
        )
        try:
            evaluate(policy, key=KeyId("eth-hot"), principal=BOT, intent=asked)
        except Refused as refused:
            pytest.fail(f"{allow} does not allow {operation}: {refused}")


@pytest.mark.parametrize("kind", [PayloadKind.DERIBIT_REST, PayloadKind.KRAKEN_REST])
def test_a_request_that_opens_a_session_can_be_allowed(kind: PayloadKind) -> None:
    """Every request to Deribit can be a logon, and Kraken gives tokens for WebSockets: a rule may say so."""
    rule = Rule(
        id="sessions",
        verdict=Verdict.ALLOW,
        keys=frozenset({"desk"}),
        principals=ANY,
        kinds=frozenset({kind}),
        operations=frozenset({Operation.SESSION}),
        venues=frozenset({policy_kinds.SECRETS[kind][0]}),
    )
    assert lint(Policy(version=1, rules=(rule,), limits=())) == ()


def test_a_rule_for_hyperliquid_names_its_network() -> None:
    """Actions are at a venue and on a network: without chains the rule never matches, and the network can be named."""
    rule = Rule(
        id="perpetuals",
        verdict=Verdict.ALLOW,
        keys=frozenset({"dex"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.HYPERLIQUID_ACTION}),
        operations=frozenset({Operation.ORDER}),
        venues=frozenset({"hyperliquid"}),
        symbols=frozenset({"perp:1"}),
    )
    assert fields(rule) == {"chains"}
    assert fields(dataclasses.replace(rule, chains=frozenset({"hyperliquid:mainnet"}))) == set()


def test_patterns_and_the_life_of_prices_are_bounded() -> None:
    """What costs too much on every decision, and prices that nobody renews, are found with what is permitted."""
    priced = Policy(version=1, rules=(), limits=(), prices=Prices(as_of=1, age_ms_max=bounds.PRICES_AGE_MS_MAX + 1))
    (age,) = lint(priced)
    assert (age.field, age.lint, "31d" in age.problem) == ("prices", Lint.BOUND, True)
    when = " || ".join(f"destination.matches('0x{number}')" for number in range(bounds.PREDICATE_PATTERNS_MAX))
    enough = Rule(id="many", verdict=Verdict.DENY, when=when)
    one_more = Rule(id="more", verdict=Verdict.DENY, when="symbol.matches('A.*')")
    assert lint(Policy(version=1, rules=(enough,), limits=())) == ()
    (found,) = lint(Policy(version=1, rules=(enough, one_more), limits=()))
    assert (found.index, found.field, found.lint) == (1, "when", Lint.BOUND)
