"""What each operation asks of an allow rule, and what the lints say that it asks: the same."""

import dataclasses

import pytest

from keyvault.core.errors import Refused
from keyvault.core.familiar import Familiar, Listed
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, evaluate
from keyvault.core.policy_facts import FIELDS, OF_FIELD, Aids, Facts, Missing, Moment, Place, Wanted, facts_of
from keyvault.core.policy_kinds import CHAIN_KINDS, KIND_OPERATIONS, MIXED_KINDS, VENUE_KINDS, asked, known, pinned
from keyvault.core.policy_rules import Asset, Prices
from keyvault.core.prices import EMPTY_BOOK
from tests.core.test_policy import EVERYTHING, KEY, NEVER, ORDER, PAY, TRANSFER, TYPED, allowed, intent, policy

BOT = Principal("spiffe://demo/bot/maker")
HOME = "0x" + "ab" * 20
NOW = UnixMillis(1_000_000)
AIDS = Aids(
    prices=EMPTY_BOOK,
    listed=Listed(names=frozenset(), shapes=frozenset()),
    wanted=Wanted(usd=True, deviation=True, history=True, slots=True),
)
ON_CHAIN = {"chain_id": 1, "fee_max": 1}
AT_VENUE = {"venue": "okx"}
MOVES = {"chains", "destinations", "amount_max", "fee_max"}
ADMIN = {"chains", "contracts", "destinations", "fee_max"}
PERMIT = {"chain_id": 1, "contract": HOME, "type_hash": "0x" + "aa" * 32, "primary_type": "Permit"}


def facts(effect: Effect, kind: PayloadKind = PayloadKind.EVM_TRANSACTION, **stated: object) -> Facts:
    asked_for = Intent(
        kind=kind,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(effect,),
        completeness=Completeness.FULL,
        **stated,  # type: ignore[arg-type]  # names of fields
    )
    return facts_of(BOT, asked_for, Moment(now=NOW, familiar=Familiar(), known=0), AIDS)[0]


def asks(effect: Effect) -> set[str]:
    """Return the fields that an allow rule must mention for this effect."""
    mask = facts(effect)[Place.ASKED]
    assert isinstance(mask, int)
    return {field for field in FIELDS if mask >> OF_FIELD[field] & 1}


@pytest.mark.parametrize(
    ("operation", "stated", "wanted"),
    [
        (Operation.TRANSFER, ON_CHAIN, MOVES),
        (Operation.TRANSFER, ON_CHAIN | {"asset": HOME}, MOVES | {"assets"}),
        (
            Operation.ALLOWANCE,
            ON_CHAIN | {"asset": HOME},
            MOVES | {"assets"},
        ),
        (
            Operation.ALLOWANCE,
            PERMIT | {"asset": HOME},
            {"chains", "assets", "destinations", "amount_max", "contracts", "type_hashes", "validity_ms_max"},
        ),
        (Operation.TRANSFER, PERMIT, {"chains", "destinations", "amount_max", "contracts", "type_hashes"}),
        (Operation.CALL, ON_CHAIN, {"chains", "destinations", "selectors", "amount_max", "fee_max"}),
        (Operation.CREATE, ON_CHAIN, {"chains", "amount_max", "fee_max"}),
        (Operation.DELEGATE, ON_CHAIN, {"chains", "destinations", "fee_max"}),
        (Operation.KEY_GRANT, ON_CHAIN, {"chains", "destinations", "fee_max"}),
        (Operation.KEY_GRANT, {"venue": "hyperliquid"}, {"venues", "destinations"}),
        (Operation.ADMIN, ON_CHAIN, ADMIN),
        (
            Operation.ADMIN,
            ON_CHAIN | {"selector": "0x00"},
            ADMIN | {"selectors"},
        ),
        (Operation.ADMIN, {"venue": "hyperliquid"}, {"venues", "destinations"}),
        (Operation.SETUP, ON_CHAIN, {"chains", "fee_max"}),
        (Operation.SETUP, {"venue": "bybit"}, {"venues"}),
        (Operation.MESSAGE, {}, set()),
        (Operation.TYPED_DATA, {"type_hash": "0x" + "aa" * 32}, {"chains", "destinations", "primary_types"}),
        (Operation.ORDER, {"venue": "binance", "symbol": "X"}, {"venues", "symbols"}),
        (Operation.ORDER, {"venue": "binance"}, {"venues", "symbols"}),
        (
            Operation.ORDER,
            PERMIT | {"venue": "cow", "asset": HOME},
            {"chains", "venues", "assets", "amount_max", "contracts", "type_hashes"},
        ),
        (Operation.REDUCE, {"venue": "binance", "symbol": "X"}, {"venues", "symbols"}),
        (Operation.CANCEL, {"venue": "binance"}, {"venues"}),
        (Operation.CANCEL, {"network": "cosmos:dydx-mainnet-1", "venue": "dydx"}, {"chains", "venues"}),
        (Operation.WITHDRAW, {"venue": "binance"}, {"chains", "venues", "destinations", "usd_max"}),
        (
            Operation.WITHDRAW,
            {"venue": "binance", "network": "binance:BSC", "asset": "USDC"},
            {"chains", "venues", "assets", "destinations", "usd_max"},
        ),
        (Operation.SESSION, {"venue": "okx"}, {"venues"}),
        (Operation.REQUEST, {"venue": "okx"}, {"venues"}),
        (Operation.OPAQUE, {"venue": "okx"}, {"venues"}),
        (Operation.OPAQUE, {}, set()),
    ],
)
def test_an_operation_asks_for_what_makes_it_dangerous(
    operation: Operation, stated: dict[str, object], wanted: set[str]
) -> None:
    """What an allow rule must say for each operation, by where it is and what it states."""
    assert asks(Effect(operation=operation, **stated)) == wanted  # type: ignore[arg-type]  # names of fields


