"""The messages of the dYdX chain: what its clients serialize, the facts of each message, attacks and refusals."""

from dataclasses import replace

import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Payload
from tests.intents.cosmos_building import (
    KEY,
    ME,
    NETWORK,
    OTHER,
    STRANGER,
    accountplus,
    auth_info,
    body,
    clob,
    document,
    effects,
    generated,
    order,
    orders,
    packed,
    parsed,
    payload,
    place,
    send,
    sending,
    subaccounts,
    transfers,
)

MINE = f"{ME}/0"
ORDER = Effect(
    operation=Operation.ORDER,
    network=NETWORK,
    venue="dydx",
    amount=10_000_000,
    fee_max=0,
    symbol="clob-pair:0",
    side="BUY",
    asset="quantums:0",
    source=MINE,
    time_in_force="GTT",
)
"""What ``place()`` does."""
CANCEL = Effect(operation=Operation.CANCEL, network=NETWORK, venue="dydx", fee_max=0, symbol="clob-pair:0", source=MINE)
MOVE = Effect(
    operation=Operation.WITHDRAW,
    network=NETWORK,
    venue="dydx",
    destination=f"{OTHER}/1",
    amount=9,
    fee_max=0,
    asset="asset:0",
    source=MINE,
)
LONG_TERM = {"order_id": {"order_flags": 64}, "good_til_block": None, "good_til_block_time": 1_717_148_681}
UNTIL = UnixMillis(1_717_148_681_000)
BUILDER = orders.BuilderCodeParameters(builder_address=STRANGER, fee_ppm=1_000)


def subaccount(number: int = 0, owner: str = ME) -> Message:
    made: Message = subaccounts.SubaccountId(owner=owner, number=number)
    return made


# What dYdX's own client writes -------------------------------------------------------------------------------

CLIENT = "dydx14zzueazeh0hj67cghhf9jypslcf9sh2n5k6art"
RECIPIENT = "dydx1slanxj8x9ntk9knwa6cvfv2tzlsq5gk3dshml0"
MOVED = Effect(
    operation=Operation.WITHDRAW,
    network=NETWORK,
    venue="dydx",
    destination=f"{CLIENT}/0",
    amount=10_000_000,
    fee_max=0,
    asset="asset:0",
    source=CLIENT,
)
ONE_ASSET = b"\n+%b\x12-\n+%b \x80\xad\xe2\x04" % (CLIENT.encode(), CLIENT.encode())
PLACED = b"\nH\n1\n-\n+%b\x18@\x10\x01\x18\x80\xad\xe2\x04 \x80\xa0\xbe\x81\x95\x015\t\x9cYfH\x02" % CLIENT.encode()
CANCELLED = b"\n1\n-\n+%b\x18@\x1d\t\x9cYf" % CLIENT.encode()
BETWEEN = b"\nb\n-\n+%b\x12/\n+%b\x10\x01 \x01" % (CLIENT.encode(), RECIPIENT.encode())
CLIENTS: list[tuple[str, bytes, Effect]] = [
    ("clob.MsgPlaceOrder", PLACED, replace(ORDER, source=f"{CLIENT}/0", expires_at=UNTIL)),
    ("clob.MsgCancelOrder", CANCELLED, replace(CANCEL, source=f"{CLIENT}/0")),
    ("sending.MsgDepositToSubaccount", ONE_ASSET, MOVED),
    (
        "sending.MsgWithdrawFromSubaccount",
        ONE_ASSET,
        replace(MOVED, destination=f"{CLIENT}?memo=Client Example", source=f"{CLIENT}/0"),
    ),
    (
        "sending.MsgCreateTransfer",
        BETWEEN,
        replace(MOVED, destination=f"{RECIPIENT}/1", amount=1, source=f"{CLIENT}/0"),
    ),
]
"""v4-clients, ``v4-client-py-v2/tests/test_v4_proto.py``."""


@pytest.mark.parametrize(("name", "value", "expected"), CLIENTS, ids=[row[0] for row in CLIENTS])
def test_vectors_of_the_client(name: str, value: bytes, expected: Effect) -> None:
    """The bytes that dYdX's client serializes have these effects; its default memo belongs to who is paid."""
    message = PackedAny(type_url=f"/dydxprotocol.{name}", value=value)
    assert parsed(document(body(message, memo="Client Example"))).effects == (expected,)


# Orders ------------------------------------------------------------------------------------------------------


def test_short_term_order_states_what_is_bound() -> None:
    """An order has pair, side, quantums and subaccount; quantity and price need the chain and stay open."""
    intent = parsed(payload(place()))
    assert intent.effects == (ORDER,)
    assert intent.completeness is Completeness.PARTIAL
    assert intent.binds == {Bound.BODY, Bound.ACCOUNT, Bound.CHAIN, Bound.EXPIRY}
    assert (intent.not_before, intent.expires_at) == (None, None)


