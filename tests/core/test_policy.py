"""Laws of the judgement: default deny, deny wins, every effect, absent and unknown values, errors."""

import dataclasses
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Policy, Rule, Verdict, compile_policy, evaluate

KEY = KeyId("eth-hot")
BOT = Principal("spiffe://demo/bot/maker")
HOME = "0x" + "ab" * 20
AWAY = "0x" + "cd" * 20

TRANSFER = Effect(operation=Operation.TRANSFER, chain_id=1, destination=HOME, amount=100, fee_max=10)
CALL = Effect(operation=Operation.CALL, chain_id=1, destination=HOME, selector="0xa9059cbb", amount=0, fee_max=10)
TYPED = Effect(operation=Operation.TYPED_DATA, chain_id=1, destination=HOME, primary_type="Order")
ORDER = Effect(operation=Operation.ORDER, venue="binance", symbol="BTCUSDT", side="BUY")
WITHDRAW = Effect(operation=Operation.WITHDRAW, venue="binance", destination="bc1qhome")
OPAQUE = Effect(operation=Operation.OPAQUE)

PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=frozenset({KEY}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    chains=frozenset({1}),
    destinations=frozenset({HOME}),
    amount_max=100,
    fee_max=10,
)
EVERYTHING = Rule(
    id="everything",
    verdict=Verdict.ALLOW,
    keys=ANY,
    principals=ANY,
    kinds=frozenset(PayloadKind),
    operations=frozenset(Operation),
    chains=ANY,
    venues=ANY,
    destinations=ANY,
    selectors=ANY,
    primary_types=ANY,
    symbols=ANY,
    assets=ANY,
    contracts=ANY,
    type_hashes=ANY,
    usd_max=ANY,
    validity_ms_max=ANY,
    amount_max=ANY,
    fee_max=ANY,
)
NEVER = Rule(id="never", verdict=Verdict.DENY)


def intent(*effects: Effect, kind: PayloadKind = PayloadKind.EVM_TRANSACTION) -> Intent:
    return Intent(
        kind=kind,
        algorithms=frozenset({KeyAlgorithm.SECP256K1}),
        signing_input=bytes(32),
        effects=effects,
        completeness=Completeness.OPAQUE if kind is PayloadKind.RAW_DIGEST else Completeness.FULL,
    )


def policy(*rules: Rule) -> Policy:
    return Policy(version=1, rules=rules, limits=())


def judge(rules: tuple[Rule, ...], asked: Intent, key: KeyId = KEY, principal: Principal = BOT) -> tuple[str, ...]:
    return evaluate(policy(*rules), key=key, principal=principal, intent=asked).rules


def refusal(rules: tuple[Rule, ...], asked: Intent, key: KeyId = KEY, principal: Principal = BOT) -> Refused:
    with pytest.raises(Refused) as caught:
        judge(rules, asked, key, principal)
    return caught.value


def allowed(rule: Rule, effect: Effect, kind: PayloadKind = PayloadKind.EVM_TRANSACTION) -> bool:
    """Say whether the rule alone allows (a deny rule: lets pass) the effect."""
    rules = (rule,) if rule.verdict is Verdict.ALLOW else (rule, EVERYTHING)
    try:
        judge(rules, intent(effect, kind=kind))
    except Refused:
        return False
    return True


def test_an_empty_policy_refuses_everything() -> None:
    """No is the zero value."""
    refused = refusal((), intent(TRANSFER))
    assert (refused.reason, refused.rules) == (Reason.NO_RULE_ALLOWS, ())
    assert str(refused) == (
        "no rule allows effect 1 of 1 (transfer): no allow rule is for key eth-hot and evm-transaction"
    )


def test_an_intent_without_effects_is_refused() -> None:
    """A rule that allows everything allows every effect, and none is not every."""
    assert refusal((EVERYTHING,), intent()).reason is Reason.NO_RULE_ALLOWS