def test_what_is_asked_and_not_stated_is_unknown() -> None:
    """And what is not asked and not stated does not apply."""
    found = facts(Effect(operation=Operation.TRANSFER, chain_id=None))
    unknown = (Place.CHAIN, Place.DESTINATION, Place.AMOUNT, Place.FEE, Place.USD, Place.AGE, Place.LOOK_ALIKE)
    assert {found[each] for each in unknown} == {Missing.UNKNOWN}
    absent = (Place.VENUE, Place.SYMBOL, Place.SELECTOR, Place.ASSET, Place.SIDE)
    assert {found[each] for each in absent} == {Missing.NOT_APPLICABLE}
    nobody = facts(Effect(operation=Operation.CANCEL, venue="okx"))
    assert {nobody[each] for each in (Place.DESTINATION, Place.AGE, Place.LOOK_ALIKE)} == {Missing.NOT_APPLICABLE}


def test_nothing_is_read_of_what_is_opaque() -> None:
    """Whatever an opaque effect, or a payload that nobody could read, claims: only its venue counts."""
    claims = Effect(operation=Operation.OPAQUE, venue="okx", chain_id=1, destination=HOME, amount=0, symbol="X")
    opaque = facts(claims)
    assert [opaque[each] for each in range(Place.CHAIN, Place.HOUR) if each != Place.VENUE] == [Missing.OPAQUE] * 16
    assert opaque[Place.VENUE] == "okx"
    unread = dataclasses.replace(claims, operation=Operation.TRANSFER)
    assert facts(unread, PayloadKind.RAW_DIGEST) == opaque


def test_the_facts_stand_at_their_places() -> None:
    """Every place but that of the predicate has a fact, the numbers where numbers are compared."""
    for effect in (Effect(operation=Operation.OPAQUE), Effect(operation=Operation.ORDER, venue="okx")):
        found = facts(effect)
        assert len(found) == Place.WHEN
        numbers = (Place.ASKED, Place.AMOUNT, Place.FEE, Place.USD, Place.DEVIATION, Place.VALIDITY, Place.AGE)
        assert all(isinstance(found[each], int) for each in (*numbers, Place.LOOK_ALIKE, Place.HOUR))


@pytest.mark.parametrize(
    ("of_effect", "of_payload", "validity"),
    [(None, None, Missing.UNKNOWN), (None, 1_500_000, 500_000), (1_200_000, 1_500_000, 200_000), (900_000, None, 0)],
)
def test_a_signature_is_worth_something_until_its_effect_or_its_payload_ends(
    of_effect: int | None, of_payload: int | None, validity: int
) -> None:
    """The effect's own end counts before the payload's; one that has passed is 0, and none is unknown."""
    effect = Effect(operation=Operation.ALLOWANCE, expires_at=of_effect)  # type: ignore[arg-type]  # plain numbers
    assert facts(effect, expires_at=of_payload)[Place.VALIDITY] == validity


@pytest.mark.parametrize(
    ("now", "minute"),
    [(0, 4_320), (59_999, 4_320), (60_000, 4_321), (4 * 86_400_000, 0), (4 * 86_400_000 - 1, 10_079)],
)
def test_the_minute_of_the_week_begins_on_monday(now: int, minute: int) -> None:
    """UTC, for what is opaque as well; the epoch was a Thursday."""
    effect = Effect(operation=Operation.MESSAGE)
    asked_for = Intent(
        kind=PayloadKind.EVM_MESSAGE,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(effect,),
        completeness=Completeness.FULL,
    )
    moment = Moment(now=UnixMillis(now), familiar=Familiar(), known=0)
    for each in (effect, Effect(operation=Operation.OPAQUE)):
        (found,) = facts_of(BOT, dataclasses.replace(asked_for, effects=(each,)), moment, AIDS)
        assert found[Place.HOUR] == minute


