"""Which changes of a policy only take away."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.charges import Charge
from keyvault.core.errors import Refused
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.limits_check import check_limits
from keyvault.core.policy import ANY, Limit, Permission, Policy, Rule, Verdict
from keyvault.core.policy_change import is_tightening, quorum_groups
from keyvault.core.policy_rules import Per
from keyvault.core.windows import Reservations, Windows
from tests.core.charging import NOW, charge
from tests.core.rule_strategies import ASKED, CONDITIONS, EVERYTHING, LIMITS, RULES, Asked, policy_of

HOME = "0x" + "ab" * 20
AWAY = "0x" + "cd" * 20
PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=frozenset({"eth-hot", "eth-cold"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER, Operation.CREATE}),
    chains=frozenset({1, 5}),
    destinations=frozenset({HOME, AWAY}),
    amount_max=100,
    fee_max=ANY,
)
RAW = Rule(
    id="raw",
    verdict=Verdict.ALLOW,
    keys=frozenset({"bridge"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.RAW_DIGEST}),
    operations=frozenset({Operation.OPAQUE}),
)
LARGE = Rule(id="large", verdict=Verdict.ESCALATE, quorum="2 of risk", amount_above=50, chains=frozenset({1}))
PAY_LARGE = dataclasses.replace(
    PAY, id="pay-large", verdict=Verdict.ESCALATE, quorum="1 of risk", amount_max=None, amount_above=100
)
DENY = Rule(id="deny", verdict=Verdict.DENY, destinations=frozenset({AWAY}), chains=frozenset({1}))
DAY = Limit(id="day", keys=frozenset({"eth-hot"}), window_ms=86_400_000, count_max=5, amount_max=100, chain_id=1)
OLD = Policy(version=3, rules=(PAY, RAW, LARGE, PAY_LARGE, DENY), limits=(DAY,))


def changed(rule: Rule, **change: object) -> Policy:
    """Return the old policy with this rule changed."""
    new = dataclasses.replace(rule, **change)  # type: ignore[arg-type]  # names of fields
    return dataclasses.replace(OLD, rules=tuple(new if each is rule else each for each in OLD.rules))


def without(rule: Rule) -> Policy:
    return dataclasses.replace(OLD, rules=tuple(each for each in OLD.rules if each is not rule))


def with_rules(*rules: Rule) -> Policy:
    return dataclasses.replace(OLD, rules=(*rules, *OLD.rules))


def with_limits(*limits: Limit) -> Policy:
    return dataclasses.replace(OLD, limits=limits)


TIGHTER = {
    "the same": OLD,
    "another version": dataclasses.replace(OLD, version=4),
    "another order": dataclasses.replace(OLD, rules=OLD.rules[::-1]),
    "another id": changed(PAY, id="payment"),
    "nothing allowed": dataclasses.replace(OLD, rules=(LARGE, DENY)),
    "no rules and no limits": Policy(version=4, rules=(), limits=()),
    "an allow rule that matches nothing": Policy(version=4, rules=(dataclasses.replace(PAY, keys=None),), limits=()),
    "an allow rule removed": without(PAY),
    "an escalate rule that permits becomes a deny rule": changed(PAY_LARGE, verdict=Verdict.DENY, quorum=""),
    "a key less": changed(PAY, keys=frozenset({"eth-hot"})),
    "a principal named": changed(PAY, principals=frozenset({"spiffe://demo/bot/maker"})),
    "an operation less": changed(PAY, operations=frozenset({Operation.TRANSFER})),
    "a destination less": changed(PAY, destinations=frozenset({HOME})),
    "a lower cap": changed(PAY, amount_max=99),
    "a cap instead of any": changed(PAY, fee_max=10),
    "a condition that is not mentioned any more": changed(PAY, fee_max=None),
    "the same rule twice": with_rules(dataclasses.replace(PAY, id="again", amount_max=7)),
    "a deny rule more": with_rules(dataclasses.replace(DENY, id="stop", chains=frozenset({5}))),
    "a wider deny rule": changed(DENY, chains=None),
    "a deny rule on the large": with_rules(Rule(id="stop", verdict=Verdict.DENY, amount_above=50)),
    "an escalate rule more": with_rules(dataclasses.replace(LARGE, id="more", quorum="1 of owners")),
    "an escalate rule that permits what is allowed": with_rules(
        dataclasses.replace(PAY, id="ask", verdict=Verdict.ESCALATE, quorum="1 of owners")
    ),
    "an escalate rule from a lower amount": changed(LARGE, amount_above=49),
    "an escalate rule from any amount": changed(LARGE, amount_above=None),
    "a wider escalate rule": changed(LARGE, chains=frozenset({1, 5})),
    "denied instead of escalated": changed(LARGE, verdict=Verdict.DENY, quorum=""),
    "a limit more": with_limits(DAY, dataclasses.replace(DAY, id="hour", window_ms=3_600_000)),
    "a lower limit": with_limits(dataclasses.replace(DAY, count_max=4, amount_max=99)),
    "a limit of every key": with_limits(dataclasses.replace(DAY, keys=ANY)),
    "a limit in two": with_limits(
        dataclasses.replace(DAY, id="count", amount_max=None, chain_id=None),
        dataclasses.replace(DAY, id="amount", count_max=None),
    ),
}

LOOSER = {
    "a rule more": with_rules(dataclasses.replace(PAY, id="more", destinations=frozenset({"0x" + "ef" * 20}))),
    "any key": changed(PAY, keys=ANY),
    "a key more": changed(PAY, keys=PAY.keys | {"eth-warm"}),  # type: ignore[operator]  # a set
    "a kind more": changed(PAY, kinds=PAY.kinds | {PayloadKind.TYPED_DATA}),
    "the plain operations instead": changed(PAY, operations=frozenset()),
    "any chain": changed(PAY, chains=ANY),
    "a higher cap": changed(PAY, amount_max=101),
    "no cap": changed(PAY, amount_max=ANY),
    "a key more for raw digests": changed(RAW, keys=frozenset({"bridge", "eth-hot"})),
    "a deny rule less": without(DENY),
    "a narrower deny rule": changed(DENY, chains=frozenset({5})),
    "a deny rule on the large only": changed(DENY, amount_above=50),
    "a deny rule for one key": changed(DENY, keys=frozenset({"eth-hot"})),
    "a deny rule for plain payloads": changed(DENY, kinds=frozenset({PayloadKind.EVM_TRANSACTION})),
    "escalated instead of denied": changed(DENY, verdict=Verdict.ESCALATE, quorum="2 of risk"),
    "allowed instead of escalated": changed(
        PAY_LARGE, verdict=Verdict.ALLOW, quorum="", amount_above=None, amount_max=ANY
    ),
    "an escalate rule less": without(LARGE),
    "a narrower escalate rule": changed(LARGE, amount_above=51),
    "a smaller quorum": changed(LARGE, quorum="1 of risk"),
    "another quorum": changed(LARGE, quorum="3 of risk"),
    "no amount mentioned any more but any": changed(PAY_LARGE, amount_above=None, amount_max=ANY),
    "a limit less": with_limits(),
    "a higher limit": with_limits(dataclasses.replace(DAY, count_max=6)),
    "a limit without a count": with_limits(dataclasses.replace(DAY, count_max=None)),
    "a limit without an amount": with_limits(dataclasses.replace(DAY, amount_max=None, chain_id=None)),
    "a limit on another chain": with_limits(dataclasses.replace(DAY, chain_id=5)),
    "a shorter window": with_limits(dataclasses.replace(DAY, window_ms=3_600_000)),
    "a longer window": with_limits(dataclasses.replace(DAY, window_ms=2 * 86_400_000)),
    "a limit on another key": with_limits(dataclasses.replace(DAY, keys=frozenset({"eth-cold"}))),
}


@pytest.mark.parametrize("new", TIGHTER.values(), ids=TIGHTER.keys())
def test_what_only_takes_away_is_a_tightening(new: Policy) -> None:
    """Less permitted, more denied, asked or limited, or nothing changed but names and order."""
    assert is_tightening(OLD, new)


@pytest.mark.parametrize("new", LOOSER.values(), ids=LOOSER.keys())
def test_what_gives_or_might_give_is_none(new: Policy) -> None:
    """More permitted, less denied, asked or limited; or two conditions that cannot be compared."""
    assert not is_tightening(OLD, new)


def test_a_rule_for_plain_payloads_does_not_cover_one_for_opaque_ones() -> None:
    """`keys: any` is not enough for what is opaque, so naming the key there gives something."""
    anything = dataclasses.replace(RAW, keys=ANY)
    old, new = (Policy(version=1, rules=(rule,), limits=()) for rule in (anything, RAW))
    assert not is_tightening(old, new)


def test_two_rules_that_only_together_cover_a_third_are_not_seen() -> None:
    """The proof goes rule by rule; in doubt the answer is no."""
    halves = [dataclasses.replace(PAY, id=f"to-{place}", destinations=frozenset({place})) for place in (HOME, AWAY)]
    old, new = (Policy(version=1, rules=tuple(rules), limits=()) for rules in (halves, [PAY]))
    assert not is_tightening(old, new)
    assert is_tightening(new, old)


def test_the_groups_that_a_policy_asks() -> None:
    """Every group of every quorum is named once; rules that ask nobody name none."""
    assert quorum_groups(OLD) == {"risk"}
    asked = with_rules(dataclasses.replace(LARGE, quorum="1 of risk and (1 of treasury or 2 of owners)"))
    assert quorum_groups(asked) == {"risk", "treasury", "owners"}
    assert quorum_groups(Policy(version=1, rules=(PAY, DENY), limits=())) == frozenset()


def test_naming_another_destination_is_no_tightening_where_look_alikes_count() -> None:
    """What a rule that permits names is known, and its twins are looked for: a name more or less may matter."""
    twins = Rule(id="twins", verdict=Verdict.DENY, look_alike=True)
    never = frozenset({PayloadKind.EVM_MESSAGE})  # a rule that permits nothing anew, and names somebody
    names = dataclasses.replace(
        PAY, id="names", kinds=never, operations=frozenset(), destinations=frozenset({"@known"})
    )
    old = dataclasses.replace(with_rules(twins, names), lists={"known": frozenset({HOME})})
    more = dataclasses.replace(old, lists={"known": frozenset({HOME, "0xabab" + "00" * 18})})
    asks = dataclasses.replace(old, rules=(*old.rules, dataclasses.replace(LARGE, destinations=frozenset({"bc1q"}))))
    stops = dataclasses.replace(old, rules=(*old.rules, dataclasses.replace(DENY, destinations=frozenset({"bc1q"}))))
    unused = dataclasses.replace(old, lists={**old.lists, "nobody": frozenset({"bc1q"})})
    assert is_tightening(old, stops)
    assert is_tightening(old, asks)
    assert is_tightening(old, unused)
    assert not is_tightening(old, more)
    assert not is_tightening(more, old)


# Laws -----------------------------------------------------------------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Return a policy and one that is made of it by a few changes, of which many give nothing."""
    rules = draw(st.lists(RULES, min_size=1, max_size=4))
    limited = draw(st.lists(LIMITS, max_size=2))
    new, kept = list(rules), list(limited)
    for _ in range(draw(st.integers(1, 2))):
        draw(st.sampled_from([_drop, _add, _change, _limit]))(draw, new, kept)
    return policy_of(rules, limited), policy_of(new, kept)


