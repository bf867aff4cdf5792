"""Laws of Cosmos payloads: what v4-proto makes is read as v4-proto reads it; what it would normalise is refused."""

import contextlib
import hashlib
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

from google.protobuf.any_pb2 import Any as PackedAny
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.core.intent import Effect, Operation, Payload
from keyvault.intents import cosmos
from tests.intents.building import sign
from tests.intents.cosmos_building import (
    COLLECTOR,
    ME,
    NETWORK,
    OWN_COIN,
    SIGNER,
    auth_info,
    authorizations,
    bank,
    bank_authz,
    body,
    clob,
    coin,
    document,
    orders,
    parsed,
    place,
    raw,
    send,
    tx,
)
from tests.intents.cosmos_making import LARGE, Maker, Oracle

# What v4-proto reads -----------------------------------------------------------------------------------------


def named(subaccount: Oracle) -> str:
    return f"{subaccount.owner}/{subaccount.number}"


def foreign(account: str) -> str | None:
    return None if account == ME else account


def moved(asset: int, amount: int, source: str, destination: str) -> dict[str, Any]:
    facts = {"asset": f"asset:{asset}", "amount": amount, "source": source, "destination": destination}
    return {"operation": Operation.WITHDRAW, "venue": "dydx", **facts}


def cancelled(pair: int, subaccount: Oracle) -> dict[str, Any]:
    facts = {"symbol": f"clob-pair:{pair}", "source": named(subaccount)}
    return {"operation": Operation.CANCEL, "venue": "dydx", **facts}


def expected_order(order: Oracle) -> Iterator[dict[str, Any]]:
    identity = order.order_id
    placed = {
        "venue": "dydx",
        "symbol": f"clob-pair:{identity.clob_pair_id}",
        "source": named(identity.subaccount_id),
    }
    yield {
        **placed,
        "operation": Operation.REDUCE if order.reduce_only else Operation.ORDER,
        "amount": order.quantums,
        "asset": f"quantums:{identity.clob_pair_id}",
        "side": orders.Order.Side.Name(order.side).removeprefix("SIDE_"),
        "time_in_force": ("GTT", "IOC", "POST_ONLY")[order.time_in_force],
        "expires_at": order.good_til_block_time * 1000 or None,
        "via": f"trigger {order.conditional_order_trigger_subticks} subticks" if order.condition_type else None,
    }
    if order.HasField("builder_code_parameters"):
        builder = order.builder_code_parameters.builder_address
        yield {**placed, "operation": Operation.ALLOWANCE, "asset": "asset:0", "destination": builder}


def expected_grant(message: Oracle) -> Iterator[dict[str, Any]]:
    ends = None
    if message.grant.HasField("expiration"):
        nanos = message.grant.expiration.ToNanoseconds()
        ends = nanos // 10**6 + (nanos % 10**6 > 0)
    facts = {"destination": message.grantee, "source": foreign(message.granter), "expires_at": ends}
    inside = message.grant.authorization
    if inside.type_url == "/cosmos.bank.v1beta1.SendAuthorization":
        for one in bank_authz.SendAuthorization.FromString(inside.value).spend_limit:
            yield {**facts, "operation": Operation.ALLOWANCE, "amount": int(one.amount), "asset": one.denom}
    else:
        granted = authorizations.GenericAuthorization.FromString(inside.value).msg
        yield {**facts, "operation": Operation.KEY_GRANT, "contract": granted}


def expected_send(message: Oracle, tail: str) -> Iterator[dict[str, Any]]:
    for one in message.amount:
        facts = {"asset": one.denom, "amount": int(one.amount), "source": foreign(message.from_address)}
        yield {"operation": Operation.TRANSFER, "destination": message.to_address + tail, **facts}


def expected_asset(message: Oracle, tail: str) -> Iterator[dict[str, Any]]:
    match message.DESCRIPTOR.name:
        case "MsgCreateTransfer":
            inside = message.transfer
            yield moved(inside.asset_id, inside.amount, named(inside.sender), named(inside.recipient))
        case "MsgDepositToSubaccount":
            yield moved(message.asset_id, message.quantums, message.sender, named(message.recipient))
        case _:
            yield moved(message.asset_id, message.quantums, named(message.sender), message.recipient + tail)