def test_short_term_orders_have_the_slot_of_their_identity() -> None:
    """Sequences are not looked at: same order and block, same slot; another client id, pair or block, another."""
    slots = [
        parsed(document(body(message), auth_info(sequence=sequence))).slot
        for sequence in (0, 5)
        for message in (
            place(),
            place(side=2, quantums=1),
            place(order_id={"client_id": 78}),
            place(order_id={"clob_pair_id": 1}),
            place(good_til_block=123_457),
            place(order_id={"subaccount_id": subaccount(1)}),
        )
    ]
    assert slots[:6] == slots[6:]
    assert len(set(slots)) == 5
    assert slots[0] == slots[1] == f"dydx:{NETWORK}:{MINE}:0:77:123456"


def test_stateful_order_ends_and_counts() -> None:
    """A long-term order has the account's slot, and its time is the end of effect and transaction."""
    intent = parsed(payload(place(**LONG_TERM)))
    assert intent.effects == (replace(ORDER, expires_at=UNTIL),)
    assert (intent.slot, intent.expires_at) == (f"{NETWORK}:99:7", UNTIL)
    assert Bound.NONCE in intent.binds


def test_variants_of_orders() -> None:
    """Reduce-only, sell, immediate-or-cancel, conditional and TWAP orders are what they say."""
    reducing = place(reduce_only=True, time_in_force=1, side=2)
    assert effects(reducing) == (replace(ORDER, operation=Operation.REDUCE, side="SELL", time_in_force="IOC"),)
    assert effects(place(time_in_force=2)) == (replace(ORDER, time_in_force="POST_ONLY"),)
    conditional = {**LONG_TERM, "order_id": {"order_flags": 32}, "condition_type": 1}
    expected = (replace(ORDER, expires_at=UNTIL),)
    waiting = effects(place(**conditional, conditional_order_trigger_subticks=5))
    assert waiting == (replace(expected[0], via="trigger 5 subticks"),)
    twap = orders.TwapParameters(duration=300, interval=30, price_tolerance=10)
    assert (
        effects(place(**{**LONG_TERM, "order_id": {"order_flags": 128}, "subticks": 0}, twap_parameters=twap))
        == expected
    )


def test_builder_is_allowed_a_fee() -> None:
    """A builder takes a part of every fill: an ALLOWANCE of unknown amount stands beside the order."""
    router = {"order_router_address": OTHER}
    allowance = Effect(
        operation=Operation.ALLOWANCE,
        network=NETWORK,
        venue="dydx",
        destination=STRANGER,
        fee_max=0,
        symbol="clob-pair:0",
        asset="asset:0",
        source=MINE,
    )
    assert effects(place(builder_code_parameters=BUILDER, **router)) == (ORDER, allowance)


def test_cancels() -> None:
    """Cancels are understood in full; short-term ones have no slot, as a second one changes nothing."""
    identity = order().order_id  # type: ignore[attr-defined]  # a generated message has the fields of its description
    intent = parsed(payload(clob.MsgCancelOrder(order_id=identity, good_til_block=5)))
    assert (intent.effects, intent.slot, intent.completeness) == ((CANCEL,), None, Completeness.FULL)
    stateful = order(**LONG_TERM).order_id  # type: ignore[attr-defined]  # as above
    intent = parsed(payload(clob.MsgCancelOrder(order_id=stateful, good_til_block_time=1_717_148_681)))
    assert (intent.effects, intent.slot, intent.expires_at) == ((CANCEL,), f"{NETWORK}:99:7", UNTIL)


def batch(*sizes: int, **changes: int) -> Message:
    """Return a cancel of that many orders of each pair."""
    cancels = [clob.OrderBatch(clob_pair_id=pair, client_ids=range(size)) for pair, size in enumerate(sizes)]
    made: Message = clob.MsgBatchCancel(
        subaccount_id=subaccount(), short_term_cancels=cancels, **{"good_til_block": 5, **changes}
    )
    return made


def test_batch_cancel_has_an_effect_for_each_pair() -> None:
    """All pairs of a batch are stated."""
    intent = parsed(payload(batch(3, 200)))
    assert intent.effects == (CANCEL, replace(CANCEL, symbol="clob-pair:1"))
    assert (intent.slot, Bound.NONCE in intent.binds) == (None, False)


# Assets and keys ---------------------------------------------------------------------------------------------


def moving(sender: Message, recipient: Message) -> Message:
    inside = transfers.Transfer(sender=sender, recipient=recipient, asset_id=0, amount=9)
    made: Message = sending.MsgCreateTransfer(transfer=inside)
    return made