def test_every_effect_names_the_rule_that_allows_it() -> None:
    """Rules are given in the order of the effects, the same one twice if it allows two."""
    calls = dataclasses.replace(PAY, id="call", selectors=frozenset({"0xa9059cbb"}))
    small = dataclasses.replace(TRANSFER, amount=50)
    assert judge((calls, PAY), intent(small, CALL, small)) == ("pay", "call", "pay")


def test_one_effect_that_nothing_allows_refuses_the_intent() -> None:
    """Each effect needs an allow rule; the refusal says which has none, and what came nearest."""
    refused = refusal((PAY,), intent(TRANSFER, dataclasses.replace(TRANSFER, destination=AWAY, amount=0)))
    assert refused.reason is Reason.NO_RULE_ALLOWS
    assert str(refused) == (
        f"no rule allows effect 2 of 2 (transfer); rule pay would allow it but for: destination {AWAY} is not listed"
    )


def test_deny_wins_and_all_denying_rules_are_named() -> None:
    """Deny rules that match any effect refuse, all of them named, whatever allows it."""
    here = dataclasses.replace(NEVER, id="here", destinations=frozenset({HOME}))
    away = dataclasses.replace(NEVER, id="away", destinations=frozenset({AWAY}))
    refused = refusal((away, EVERYTHING, here, NEVER), intent(TRANSFER))
    assert (refused.reason, set(refused.rules)) == (Reason.DENIED_BY_RULE, {"here", "never"})


def test_the_order_of_rules_decides_nothing() -> None:
    """Every order of the rules gives the same answer."""
    deny = dataclasses.replace(NEVER, destinations=frozenset({AWAY}))
    for rules in permutations((PAY, deny, dataclasses.replace(PAY, id="away", destinations=frozenset({AWAY})))):
        assert judge(rules, intent(TRANSFER)) == ("pay",)
        assert refusal(rules, intent(dataclasses.replace(TRANSFER, destination=AWAY))).rules == ("never",)


@pytest.mark.parametrize("field", ["keys", "principals", "chains", "destinations", "amount_max", "fee_max"])
def test_an_absent_condition_of_an_allow_rule_never_holds(field: str) -> None:
    """What an allow rule does not mention, it does not allow."""
    assert not allowed(dataclasses.replace(PAY, **{field: None}), TRANSFER)  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize(
    "change",
    [
        {"keys": frozenset({"eth-cold"})},
        {"principals": frozenset({"spiffe://demo/bot/other"})},
        {"kinds": frozenset()},
        {"kinds": frozenset({PayloadKind.TYPED_DATA})},
        {"operations": frozenset({Operation.CALL})},
        {"chains": frozenset({5})},
        {"chains": frozenset()},
        {"destinations": frozenset({AWAY})},
        {"selectors": frozenset({"0xa9059cbb"})},
        {"venues": frozenset({"binance"})},
        {"primary_types": frozenset({"Order"})},
        {"amount_max": 99},
        {"fee_max": 9},
    ],
)
def test_one_condition_that_does_not_hold_is_enough(change: dict[str, object]) -> None:
    """All conditions must hold; one that asks about what a transfer has not does not hold."""
    assert allowed(PAY, TRANSFER)
    assert not allowed(dataclasses.replace(PAY, **change), TRANSFER)  # type: ignore[arg-type]  # names of fields


@given(cap=st.integers(0, 2**256 - 1), amount=st.integers(0, 2**256 - 1))
def test_amounts_are_exact(cap: int, amount: int) -> None:
    """A cap holds up to its last wei, at 256 bits."""
    rule = dataclasses.replace(PAY, amount_max=cap)
    assert allowed(rule, dataclasses.replace(TRANSFER, amount=amount)) == (amount <= cap)


def test_the_highest_amount_is_not_one_less() -> None:
    """2^256-1 and 2^256-2 are different amounts."""
    rule = dataclasses.replace(PAY, amount_max=2**256 - 2)
    assert allowed(rule, dataclasses.replace(TRANSFER, amount=2**256 - 2))
    assert not allowed(rule, dataclasses.replace(TRANSFER, amount=2**256 - 1))