def _drop(draw: st.DrawFn, rules: list[Rule], _: list[Limit]) -> None:
    if rules:
        rules.pop(draw(st.integers(0, len(rules) - 1)))


def _add(draw: st.DrawFn, rules: list[Rule], _: list[Limit]) -> None:
    rules.append(draw(RULES))


def _change(draw: st.DrawFn, rules: list[Rule], _: list[Limit]) -> None:
    if not rules:
        return
    place = draw(st.integers(0, len(rules) - 1))
    field = draw(st.sampled_from(["verdict", "quorum", "amount_above", *CONDITIONS]))
    values: dict[str, st.SearchStrategy[Any]] = CONDITIONS | {
        "verdict": st.sampled_from(Verdict),
        "quorum": st.sampled_from(["", "1 of risk"]),
        "amount_above": st.sampled_from([None, 0, 1, 2]),
    }
    rules[place] = dataclasses.replace(rules[place], **{field: draw(values[field])})


def _limit(draw: st.DrawFn, _: list[Rule], limited: list[Limit]) -> None:
    limited[draw(st.integers(0, len(limited))) :] = draw(st.lists(LIMITS, max_size=1))


def answer(policy: Policy, asked: Asked) -> Permission | None:
    """Return the permission, None if refused."""
    try:
        return asked.judged_by(policy)
    except Refused:
        return None