@pytest.mark.parametrize("kind", sorted(VENUE_KINDS | CHAIN_KINDS))
def test_lints_ask_what_the_judgement_asks(kind: PayloadKind) -> None:
    """A rule that the lint finds whole says all that is asked of an effect of its kind, and the other way round."""
    for operation in sorted(KIND_OPERATIONS[kind]):
        place = AT_VENUE if kind in VENUE_KINDS else ON_CHAIN
        if kind is PayloadKind.HYPERLIQUID_ACTION:
            place = AT_VENUE | {"network": "hyperliquid:mainnet"}
        effect = Effect(operation=operation, **place)
        optional = {"selectors"} if operation is Operation.ADMIN and kind in CHAIN_KINDS else set()
        paid = (
            {"fee_max"} if kind in CHAIN_KINDS else set()
        )  # whatever carries the fee of a transaction is asked for it
        if operation is Operation.OPAQUE:
            continue
        assert asks(effect) | optional == set(asked(kind, operation)) | paid, operation


def test_what_is_asked_can_be_said() -> None:
    """No lint wants a condition that another lint takes for one that cannot hold, and pins are among what is known."""
    for kind, operations in KIND_OPERATIONS.items():
        for operation in operations:
            assert asked(kind, operation) <= known(kind, operation), (kind, operation)
            assert pinned(kind, operation) <= known(kind, operation), (kind, operation)
    assert set(PayloadKind) == CHAIN_KINDS | VENUE_KINDS | MIXED_KINDS | {PayloadKind.RAW_DIGEST}


# What rules make of them --------------------------------------------------------------------------------------------

SIDES = ("BUY", "SELL", None)


def test_a_type_hash_says_more_than_the_name_of_the_type() -> None:
    """An allow rule that lists it need not mention the name; one that lists neither allows no typed data."""
    hashed = dataclasses.replace(TYPED, type_hash="0x" + "aa" * 32, contract=HOME)
    rule = dataclasses.replace(
        PAY,
        kinds=frozenset({PayloadKind.TYPED_DATA}),
        operations=frozenset({Operation.TYPED_DATA}),
        contracts=ANY,
        amount_max=None,
        fee_max=None,
    )
    assert allowed(dataclasses.replace(rule, type_hashes=frozenset({"0x" + "aa" * 32})), hashed, PayloadKind.TYPED_DATA)
    assert not allowed(
        dataclasses.replace(rule, type_hashes=frozenset({"0x" + "bb" * 32})), hashed, PayloadKind.TYPED_DATA
    )
    assert not allowed(rule, hashed, PayloadKind.TYPED_DATA)


def test_a_side_is_the_one_that_the_order_states() -> None:
    """A rule for one side allows no other, and no order whose side is not known."""
    buys = dataclasses.replace(EVERYTHING, sides=frozenset({"BUY"}))
    told = {side: allowed(buys, dataclasses.replace(ORDER, side=side), PayloadKind.BINANCE_REST) for side in SIDES}
    assert told == {"BUY": True, "SELL": False, None: False}
    sells = dataclasses.replace(NEVER, sides=frozenset({"SELL"}))
    told = {side: allowed(sells, dataclasses.replace(ORDER, side=side), PayloadKind.BINANCE_REST) for side in SIDES}
    assert told == {"BUY": True, "SELL": False, None: False}


def test_a_policy_that_asks_for_dollars_above_only_knows_prices() -> None:
    """What is worth no more than that is not denied, though no rule has a cap in dollars."""
    eth = Asset(name="ETH", usd=1_000_000, decimals=2, places=frozenset({(1, "native")}))
    large = dataclasses.replace(NEVER, usd_above=1_000_000)
    wide = dataclasses.replace(PAY, amount_max=ANY)
    priced = dataclasses.replace(policy(wide, large), prices=Prices(assets=(eth,), as_of=0, age_ms_max=1_000))
    most, more = intent(TRANSFER), intent(dataclasses.replace(TRANSFER, amount=101))
    assert evaluate(priced, key=KEY, principal=BOT, intent=most).rules == ("pay",)
    with pytest.raises(Refused) as caught:
        evaluate(priced, key=KEY, principal=BOT, intent=more)
    assert caught.value.rules == ("never",)


def test_a_destination_is_new_until_it_is_old_enough() -> None:
    """A deny rule on new destinations stops one a millisecond before its time, and not at its time."""
    known = Familiar()
    known.saw(KEY, [TRANSFER], 0, UnixMillis(1_000))
    young = dataclasses.replace(NEVER, first_seen_ms=500)
    rules = policy(PAY, young)
    at = {now: Moment(now=UnixMillis(now), familiar=known, known=1) for now in (1_499, 1_500)}
    with pytest.raises(Refused) as caught:
        evaluate(rules, key=KEY, principal=BOT, intent=intent(TRANSFER), moment=at[1_499])
    assert caught.value.rules == ("never",)
    assert evaluate(rules, key=KEY, principal=BOT, intent=intent(TRANSFER), moment=at[1_500]).rules == ("pay",)