def test_an_unknown_amount_is_under_no_cap() -> None:
    """An amount that the payload leaves out satisfies no cap, and no absence; only any."""
    unknown = dataclasses.replace(TRANSFER, amount=None)
    assert not allowed(dataclasses.replace(PAY, amount_max=2**256 - 1), unknown)
    assert not allowed(dataclasses.replace(PAY, amount_max=None), unknown)
    assert allowed(dataclasses.replace(PAY, amount_max=ANY), unknown)


def test_typed_data_without_a_chain_is_good_on_every_chain() -> None:
    """A chain that the domain leaves out is unknown: a deny rule on any chain matches, an allow rule only with any."""
    unbound = dataclasses.replace(TYPED, chain_id=None)
    sign = dataclasses.replace(
        EVERYTHING, kinds=frozenset({PayloadKind.TYPED_DATA}), chains=frozenset({1}), amount_max=None, venues=None
    )
    kind = PayloadKind.TYPED_DATA
    assert allowed(sign, TYPED, kind)
    assert not allowed(sign, unbound, kind)
    assert not allowed(dataclasses.replace(sign, chains=None), unbound, kind)
    assert allowed(dataclasses.replace(sign, chains=ANY), unbound, kind)
    assert not allowed(dataclasses.replace(NEVER, chains=frozenset({5})), unbound, kind)


def test_conditions_that_do_not_apply_may_be_absent() -> None:
    """An order has no chain, destination or native amount, so a rule for orders says nothing of them."""
    trade = Rule(
        id="trade",
        verdict=Verdict.ALLOW,
        keys=ANY,
        principals=ANY,
        kinds=frozenset({PayloadKind.BINANCE_REST}),
        venues=frozenset({"binance"}),
        symbols=frozenset({"BTCUSDT"}),
    )
    assert allowed(trade, ORDER, PayloadKind.BINANCE_REST)
    assert not allowed(dataclasses.replace(trade, chains=frozenset({1})), ORDER, PayloadKind.BINANCE_REST)
    assert not allowed(dataclasses.replace(trade, venues=None), ORDER, PayloadKind.BINANCE_REST)


@pytest.mark.parametrize(
    ("effect", "kind"),
    [
        (Effect(operation=Operation.CREATE, chain_id=1, amount=0, fee_max=1), PayloadKind.EVM_TRANSACTION),
        (WITHDRAW, PayloadKind.BINANCE_REST),
        (Effect(operation=Operation.REQUEST, venue="binance"), PayloadKind.BINANCE_REST),
        (Effect(operation=Operation.OPAQUE, venue="binance"), PayloadKind.BINANCE_REST),
        (OPAQUE, PayloadKind.RAW_DIGEST),
    ],
)
def test_dangerous_operations_must_be_named(effect: Effect, kind: PayloadKind) -> None:
    """A rule without operations does not allow creations, withdrawals, unknown requests or opaque payloads."""
    silent = dataclasses.replace(EVERYTHING, keys=frozenset({KEY}), operations=frozenset())
    assert not allowed(silent, effect, kind)
    assert allowed(dataclasses.replace(silent, operations=frozenset({effect.operation})), effect, kind)


