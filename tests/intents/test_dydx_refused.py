"""Messages of the dYdX chain that are refused: what it would refuse or ignore, or read in two ways."""

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

from keyvault.core.intent import Payload
from tests.intents.cosmos_building import (
    ME,
    OTHER,
    accountplus,
    body,
    clob,
    document,
    order,
    orders,
    packed,
    payload,
    place,
    refusal,
    send,
    subaccounts,
    transfers,
)

COSMOS = "cosmos1pkptre7fdkl6gfrzlesjjvhxhlc3r4gmmk8rs6"
FOREIGN = subaccounts.SubaccountId(owner=COSMOS)
MINE = subaccounts.SubaccountId(owner=ME)


def placed(**changes: Any) -> Payload:  # noqa: ANN401 any field
    return payload(place(**changes))


def identified(**changes: Any) -> Payload:  # noqa: ANN401 any field
    return placed(order_id=changes)


def long_term(flags: int = 64, **changes: Any) -> Payload:  # noqa: ANN401 any field
    return placed(order_id={"order_flags": flags}, good_til_block=None, good_til_block_time=5, **changes)


def built(**fields: Any) -> Payload:  # noqa: ANN401 any field
    return placed(builder_code_parameters=orders.BuilderCodeParameters(**fields))


def batch(*sizes: int, good_til_block: int = 5) -> Message:
    """Return a cancel of that many orders of each pair."""
    cancels = [clob.OrderBatch(clob_pair_id=pair, client_ids=range(size)) for pair, size in enumerate(sizes)]
    made: Message = clob.MsgBatchCancel(subaccount_id=MINE, short_term_cancels=cancels, good_til_block=good_til_block)
    return made


def both_ends() -> Payload:
    """Return an order with both members of its oneof, which v4-proto cannot write: its reader takes the later one."""
    inside = order().SerializeToString() + b"\x35\x01\x00\x00\x00"
    value = b"\x0a" + bytes((len(inside),)) + inside
    return payload(PackedAny(type_url="/dydxprotocol.clob.MsgPlaceOrder", value=value))


def key_of(size: int) -> Payload:
    kind = "SignatureVerification"
    return payload(accountplus.MsgAddAuthenticator(sender=ME, authenticator_type=kind, data=bytes(size)))


def chosen(*ids: int, type_url: str = "", count: int = 1) -> Payload:
    extension = packed(accountplus.TxExtension(selected_authenticators=ids), type_url)
    return document(body(place(), non_critical_extension_options=[extension] * count))