def test_transfers_between_subaccounts_are_withdrawals() -> None:
    """Whose subaccount it is, to whose: all is stated, also when none is the key's own."""
    assert effects(moving(subaccount(), subaccount(1, OTHER))) == (MOVE,)
    assert effects(moving(subaccount(128, STRANGER), subaccount(1, OTHER))) == (
        replace(MOVE, source=f"{STRANGER}/128"),
    )


def test_withdrawals_name_account_and_memo() -> None:
    """What leaves for an account goes to address and memo; what goes into a subaccount has no memo."""
    leaving = transfers.MsgWithdrawFromSubaccount(sender=subaccount(), recipient=OTHER, asset_id=3, quantums=9)
    entering = transfers.MsgDepositToSubaccount(sender=ME, recipient=subaccount(1, OTHER), quantums=9)
    assert parsed(document(body(leaving, entering, memo="17"))).effects == (
        replace(MOVE, destination=f"{OTHER}?memo=17", asset="asset:3"),
        replace(MOVE, source=ME),
    )


def test_new_authenticator_is_a_key_grant() -> None:
    """The new key is stated where it is the one condition; a composition is a KEY_GRANT to nobody knows whom."""
    granted = Effect(
        operation=Operation.KEY_GRANT, network=NETWORK, venue="dydx", destination=KEY.format().hex(), fee_max=0
    )
    plain = accountplus.MsgAddAuthenticator(sender=ME, authenticator_type="SignatureVerification", data=KEY.format())
    composed = accountplus.MsgAddAuthenticator(sender=ME, authenticator_type="AnyOf", data=b"[]")
    intent = parsed(payload(plain))
    assert (intent.effects, intent.completeness) == ((granted,), Completeness.FULL)
    intent = parsed(payload(composed))
    assert (intent.effects, intent.completeness) == ((replace(granted, destination=None),), Completeness.PARTIAL)


def test_removing_an_authenticator_is_admin() -> None:
    """Which keys rule the account changes."""
    removed = Effect(operation=Operation.ADMIN, network=NETWORK, venue="dydx", destination="authenticator:4", fee_max=0)
    assert effects(accountplus.MsgRemoveAuthenticator(sender=ME, id=4)) == (removed,)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dydxprotocol.affiliates.tx", "MsgRegisterAffiliate"),
        ("dydxprotocol.vault.tx", "MsgDepositToMegavault"),
        ("dydxprotocol.listing.tx", "MsgCreateMarketPermissionless"),
        ("dydxprotocol.sending.transfer", "MsgSendFromModuleToAccount"),
    ],
)
def test_other_messages_of_dydx_are_opaque(module: str, name: str) -> None:
    """Messages of dYdX that are not decoded are named, and nothing is said of what they do."""
    message = getattr(generated(module), name)()
    contract = f"/{message.DESCRIPTOR.full_name}"
    assert effects(message) == (Effect(operation=Operation.OPAQUE, network=NETWORK, fee_max=0, contract=contract),)


# Authenticators and sequences --------------------------------------------------------------------------------


def chosen(*ids: int, messages: tuple[Message, ...] = (), type_url: str = "") -> Payload:
    """Return a transaction of STRANGER's account that dYdX is to check by these authenticators."""
    extension = packed(accountplus.TxExtension(selected_authenticators=ids), type_url)
    acting = messages or (place(order_id={"subaccount_id": subaccount(0, STRANGER)}),)
    return document(body(*acting, non_critical_extension_options=[extension]))


def test_authenticators_are_stated() -> None:
    """A trading key acts for another account: authenticator and owner are both facts of every effect."""
    assert parsed(chosen(5)).effects == (replace(ORDER, source=f"{STRANGER}/0", via="authenticators 5"),)
    two = send(from_address=STRANGER), moving(subaccount(0, STRANGER), subaccount(1, OTHER))
    intent = parsed(chosen(5, 300, messages=two))
    assert [(effect.source, effect.via) for effect in intent.effects] == [
        (STRANGER, "authenticators 5, 300"),
        (f"{STRANGER}/0", "authenticators 5, 300"),
    ]


def test_sequence_that_is_a_time() -> None:
    """From 2^40 a sequence of dYdX is a time: the transaction is taken for 30 s before and after it."""
    now = 1_700_000_000_000
    intent = parsed(document(body(send()), auth_info(sequence=now)))
    assert (intent.not_before, intent.expires_at) == (now - 30_000, now + 30_000)
    assert Bound.EXPIRY in intent.binds
    intent = parsed(document(body(place(**LONG_TERM)), auth_info(sequence=now)))
    assert intent.expires_at == now + 30_000
    for given in (
        document(body(send()), auth_info(sequence=2**40 - 1)),
        document(body(place()), auth_info(sequence=now)),
        document(body(PackedAny(type_url="/a.B")), auth_info(sequence=now)),
    ):
        intent = parsed(given)
        assert (intent.not_before, intent.expires_at) == (None, None)
