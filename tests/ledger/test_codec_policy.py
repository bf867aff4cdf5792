"""Policies as bytes: exact, one form each, and strict with what comes from elsewhere."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_rules import Per
from keyvault.ledger.codec_policy import decode_policy, encode_policy, policy_sha256
from keyvault.v1 import policy_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.frozensets(TEXT.filter(bool), min_size=1, max_size=4) | st.just(ANY)
CONDITION = st.none() | NAMES
AMOUNT = st.none() | st.just(ANY) | st.integers(0, 2**256 - 1)
ABOVE = st.none() | st.integers(0, 2**256 - 1)
ASKING: dict[Verdict, st.SearchStrategy[dict[str, Any]]] = {
    Verdict.ALLOW: st.fixed_dictionaries({}),
    Verdict.DENY: st.fixed_dictionaries({"amount_above": ABOVE}),
    Verdict.ESCALATE: st.fixed_dictionaries(
        {"amount_above": ABOVE, "quorum": st.sampled_from(["1 of risk", "2 of risk and (1 of a or 3 of b)"])}
    ),
}
"""What only rules of some verdicts have."""
CONDITIONS = st.builds(
    Rule,
    id=st.just("r"),
    verdict=st.sampled_from(Verdict),
    keys=CONDITION,
    principals=CONDITION,
    kinds=st.frozensets(st.sampled_from(PayloadKind)),
    operations=st.frozensets(st.sampled_from(Operation)),
    chains=st.none() | st.just(ANY) | st.frozensets(st.integers(0, 2**80), min_size=1, max_size=4),
    venues=CONDITION,
    destinations=CONDITION,
    selectors=CONDITION,
    primary_types=CONDITION,
    amount_max=AMOUNT,
    fee_max=AMOUNT,
)
RULES = CONDITIONS.flatmap(lambda rule: ASKING[rule.verdict].map(lambda asking: replace(rule, **asking)))


@given(RULES, NAMES, st.integers(1, 2**32 - 1))
def test_any_policy_survives(rule: Rule, keys: frozenset[str], version: int) -> None:
    """A policy is written and read as the same, and the same policy has the same bytes and hash."""
    limit = Limit(id="l", keys=keys, window_ms=limits.WINDOW_MS_MAX, amount_max=0, chain_id=0)
    policy = Policy(version=version, rules=(rule,), limits=(limit,))
    document = encode_policy(policy)
    assert decode_policy(document) == policy
    assert encode_policy(decode_policy(document)) == document
    assert policy_sha256(document) == hashlib.sha256(document).digest()


def _limit(**fields: object) -> policy_pb2.Limit:
    usual: dict[str, object] = {
        "id": "l", "keys": policy_pb2.StringCondition(any=True), "window_ms": 1_000, "max_count": 1,
    }  # fmt: skip
    return policy_pb2.Limit(**{name: value for name, value in (usual | fields).items() if value is not None})  # type: ignore[arg-type]  # fields by name


def _rule(**fields: object) -> policy_pb2.Rule:
    return policy_pb2.Rule(**({"id": "r", "verdict": policy_pb2.VERDICT_ALLOW} | fields))  # type: ignore[arg-type]  # fields by name


def _list(name: str, *values: str) -> policy_pb2.NamedList:
    return policy_pb2.NamedList(name=name, values=values or ["a"])


def _asset(**fields: object) -> policy_pb2.Asset:
    usual = {"name": "A", "usd": 1, "decimals": 6, "places": [{"name": "okx", "asset": "A"}]}
    return policy_pb2.Asset(**(usual | fields))  # type: ignore[arg-type]  # fields by name


def _priced(**fields: object) -> policy_pb2.Policy:
    prices = policy_pb2.Prices(**({"as_of_ms": 1, "age_max_ms": 1} | fields))  # type: ignore[arg-type]  # fields by name
    return policy_pb2.Policy(version=1, prices=prices)


TOO_LONG = limits.FIRST_SEEN_MS_MAX + 1
HOUR = {"days": [1], "start": 0, "end": 60}
MARKET = {"venue": "okx", "symbol": "A-B", "base": "A", "quote": "B"}
NOTHING = policy_pb2.StringCondition()
BOTH = policy_pb2.StringCondition(any=True, values=["a"])


def test_a_limit_without_per_is_for_each_key() -> None:
    """As it was before there was a choice; written so, and read so from whoever says it."""
    silent, said = (policy_pb2.Policy(version=1, limits=[each]) for each in (_limit(), _limit(per=policy_pb2.PER_KEY)))
    read = decode_policy(silent.SerializeToString())
    assert decode_policy(said.SerializeToString()) == read
    assert read.limits[0].per is Per.KEY
    assert encode_policy(read) == silent.SerializeToString(deterministic=True)


ESCALATING = Policy(
    version=1,
    rules=(
        Rule(id="ask", verdict=Verdict.ESCALATE, quorum="2 of risk and 1 of ops", amount_above=256),
        Rule(id="stop", verdict=Verdict.DENY, amount_above=0),
    ),
    limits=(),
)


def test_escalating_bytes_keep_their_meaning() -> None:
    """A policy that escalates, and one that denies above zero, are the same bytes for ever."""
    document = bytes.fromhex(
        "080112230a0361736b1003721632206f66207269736b20616e642031206f66206f70737a020100120a0a0473746f7010027a00"
    )
    assert decode_policy(document) == ESCALATING
    assert encode_policy(ESCALATING).hex() == document.hex()


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("policy.version", policy_pb2.Policy()),
        ("policy.rules", policy_pb2.Policy(version=1, rules=[_rule(id=f"r{i}") for i in range(501)])),
        ("policy.limits", policy_pb2.Policy(version=1, limits=[_limit(id=f"l{i}") for i in range(65)])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="")])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="Upper")])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(), _rule()])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="l")], limits=[_limit()])),
        ("rules[r].verdict", policy_pb2.Policy(version=1, rules=[_rule(verdict=0)])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys=NOTHING)])),
        ("rules[r].venues", policy_pb2.Policy(version=1, rules=[_rule(venues=BOTH)])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": ["a", "a"]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": [""]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": ["a" * 257]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": [str(i) for i in range(1001)]})])),
        ("rules[r].kinds", policy_pb2.Policy(version=1, rules=[_rule(kinds=[0])])),
        ("rules[r].kinds", policy_pb2.Policy(version=1, rules=[_rule(kinds=[1, 1])])),
        ("rules[r].operations", policy_pb2.Policy(version=1, rules=[_rule(operations=[99])])),
        ("rules[r].chains", policy_pb2.Policy(version=1, rules=[_rule(chains={"values": [b"\0\1"]})])),
        ("rules[r].chains", policy_pb2.Policy(version=1, rules=[_rule(chains={})])),
        ("rules[r].amount", policy_pb2.Policy(version=1, rules=[_rule(amount={})])),
        ("rules[r].amount", policy_pb2.Policy(version=1, rules=[_rule(amount={"any": True, "max": b"\1"})])),
        ("rules[r].fee", policy_pb2.Policy(version=1, rules=[_rule(fee={"max": b"\0"})])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(quorum="1 of risk")])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(verdict=2, quorum="1 of risk")])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(verdict=3)])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(verdict=3, quorum="1  of risk")])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(verdict=3, quorum="(1 of risk)")])),
        ("rules[r].quorum", policy_pb2.Policy(version=1, rules=[_rule(verdict=3, quorum="0 of risk")])),
        ("rules[r].amount_above", policy_pb2.Policy(version=1, rules=[_rule(amount_above=b"\1")])),
        ("rules[r].amount_above", policy_pb2.Policy(version=1, rules=[_rule(verdict=2, amount_above=b"\0")])),
        ("rules[r].amount_above", policy_pb2.Policy(version=1, rules=[_rule(verdict=2, amount_above=b"\1" * 65)])),
        ("rules[r].first_seen_ms", policy_pb2.Policy(version=1, rules=[_rule(first_seen_ms=1)])),
        ("rules[r].first_seen_ms", policy_pb2.Policy(version=1, rules=[_rule(verdict=2, first_seen_ms=0)])),
        (
            "rules[r].first_seen_ms",
            policy_pb2.Policy(version=1, rules=[_rule(verdict=2, first_seen_ms=TOO_LONG)]),
        ),
        ("rules[r].look_alike", policy_pb2.Policy(version=1, rules=[_rule(look_alike=True)])),
        ("rules[r].usd_above", policy_pb2.Policy(version=1, rules=[_rule(usd_above=b"\1")])),
        ("rules[r].when", policy_pb2.Policy(version=1, rules=[_rule(when="x" * 1_001)])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(verdict=2, hours=[HOUR])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[{"days": [], "start": 0, "end": 1}])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[{"days": [7], "start": 0, "end": 1}])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[{"days": [1, 1], "start": 0, "end": 1}])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[{"days": [1], "start": 1, "end": 1}])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[{"days": [1], "start": 0, "end": 1441}])])),
        ("rules[r].hours", policy_pb2.Policy(version=1, rules=[_rule(hours=[HOUR] * 1_001)])),
        ("policy.lists", policy_pb2.Policy(version=1, lists=[_list(f"l{n}") for n in range(65)])),
        ("policy.id", policy_pb2.Policy(version=1, lists=[_list("l")] * 2)),
        ("policy.id", policy_pb2.Policy(version=1, tags=[_list("L")])),
        ("lists[l]", policy_pb2.Policy(version=1, lists=[_list("l", "a", "a")])),
        ("limits[l].per", policy_pb2.Policy(version=1, limits=[_limit(per=8)])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(network="solana")])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(max_amount=b"", network="a", venue="b")])),
        ("prices", _priced(as_of_ms=0)),
        ("prices", _priced(age_max_ms=0)),
        ("prices", _priced(assets=[_asset(name=f"A{n}") for n in range(1_001)])),
        ("prices.assets", _priced(assets=[_asset(), _asset()])),
        ("prices.assets", _priced(assets=[_asset(), _asset(name="B")])),
        ("prices.assets[A].usd", _priced(assets=[_asset(usd=0)])),
        ("prices.assets[A].decimals", _priced(assets=[_asset(decimals=37)])),
        ("prices.assets[A].places", _priced(assets=[_asset(places=[])])),
        ("prices.assets[A].places", _priced(assets=[_asset(places=[{"asset": "native"}])])),
        ("prices.assets[A].places", _priced(assets=[_asset(places=[{"name": "okx"}])])),
        ("prices.assets[A].places", _priced(assets=[_asset(places=[{"name": "okx", "asset": "A"}] * 2)])),
        ("prices.markets[okx/A-B]", _priced(markets=[MARKET])),
        ("prices.markets[okx/A-B]", _priced(assets=[_asset()], markets=[MARKET | {"quote": "A"}] * 2)),
        ("prices.markets[okx/A-B].unit", _priced(assets=[_asset()], markets=[MARKET | {"quote": "A", "unit": b"\1"}])),
        (
            "prices.markets[okx/A-B].unit",
            _priced(assets=[_asset()], markets=[MARKET | {"quote": "A", "unit": b"\1", "unit_asset": "C"}]),
        ),
        (
            "prices.markets[okx/A-B].unit",
            _priced(assets=[_asset()], markets=[MARKET | {"quote": "A", "unit_asset": "A"}]),
        ),
        ("limits[l].keys", policy_pb2.Policy(version=1, limits=[_limit(keys=None)])),
        ("limits[l].window_ms", policy_pb2.Policy(version=1, limits=[_limit(window_ms=999)])),
        ("limits[l].window_ms", policy_pb2.Policy(version=1, limits=[_limit(window_ms=limits.WINDOW_MS_MAX + 1)])),
        ("limits[l]", policy_pb2.Policy(version=1, limits=[_limit(max_count=None)])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(max_amount=b"\1")])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(chain_id=b"\1")])),
    ],
)
def test_policies_out_of_bounds_are_malformed(field: str, document: policy_pb2.Policy) -> None:
    """Contradictions, repetitions, missing parts and too much of anything are refused with the field's name."""
    with pytest.raises(Malformed) as refused:
        decode_policy(document.SerializeToString())
    assert refused.value.field == field


def test_policy_documents_are_bounded_and_whole() -> None:
    """A document that is too long, no protobuf, or has unknown fields is refused."""
    good = encode_policy(ESCALATING)
    for document in (bytes(limits.POLICY_BYTES_MAX + 1), b"\xff\xff", good + b"\xf8\x06\x01", good + good):
        with pytest.raises(Malformed):
            decode_policy(document)