M = "body.messages[0]"
O = f"{M}.order"  # noqa: E741 the order
ID = f"{O}.order_id"
BUILDER = f"{O}.builder_code_parameters"
TRIGGER = "conditional_order_trigger_subticks"
ALONE = "takes it only alone"
EXTENSIONS = "body.non_critical_extension_options"
CHOSEN = f"{EXTENSIONS}[0].selected_authenticators"
TWAP = orders.TwapParameters(duration=300, interval=30)
NO_DEPOSIT = transfers.MsgDepositToSubaccount(sender=ME, recipient=MINE)
FOREIGN_DEPOSIT = transfers.MsgDepositToSubaccount(sender=ME, recipient=FOREIGN, quantums=1)
REFUSED: list[tuple[str, Payload, str, str]] = [
    ("order beside another message", payload(place(), send()), "body.messages", ALONE),
    ("order beside what is not known", payload(PackedAny(type_url="/a.B"), place()), "body.messages", ALONE),
    ("cancel beside an order", payload(batch(1), place()), "body.messages", ALONE),
    ("no order", payload(clob.MsgPlaceOrder()), O, "is missing"),
    ("no side", placed(side=0), f"{O}.side", "must be one of 1, 2"),
    ("third side", placed(side=3), f"{O}.side", "must be one of 1, 2"),
    ("no quantums", placed(quantums=0), f"{O}.quantums", "is missing or 0"),
    ("no price", placed(subticks=0), f"{O}.subticks", "is missing or 0"),
    ("fill or kill", placed(time_in_force=3), f"{O}.time_in_force", "must be one of 0, 1, 2"),
    ("no end", placed(good_til_block=None), f"{O}.good_til_block", "is missing or 0"),
    ("end 0", placed(good_til_block=0), f"{O}.good_til_block", "is missing or 0"),
    ("both ends", both_ends(), O, "more than one of good_til_block, good_til_block_time"),
    ("time of a short-term order", long_term(0), f"{O}.good_til_block_time", "must not be there"),
    ("block of a long-term order", identified(order_flags=64), f"{O}.good_til_block", "must not be there"),
    ("unknown flags", identified(order_flags=96), f"{ID}.order_flags", "must be 0"),
    ("suborder of a TWAP order", identified(order_flags=256), f"{ID}.order_flags", "must be 0"),
    ("no subaccount", identified(subaccount_id=None), f"{ID}.subaccount_id", "is missing"),
    ("owner of another chain", identified(subaccount_id=FOREIGN), f"{ID}.subaccount_id.owner", "dydx1"),
    ("condition of a plain order", placed(condition_type=1), f"{O}.condition_type", "in a conditional"),
    ("trigger of a plain order", placed(**{TRIGGER: 1}), f"{O}.{TRIGGER}", "belongs to"),
    ("no condition", long_term(32, **{TRIGGER: 1}), f"{O}.condition_type", "must be 1 or 2"),
    ("third condition", long_term(32, condition_type=3, **{TRIGGER: 1}), f"{O}.condition_type", "must be 1 or 2"),
    ("no trigger", long_term(32, condition_type=2), f"{O}.{TRIGGER}", "belongs to"),
    ("TWAP of a long-term order", long_term(twap_parameters=TWAP), f"{O}.twap_parameters", "belong to TWAP"),
    ("TWAP without parameters", long_term(128), f"{O}.twap_parameters", "belong to TWAP"),
    ("builder without a fee", built(builder_address=OTHER), f"{BUILDER}.fee_ppm", "is missing"),
    ("greedy builder", built(builder_address=OTHER, fee_ppm=10_001), f"{BUILDER}.fee_ppm", "higher than 10000"),
    ("nameless builder", built(fee_ppm=1), f"{BUILDER}.builder_address", "is not a Bech32"),
    ("nameless router", placed(order_router_address="x"), f"{O}.order_router_address", "is not a Bech32"),
    ("batch of nothing", payload(batch()), f"{M}.short_term_cancels", "must name the orders"),
    ("batch with an empty pair", payload(batch(1, 0)), f"{M}.short_term_cancels", "must name the orders"),
    ("batch without an end", payload(batch(1, good_til_block=0)), f"{M}.good_til_block", "is missing or 0"),
    ("transfer of nothing", payload(NO_DEPOSIT), f"{M}.quantums", "is missing or 0"),
    ("transfer to another chain", payload(FOREIGN_DEPOSIT), f"{M}.recipient.owner", "must begin with dydx1"),
    ("short key", key_of(32), f"{M}.data", "must be a compressed key"),
    ("no authenticator", chosen(), CHOSEN, "one for each message"),
    ("two for one message", chosen(1, 2), CHOSEN, "one for each message"),
    ("two extensions", chosen(1, count=2), EXTENSIONS, "may only have one"),
    ("extension of another name", chosen(1, type_url="/dydxprotocol.TxExtension"), EXTENSIONS, "may only have one"),
]


@pytest.mark.parametrize(("given", "field", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(given: Payload, field: str, problem: str) -> None:
    """What dYdX would refuse, ignore or read in two ways is refused here, with place and reason."""
    found_field, found_problem = refusal(given)
    assert (found_field, problem in found_problem) == (field, True), (found_field, found_problem)


def test_messages_on_another_chain() -> None:
    """On a chain that is not known, the messages still need addresses of dYdX."""
    foreign = place(order_id={"subaccount_id": FOREIGN})
    field, problem = refusal(payload(foreign, chain_id="unknown-1"))
    assert (field, "must begin with dydx1" in problem) == (f"{ID}.subaccount_id.owner", True)