@settings(max_examples=200)
@given(pair=changes() | st.tuples(*[st.lists(RULES, max_size=3).map(policy_of)] * 2), asked=st.lists(ASKED, min_size=5))
def test_a_tightening_permits_nothing_new_and_asks_no_quorum_less(
    pair: tuple[Policy, Policy], asked: list[Asked]
) -> None:
    """What the new policy permits, the old one permits, and every quorum that it asked is asked still."""
    old, new = pair
    if not is_tightening(old, new):
        return
    for each in asked:
        after = answer(new, each)
        if after is not None:
            before = answer(old, each)
            assert before is not None
            assert set(before.quorums) <= set(after.quorums)


@given(st.lists(RULES, max_size=4), st.lists(LIMITS, max_size=3))
def test_the_same_rules_are_a_tightening(rules: list[Rule], limited: list[Limit]) -> None:
    """Whatever the rules, in any order: equal policies give nothing."""
    assert is_tightening(policy_of(rules, limited), policy_of(rules[::-1], limited[::-1]))


@st.composite
def capped(draw: st.DrawFn) -> tuple[list[Limit], list[Limit]]:
    """Return limits, and the same with one thing changed in one or two of them, so that many are tightenings."""
    old = draw(st.lists(LIMITS, min_size=1, max_size=2))
    new = list(old)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(new) - 1))
        other = draw(LIMITS)
        field = draw(st.sampled_from([each.name for each in dataclasses.fields(Limit)]))
        lower = {each: getattr(new[place], each) for each in ("count_max", "amount_max", "usd_max")}
        lower = {each: cap - 1 for each, cap in lower.items() if cap}
        changed = draw(st.sampled_from([{field: getattr(other, field)}, lower]))
        new[place] = dataclasses.replace(new[place], **changed)
    return old, new