def expected_key(message: Oracle) -> Iterator[dict[str, Any]]:
    match message.DESCRIPTOR.name:
        case "MsgRevoke":
            facts = {"destination": message.grantee, "source": foreign(message.granter)}
            yield {"operation": Operation.SETUP, "contract": message.msg_type_url, **facts}
        case "MsgAddAuthenticator":
            key = message.data.hex() if message.authenticator_type == "SignatureVerification" else None
            facts = {"venue": "dydx", "source": foreign(message.sender), "destination": key}
            yield {"operation": Operation.KEY_GRANT, **facts}
        case _:
            facts = {"source": foreign(message.sender), "destination": f"authenticator:{message.id}"}
            yield {"operation": Operation.ADMIN, "venue": "dydx", **facts}


def expected_cancel(message: Oracle) -> Iterator[dict[str, Any]]:
    if message.DESCRIPTOR.name == "MsgCancelOrder":
        yield cancelled(message.order_id.clob_pair_id, message.order_id.subaccount_id)
    else:
        for one in message.short_term_cancels:
            yield cancelled(one.clob_pair_id, message.subaccount_id)


def expected(message: Oracle, memo: str) -> Iterator[dict[str, Any]]:
    """Return the facts of a message, from what v4-proto read."""
    tail = f"?memo={memo}" if memo else ""
    match message.DESCRIPTOR.name:
        case "MsgSend":
            return expected_send(message, tail)
        case "MsgGrant":
            return expected_grant(message)
        case "MsgPlaceOrder":
            return expected_order(message.order)
        case "MsgCancelOrder" | "MsgBatchCancel":
            return expected_cancel(message)
        case "MsgRevoke" | "MsgAddAuthenticator" | "MsgRemoveAuthenticator":
            return expected_key(message)
        case _:
            return expected_asset(message, tail)


def account_of(message: Oracle) -> str:
    """Return whose signature a message needs: the first address in it, but for withdrawals."""
    if message.DESCRIPTOR.name == "MsgWithdrawFromSubaccount":
        return str(message.sender.owner)
    value = message
    while not isinstance(value, str):
        value = value.ListFields()[0][1]
    return value


def expected_effects(messages: list[Oracle], memo: str, fee: list[Oracle]) -> tuple[Effect, ...]:
    facts = [one for message in messages for one in expected(message, memo)]
    payer = foreign(account_of(messages[0]))
    fees = {one.denom: int(one.amount) for one in fee}
    fee_max = fees.pop(OWN_COIN, 0)
    for denomination, amount in fees.items():
        burnt = {"operation": Operation.TRANSFER, "destination": COLLECTOR, "source": payer}
        facts.append({**burnt, "asset": denomination, "amount": amount})
    made = (Effect(network=NETWORK, fee_max=0 if place else fee_max, **one) for place, one in zip(count(), facts))
    return tuple(made)


# Laws --------------------------------------------------------------------------------------------------------


def test_generated_transactions_are_read_as_v4_proto_reads_them() -> None:
    """10,000 transactions of v4-proto: every effect is the one it reads, and what is sent is what it writes."""
    chance = Random(20_240_817)  # noqa: S311 test data
    for number in range(10_000):
        maker = Maker(chance)
        messages = [maker.lone()] if chance.random() < 0.5 else [maker.message() for _ in range(chance.randint(1, 4))]
        memo = chance.choice(("", "", "17", "für Ümläute"))
        fee = maker.coins() if chance.random() < 0.3 else []
        sequence = chance.choice((0, *LARGE))
        made = document(
            body(*messages, memo=memo, timeout_height=chance.choice((0, 5))), auth_info(*fee, sequence=sequence)
        )
        intent = parsed(made)
        assert intent.effects == expected_effects(messages, memo, fee), number
        assert intent.signing_input == hashlib.sha256(made.parts[0]).digest()
        if number % 20 == 0:
            check_sent(made)


