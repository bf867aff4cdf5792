"""One signature with many effects: caps are of the whole, and whatever carries the fee is asked for it."""

import dataclasses

import pytest

from keyvault.core.errors import Refused
from keyvault.core.familiar import Familiar
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_rules import Asset, Market, Prices
from tests.core.test_policy import BOT, EVERYTHING, KEY, PAY, TRANSFER, intent, judge, refusal


def test_many_small_payments_are_as_large_as_their_sum() -> None:
    """A cap and a threshold are of the whole signature: of one operation, amounts of one asset in one place."""
    half = dataclasses.replace(TRANSFER, amount=50)
    assert judge((PAY,), intent(half, half)) == ("pay", "pay")
    one_more = dataclasses.replace(half, amount=51)
    assert "amount 101 > 100" in str(refusal((PAY,), intent(half, one_more)))
    large = Rule(id="large", verdict=Verdict.DENY, amount_above=100)
    assert refusal((EVERYTHING, large), intent(half, one_more)).rules == ("large",)
    for elsewhere in ({"chain_id": 5}, {"asset": "0x" + "cc" * 20}, {"venue": "dydx"}):
        apart = dataclasses.replace(one_more, **elsewhere)
        assert judge((EVERYTHING, large), intent(half, apart)) == ("everything", "everything")


def test_dollars_of_a_batch_are_added() -> None:
    """Dollars of one operation are added over all assets; orders that buy apart from those that sell."""
    prices = Prices(
        assets=(Asset(name="BTC", usd=90_000_000_000, decimals=8, places=frozenset({("bybit", "BTC")})),),
        markets=(Market(venue="bybit", symbol="BTCUSDT", base="BTC", quote="BTC"),),
        as_of=1,
        age_ms_max=1_000,
    )
    large = Rule(id="large", verdict=Verdict.DENY, usd_above=100_000_000_000)
    buy = Effect(
        operation=Operation.ORDER, venue="bybit", symbol="BTCUSDT", side="BUY", quantity=10**18, price=10**18
    )  # fmt: skip
    rules = compile_policy(Policy(version=1, rules=(EVERYTHING, large), limits=(), prices=prices))

    moment = Moment(now=UnixMillis(2), familiar=Familiar(), known=0)

    def is_allowed(*effects: Effect) -> bool:
        asked = intent(*effects, kind=PayloadKind.BYBIT_REST)
        try:
            rules.evaluate(key=KEY, principal=BOT, intent=asked, moment=moment)
        except Refused:
            return False
        return True

    sell, either = dataclasses.replace(buy, side="SELL"), dataclasses.replace(buy, side=None)
    assert is_allowed(buy)
    assert is_allowed(buy, sell)
    assert not is_allowed(buy, buy)
    assert not is_allowed(buy, either)
    assert not is_allowed(either, sell)


def test_dollars_of_what_is_moved_and_of_what_may_be_moved_are_added() -> None:
    """A payment and an allowance in one signature are as large as both; what neither moves nor allows is apart."""
    token = "0x" + "cc" * 20
    prices = Prices(
        assets=(Asset(name="T", usd=1_000_000, decimals=0, places=frozenset({(1, token)})),), as_of=1, age_ms_max=1_000
    )
    large = Rule(id="large", verdict=Verdict.DENY, usd_above=100_000_000)
    rules = compile_policy(Policy(version=1, rules=(EVERYTHING, large), limits=(), prices=prices))
    pay = Effect(
        operation=Operation.TRANSFER, chain_id=1, destination=TRANSFER.destination, asset=token, amount=60, fee_max=0
    )
    let = dataclasses.replace(pay, operation=Operation.ALLOWANCE)
    moment = Moment(now=UnixMillis(2), familiar=Familiar(), known=0)
    for effects, is_allowed in (((pay,), True), ((let,), True), ((pay, let), False), ((pay, pay), False)):
        try:
            rules.evaluate(key=KEY, principal=BOT, intent=intent(*effects), moment=moment)
        except Refused:
            assert not is_allowed
        else:
            assert is_allowed


@pytest.mark.parametrize("operation", [Operation.MESSAGE, Operation.CANCEL, Operation.ORDER, Operation.SETUP])
def test_whatever_carries_the_fee_is_asked_for_it(operation: Operation) -> None:
    """A memo or an order that stands first carries the fee of the whole: a rule without a fee cap does not allow it."""
    first = Effect(operation=operation, network="solana", fee_max=10**12)
    rule = dataclasses.replace(EVERYTHING, id="first", fee_max=None)
    asked = intent(first, kind=PayloadKind.SOLANA_MESSAGE)
    assert "does not mention the fee" in str(refusal((rule,), asked))
    assert "fee 1000000000000 > 10" in str(refusal((dataclasses.replace(rule, fee_max=10),), asked))
    assert judge((dataclasses.replace(rule, fee_max=10**12),), asked) == ("first",)
    for nothing in (None, 0) if operation is not Operation.SETUP else (0,):
        free = intent(dataclasses.replace(first, fee_max=nothing), kind=PayloadKind.SOLANA_MESSAGE)
        assert judge((dataclasses.replace(rule, fee_max=ANY),), free) == ("first",)


def test_predicates_know_the_fee_of_the_whole_on_every_effect() -> None:
    """A memo that comes first carries the fee, and a rule about the transfer behind it sees that all the same."""
    memo = Effect(operation=Operation.MESSAGE, network="solana", fee_max=10**10)
    paid = Effect(operation=Operation.TRANSFER, network="solana", destination="x", amount=1, fee_max=0)
    asked = intent(memo, paid, kind=PayloadKind.SOLANA_MESSAGE)
    deny = Rule(id="dear", verdict=Verdict.DENY, operations=frozenset({Operation.TRANSFER}), when="fee > 10000000")
    assert judge((EVERYTHING,), asked) == ("everything", "everything")
    assert "denied by rule dear" in str(refusal((EVERYTHING, deny), asked))
    cheap = intent(dataclasses.replace(memo, fee_max=5_000), paid, kind=PayloadKind.SOLANA_MESSAGE)
    assert judge((EVERYTHING, deny), cheap) == ("everything", "everything")