@settings(max_examples=150, deadline=None)
@given(
    pair=capped(),
    used=st.lists(st.tuples(ASKED, st.sampled_from([None, None, "a"])), max_size=3),
    asked=st.lists(st.tuples(ASKED, st.sampled_from([None, "a"])), min_size=1, max_size=2),
)
def test_a_tightening_has_no_looser_limit(
    pair: tuple[list[Limit], list[Limit]],
    used: list[tuple[Asked, str | None]],
    asked: list[tuple[Asked, str | None]],
) -> None:
    """Whatever was used, what the new limits leave room for, the old ones did."""
    old, new = (policy_of([PAY], limited) for limited in pair)
    if not is_tightening(old, new):
        return
    rooms = []
    for policy in (old, new):
        windows = Windows()
        windows.watch(policy)
        for each, slot in used:
            windows.charge(charge(each, slot, NOW), UnixMillis(NOW))
        rooms.append([has_room(windows, charge(each, slot, NOW + 1)) for each, slot in asked])
    assert all(after <= before for before, after in zip(*rooms, strict=True))


def has_room(windows: Windows, asked: Charge) -> bool:
    try:
        check_limits(windows, Reservations(), asked, UnixMillis(NOW + 1))
    except Refused:
        return False
    return True


TAGS = {"hot": frozenset({"a", "b"}), "warm": frozenset({"a"}), "all": frozenset({"a", "b", "c"})}
SPENT = Limit(
    id="spent",
    keys=frozenset({"a", "b"}),
    window_ms=3_600_000,
    usd_max=100,
    per=Per.VENUE,
    venues=frozenset({"binance", "bybit"}),
    operations=frozenset({Operation.ORDER}),
)
AS_TIGHT = {
    "the same": SPENT,
    "a lower cap": dataclasses.replace(SPENT, usd_max=99),
    "more venues": dataclasses.replace(SPENT, venues=None),
    "more operations": dataclasses.replace(SPENT, operations=frozenset()),
    "more keys": dataclasses.replace(SPENT, keys=ANY),
    "keys by their tag": dataclasses.replace(SPENT, keys=ANY, tags=frozenset({"hot"})),
    "all together": dataclasses.replace(SPENT, per=Per.ALL),
    "a place, which is of amounts only": dataclasses.replace(SPENT, amount_max=1, chain_id=5),
}
NOT_AS_TIGHT = {
    "fewer venues": dataclasses.replace(SPENT, venues=frozenset({"binance"})),
    "fewer operations": dataclasses.replace(SPENT, operations=frozenset({Operation.REDUCE})),
    "only some bots": dataclasses.replace(SPENT, principals=frozenset({"spiffe://demo/bot/maker"})),
    "only some chains": dataclasses.replace(SPENT, chains=frozenset({1})),
    "only some destinations": dataclasses.replace(SPENT, destinations=frozenset({HOME})),
    "keys of a tag that has not all": dataclasses.replace(SPENT, tags=frozenset({"warm"})),
    "another group": dataclasses.replace(SPENT, per=Per.KEY),
    "more dollars of more": dataclasses.replace(SPENT, per=Per.ALL, usd_max=101),
    "another measure": dataclasses.replace(SPENT, usd_max=None, count_max=1),
}