def check_sent(made: Payload) -> None:
    """The assembled transaction is what v4-proto writes for the same parts."""
    signed = tx.SignDoc.FromString(made.parts[0])
    signature = sign(hashlib.sha256(made.parts[0]).digest())
    sent = tx.TxRaw(body_bytes=signed.body_bytes, auth_info_bytes=signed.auth_info_bytes, signatures=[signature.value])
    assert cosmos.assemble(made, SIGNER, signature).raw == sent.SerializeToString(deterministic=True)


def check_canonical(data: bytes) -> None:
    """Whatever is accepted, v4-proto writes as the same bytes, at every depth that it knows."""
    signed = tx.SignDoc.FromString(data)
    assert signed.SerializeToString(deterministic=True) == data
    inside = tx.TxBody.FromString(signed.body_bytes)
    assert inside.SerializeToString(deterministic=True) == signed.body_bytes
    who = tx.AuthInfo.FromString(signed.auth_info_bytes)
    assert who.SerializeToString(deterministic=True) == signed.auth_info_bytes
    for message in inside.messages:
        kind = {"/cosmos.bank.v1beta1.MsgSend": bank.MsgSend, "/dydxprotocol.clob.MsgPlaceOrder": clob.MsgPlaceOrder}
        if message.type_url in kind:
            read = kind[message.type_url].FromString(message.value)
            assert read.SerializeToString(deterministic=True) == message.value


def mutated(data: bytes, chance: Random) -> bytes:
    """Return ``data`` with one place changed, cut out, doubled or filled."""
    place, size = chance.randrange(len(data)), chance.randint(1, 4)
    new = bytes(chance.choice((0, 1, 8, 10, 18, 127, 128, 255, chance.randrange(256))) for _ in range(size))
    tails = (data[place + 1 :], data[place + size :], data[place:], data[max(0, place - size) :])
    heads = (data[:place] + new[:1], data[:place], data[:place] + new, data[:place])
    kind = chance.randrange(4)
    return heads[kind] + tails[kind]


def nested(data: bytes, chance: Random) -> bytes:
    """Return a SignDoc one of whose parts is mutated, with right lengths around it."""
    signed = tx.SignDoc.FromString(data)
    inside = tx.TxBody.FromString(signed.body_bytes)
    match chance.randrange(4):
        case 0:
            return mutated(data, chance)
        case 1:
            signed.body_bytes = mutated(signed.body_bytes, chance)
        case 2:
            signed.auth_info_bytes = mutated(signed.auth_info_bytes, chance)
        case _:
            inside.messages[0].value = mutated(inside.messages[0].value, chance)
            signed.body_bytes = inside.SerializeToString(deterministic=True)
    made: bytes = signed.SerializeToString(deterministic=True)
    return made


def test_mutations_are_refused_or_canonical() -> None:
    """Of 12,000 mutations, each is Malformed, or the bytes that v4-proto writes for what it reads in them."""
    chance = Random(7)  # noqa: S311 test data
    valid = [document(body(send(), memo="a"), auth_info(coin(5))).parts[0], document(body(place())).parts[0]]
    accepted = 0
    for number in range(12_000):
        data = nested(valid[number % 2], chance)
        with contextlib.suppress(Malformed):
            cosmos.parse(raw(data), SIGNER)
            check_canonical(data)
            accepted += 1
    assert 100 < accepted < 6_000


@given(st.binary(max_size=200), st.sampled_from(sorted(cosmos._READERS)))
def test_bytes_are_malformed_and_nothing_else(data: bytes, type_url: str) -> None:
    """Any bytes, in any place where bytes stand, are parsed or Malformed; no other error gets out."""
    message = body(PackedAny(type_url=type_url, value=data))
    for made in (raw(data), document(data), document(body(send()), data), document(message), document(message + data)):
        with contextlib.suppress(Malformed):
            cosmos.parse(made, SIGNER)