def test_raw_digests_need_kind_operation_and_key_by_name() -> None:
    """A digest is signed only for a key that a rule names, with the kind and the operation said."""
    sign = Rule(
        id="raw",
        verdict=Verdict.ALLOW,
        keys=frozenset({KEY}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )
    kind = PayloadKind.RAW_DIGEST
    assert allowed(sign, OPAQUE, kind)
    assert not allowed(dataclasses.replace(sign, keys=ANY), OPAQUE, kind)
    assert not allowed(EVERYTHING, OPAQUE, kind)
    assert not allowed(dataclasses.replace(sign, operations=frozenset()), OPAQUE, kind)
    assert not allowed(dataclasses.replace(sign, kinds=frozenset({PayloadKind.EVM_TRANSACTION})), OPAQUE, kind)
    assert not allowed(dataclasses.replace(sign, destinations=frozenset({HOME})), OPAQUE, kind)


def test_a_digest_stays_opaque_whatever_its_effect_claims() -> None:
    """An effect that calls itself a transfer makes neither a digest nor a payload that nobody read readable."""
    digests = dataclasses.replace(PAY, kinds=frozenset({PayloadKind.RAW_DIGEST}))
    claims = dataclasses.replace(intent(TRANSFER, kind=PayloadKind.RAW_DIGEST), completeness=Completeness.FULL)
    assert refusal((digests,), claims).reason is Reason.NO_RULE_ALLOWS
    unread = dataclasses.replace(intent(TRANSFER), completeness=Completeness.OPAQUE)
    assert refusal((PAY,), unread).reason is Reason.NO_RULE_ALLOWS


def test_a_cap_in_a_deny_rule_is_a_condition_like_others() -> None:
    """Lint refuses such rules; where one stands, it matches what is under the cap and what nobody can read."""
    deny = dataclasses.replace(NEVER, amount_max=100)
    assert not allowed(deny, TRANSFER)
    assert allowed(deny, dataclasses.replace(TRANSFER, amount=101))
    assert allowed(deny, ORDER, PayloadKind.BINANCE_REST)
    named = dataclasses.replace(EVERYTHING, keys=frozenset({KEY}))
    assert refusal((named, deny), intent(OPAQUE, kind=PayloadKind.RAW_DIGEST)).rules == ("never",)


@pytest.mark.parametrize(
    "change",
    [
        {"chains": frozenset({5})},
        {"destinations": frozenset({AWAY})},
        {"selectors": frozenset({"0xa9059cbb"})},
        {"primary_types": frozenset({"Order"})},
        {"venues": frozenset({"binance"})},
        {"operations": frozenset({Operation.CREATE})},
    ],
)
def test_a_deny_rule_matches_what_nobody_can_read(change: dict[str, object]) -> None:
    """An opaque effect could be anything, so every deny condition on it holds; for a readable one it must be true."""
    named = dataclasses.replace(EVERYTHING, keys=frozenset({KEY}))
    deny = dataclasses.replace(NEVER, **change)  # type: ignore[arg-type]  # names of fields
    assert refusal((named, deny), intent(OPAQUE, kind=PayloadKind.RAW_DIGEST)).rules == ("never",)
    assert judge((named, deny), intent(TRANSFER)) == ("everything",)


def test_a_deny_rule_is_about_its_keys_principals_and_kinds() -> None:
    """A deny rule for others does not match."""
    for change in (
        {"keys": frozenset({"eth-cold"})},
        {"principals": frozenset({"spiffe://demo/bot/other"})},
        {"kinds": frozenset({PayloadKind.TYPED_DATA})},
    ):
        assert allowed(dataclasses.replace(NEVER, **change), TRANSFER)
    assert not allowed(NEVER, TRANSFER)


def test_the_case_of_an_address_does_not_matter() -> None:
    """Upper-case digits neither open an allow-list nor pass a deny-list; nor does a tag: it goes by accounts."""
    upper = dataclasses.replace(WITHDRAW, destination="0x" + "AB" * 20 + "?addressTag=Me")
    deny = dataclasses.replace(NEVER, destinations=frozenset({HOME + "?addressTag=Me"}))
    assert not allowed(deny, upper, PayloadKind.BINANCE_REST)
    assert not allowed(dataclasses.replace(NEVER, destinations=frozenset({"0X" + "AB" * 20})), TRANSFER)
    other_tag = dataclasses.replace(NEVER, destinations=frozenset({HOME + "?addressTag=me"}))
    assert not allowed(other_tag, upper, PayloadKind.BINANCE_REST)
    untagged = dataclasses.replace(NEVER, destinations=frozenset({HOME}))
    for spelling in (HOME + "?addressTag=1", "AB" * 20, "ab" * 20 + "?addressTag=1", "0X" + "aB" * 20):
        assert not allowed(untagged, dataclasses.replace(WITHDRAW, destination=spelling), PayloadKind.BINANCE_REST)
    bech32 = dataclasses.replace(NEVER, destinations=frozenset({"bc1qcchvzytl5qctjack88c7zp24eklw58duqqq4ns"}))
    capitals = dataclasses.replace(WITHDRAW, destination="BC1QCCHVZYTL5QCTJACK88C7ZP24EKLW58DUQQQ4NS")
    assert not allowed(bech32, capitals, PayloadKind.BINANCE_REST)
    assert allowed(bech32, dataclasses.replace(WITHDRAW, destination="bc1qother"), PayloadKind.BINANCE_REST)


@pytest.mark.parametrize("change", [{"first_seen_ms": 1}, {"look_alike": True}])
def test_an_allow_rule_that_asks_for_a_history_never_matches(change: dict[str, object]) -> None:
    """Lint refuses such rules; where one stands, it does not allow what it was meant to keep out."""
    assert not allowed(dataclasses.replace(PAY, **change), TRANSFER)  # type: ignore[arg-type]  # names of fields


def test_an_error_while_judging_is_a_no() -> None:
    """A value that cannot be compared refuses with POLICY_ERROR instead of an exception."""
    broken = dataclasses.replace(TRANSFER, amount="much")  # type: ignore[arg-type]  # what must never happen
    assert refusal((PAY,), intent(broken)).reason is Reason.POLICY_ERROR


def test_explanations_are_bounded_and_printable() -> None:
    """What a caller put into the payload can neither flood nor disturb a log."""
    nasty = dataclasses.replace(WITHDRAW, destination="\x1b[2J\n" + "x" * 5_000)
    rule = dataclasses.replace(EVERYTHING, destinations=frozenset({"bc1qhome"}), principals=frozenset({"p" * 5_000}))
    refused = refusal((rule,), intent(nasty, kind=PayloadKind.BINANCE_REST))
    assert len(str(refused)) <= limits.EXPLANATION_CHARS_MAX
    assert str(refused).isprintable()


def test_explanations_of_many_denials_are_bounded() -> None:
    """All denying rules are named in the fact, the text is cut."""
    rules = tuple(dataclasses.replace(NEVER, id=f"rule-{n}") for n in range(500))
    refused = refusal(rules, intent(TRANSFER))
    assert len(refused.rules) == 500
    assert len(str(refused)) == limits.EXPLANATION_CHARS_MAX


CONDITIONS = st.sampled_from([None, ANY, frozenset({HOME}), frozenset({AWAY}), frozenset({HOME, AWAY})])
RULES = st.builds(
    dataclasses.replace,
    st.just(PAY),
    id=st.sampled_from(["a", "b", "c"]),
    verdict=st.sampled_from([Verdict.ALLOW, Verdict.DENY]),
    keys=st.sampled_from([None, ANY, frozenset({KEY})]),
    kinds=st.sampled_from([frozenset[PayloadKind](), frozenset({PayloadKind.EVM_TRANSACTION})]),
    destinations=CONDITIONS,
    amount_max=st.sampled_from([None, ANY, 99, 100]),
)


@given(rules=st.lists(RULES, max_size=6), more=RULES)
def test_adding_a_deny_rule_never_allows_and_adding_an_allow_rule_never_denies(rules: list[Rule], more: Rule) -> None:
    """Rules are monotone: a deny rule can only take away, an allow rule can only add."""

    def passes(*all_rules: Rule) -> bool:
        try:
            compile_policy(policy(*all_rules)).evaluate(key=KEY, principal=BOT, intent=intent(TRANSFER))
        except Refused:
            return False
        return True

    before, after = passes(*rules), passes(*rules, more)
    assert (after <= before) if more.verdict is Verdict.DENY else (after >= before)