def limited_to(limit: Limit) -> Policy:
    return Policy(version=1, rules=(EVERYTHING,), limits=(limit,), tags=TAGS)


@pytest.mark.parametrize("limit", AS_TIGHT.values(), ids=AS_TIGHT.keys())
def test_a_limit_over_more_things_is_as_tight(limit: Limit) -> None:
    """To the same number or less, over whatever includes the same."""
    assert is_tightening(limited_to(SPENT), limited_to(limit))


@pytest.mark.parametrize("limit", NOT_AS_TIGHT.values(), ids=NOT_AS_TIGHT.keys())
def test_a_limit_over_fewer_or_other_things_is_not(limit: Limit) -> None:
    """Nor is one in other groups, whose sums say nothing of the old ones."""
    assert not is_tightening(limited_to(SPENT), limited_to(limit))


def test_another_predicate_is_no_tightening() -> None:
    """Nobody compares two expressions: the same one is within itself, and any other might give more."""
    small = dataclasses.replace(PAY, when="amount <= 5")
    again = dataclasses.replace(small, id="again", amount_max=7)
    old = dataclasses.replace(OLD, rules=(small,))
    assert is_tightening(old, dataclasses.replace(OLD, rules=(again,)))
    for when in ("amount <= 6", ""):
        assert not is_tightening(old, dataclasses.replace(OLD, rules=(dataclasses.replace(again, when=when),)))


def test_a_limit_on_all_operations_is_not_held_by_one_on_some() -> None:
    """A limit that names no operations is about every one."""
    every = dataclasses.replace(SPENT, operations=frozenset())
    assert is_tightening(limited_to(every), limited_to(every))
    assert not is_tightening(limited_to(every), limited_to(SPENT))


def test_what_tags_and_lists_hold_counts_and_not_their_names() -> None:
    """A tag may grow and may be called something else; a key that leaves it, or a split of it, gives room."""
    per_tag = Limit(id="tag", keys=ANY, window_ms=60_000, count_max=5, per=Per.TAG, tags=frozenset({"hot"}))

    def policy(tags: dict[str, frozenset[str]]) -> Policy:
        named = dataclasses.replace(per_tag, tags=frozenset(tags))
        return Policy(version=1, rules=(EVERYTHING,), limits=(named,), tags=tags)

    old = policy({"hot": frozenset({"a", "b"})})
    assert is_tightening(old, policy({"warm": frozenset({"a", "b", "c"})}))
    assert not is_tightening(old, policy({"hot": frozenset({"a"})}))
    assert not is_tightening(old, policy({"hot": frozenset({"a"}), "warm": frozenset({"b"})}))
