"""The reader of protobuf: ADR-027, the descriptions against those of v4-proto, and hostile bytes."""

import contextlib
from collections.abc import Iterator

import pytest
from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.intents import cosmos_messages, dydx_messages
from keyvault.intents import protobuf_wire as wire
from tests.intents.cosmos_building import (
    accountplus,
    authorizations,
    authz,
    bank,
    bank_authz,
    clob,
    coins,
    keys,
    sending,
    transfers,
    tx,
)

ARTICLE = wire.Message(
    "Article",
    (
        wire.string(1, "title"),
        wire.string(2, "description"),
        wire.uint64(3, "created"),
        wire.uint64(4, "updated"),
        wire.boolean(5, "public"),
        wire.boolean(6, "promoted"),
        wire.int32(7, "type"),
        wire.int32(8, "review"),
        wire.string(9, "comments", repeated=True),
        wire.string(10, "backlinks", repeated=True),
    ),
)
"""The message of ADR-027's test vector."""
ARTICLE_BYTES = bytes.fromhex(
    "0a1b54686520776f726c64206e65656473206368616e676520f09f8cb318e8bebec8bc2e280138024a084e696365206f6e654a095468616e"
    "6b20796f75"
)
POINT = wire.Message("Point", (wire.uint32(1, "x"), wire.string(2, "label")))
SHAPE = wire.Message(
    "Shape",
    (
        wire.nested(1, "centre", POINT),
        wire.nested(2, "corners", POINT, repeated=True),
        wire.packed32(3, "small"),
        wire.packed64(4, "large"),
        wire.fixed32(5, "tag"),
        wire.uint32(6, "until_block", presence=True),
        wire.fixed32(7, "until_time", presence=True),
        wire.octets(16, "data"),
        wire.uint64(2047, "far"),
    ),
    (("until_block", "until_time"),),
)


def test_vector_of_adr_027() -> None:
    """The test vector of ADR-027 is read, and written again as the same bytes."""
    values = wire.decode(ARTICLE, ARTICLE_BYTES, "a")
    assert values == {
        "title": "The world needs change \U0001f333",
        "created": 1_596_806_111_080,
        "public": 1,
        "type": 2,
        "comments": ["Nice one", "Thank you"],
    }
    assert wire.encode(ARTICLE, values) == ARTICLE_BYTES


def test_what_is_there_is_told_from_what_is_not() -> None:
    """Messages and members of a oneof are there even when they hold nothing; so are empty elements of a list."""
    data = bytes.fromhex("0a00 1200 12020801 1a0300ff01 2d01000000 3000 820101ff f87f01")
    values = wire.decode(SHAPE, data, "s")
    assert values == {
        "centre": {},
        "corners": [{}, {"x": 1}],
        "small": [0, 255],
        "tag": 1,
        "until_block": 0,
        "data": b"\xff",
        "far": 1,
    }
    assert (wire.number_of(values, "far"), wire.number_of(values, "until_time")) == (1, 0)
    assert (wire.octets_of(values, "data"), wire.octets_of({}, "data")) == (b"\xff", b"")
    assert (wire.messages_of({}, "corners"), wire.numbers_of({}, "small")) == ([], [])
    with pytest.raises(Malformed, match=r"s\.centre: is missing"):
        wire.message_of({}, "centre", "s")


REFUSED: list[tuple[str, str, str, str]] = [
    ("default number", "0a020800", "s.centre.x", "its default"),
    ("default text", "0a021200", "s.centre.label", "its default"),
    ("default bytes", "820100", "s.data", "its default"),
    ("default fixed32", "2d00000000", "s.tag", "its default"),
    ("empty packed", "1a00", "s.small", "its default"),
    ("twice", "0a0408010802", "s.centre.x", "stands twice"),
    ("message twice", "0a000a00", "s.centre", "stands twice"),
    ("packed twice", "1a01011a0102", "s.small", "stands twice"),
    ("descending", "0a05120161" + "0801", "s.centre.x", "must ascend"),
    ("descending lists", "12001a0101" + "1200", "s.corners", "must ascend"),
    ("both of a oneof", "300138" + "0100", "s.until_time", "wire type 0"),
    ("both of a oneof", "30013d01000000", "s", "more than one of until_block, until_time"),
    ("unknown field", "4001", "s", "has field 8, which Shape does not have"),
    ("unknown field inside", "0a021801", "s.centre", "has field 3, which Point does not have"),
    ("unpacked numbers", "1801", "s.small", "wire type 0, which Shape does not have"),
    ("group", "0b0c", "s.centre", "wire type 3"),
    ("field number 0", "0001", "s", "has field 0"),
    ("padded number", "0a03088100", "s.centre", "not in its shortest form"),
    ("padded key", "8a000100", "s", "not in its shortest form"),
    ("padded length", "0a8000", "s", "not in its shortest form"),
    ("padded packed number", "1a028100", "s.small", "not in its shortest form"),
    ("more than 64 bits", "f87fffffffffffffffffff02", "s", "more than 64 bits"),
    ("endless number", "f87f" + "ff" * 11, "s", "cut off, or has more than 64 bits"),
    ("more than 32 bits", "0a0608ffffffff1f", "s.centre.x", "is higher than 4294967295"),
    ("packed with more than 32 bits", "1a05ffffffff1f", "s.small", "a number higher than 4294967295"),
    ("cut off after its key", "30", "s", "is cut off"),
    ("cut off in its number", "3080", "s", "is cut off"),
    ("cut off in its key", "82", "s", "is cut off"),
    ("cut off in fixed32", "2d010000", "s.tag", "is cut off"),
    ("fixed32 beyond its message", "0a0115", "s.centre.label", "wire type 5"),
    ("longer than the message", "0a0401", "s.centre", "longer than what holds it"),
    ("text beyond its message", "0a03120361" + "6162", "s.centre.label", "longer than what holds it"),
    ("packed number beyond its list", "1a0180" + "2d01000000", "s.small", "cut off"),
    ("not UTF-8", "0a031201ff", "s.centre.label", "is not UTF-8"),
    ("surrogate", "0a051203eda080", "s.centre.label", "is not UTF-8"),
    ("overlong UTF-8", "0a041202c0af", "s.centre.label", "is not UTF-8"),
]


@pytest.mark.parametrize(("data", "field", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(data: str, field: str, problem: str) -> None:
    """What is not the one encoding of something is Malformed, with the place and the reason."""
    with pytest.raises(Malformed) as caught:
        wire.decode(SHAPE, bytes.fromhex(data), "s")
    assert (caught.value.field, problem in caught.value.problem) == (field, True), caught.value


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32 - 1, 2**63, 2**64 - 1])
def test_numbers(value: int) -> None:
    """A number is written lowest group first, and read again."""
    data = wire.encode(SHAPE, {"large": [value]})
    assert wire.numbers_of(wire.decode(SHAPE, data, "s"), "large") == [value]
    assert wire.varint(2**64 - 1).hex() == "ffffffffffffffffff01"
    assert wire.varint(300).hex() == "ac02"


def test_encoding_again_catches_what_a_lax_reader_lets_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values are written again and compared: a reader that forgot a rule would be caught by that."""
    monkeypatch.setattr(wire, "_check_order", lambda *_: None)
    with pytest.raises(Malformed, match="s: is not the canonical encoding"):
        wire.decode(SHAPE, bytes.fromhex("12000a00"), "s")


def test_booleans_are_one() -> None:
    """A boolean that is neither 0 nor 1 is refused: readers differ about 2."""
    with pytest.raises(Malformed, match="public: is higher than 1"):
        wire.decode(ARTICLE, bytes.fromhex("2802"), "a")


@given(st.binary(max_size=64))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the bytes: they are the encoding of the values, or Malformed, and nothing else is raised."""
    for message in (SHAPE, cosmos_messages.AUTH_INFO, dydx_messages.PLACE_ORDER):
        with contextlib.suppress(Malformed):
            assert wire.encode(message, wire.decode(message, data, "s")) == data


@pytest.mark.parametrize(("one", "field"), [(b"\x12\x00", "s.corners"), (b"\x00", "s.small")])
def test_long_lists_are_refused_early(one: bytes, field: str) -> None:
    """A list may have 256 elements; of 24 kB of empty ones no more than that are looked at."""
    packed = field == "s.small"

    def listed(size: int) -> bytes:
        return b"\x1a" + wire.varint(size) + one * size if packed else one * size

    values = wire.decode(SHAPE, listed(256), "s")
    assert len(wire.numbers_of(values, "small") if packed else wire.messages_of(values, "corners")) == 256
    for size in (257, 12_000):
        with pytest.raises(Malformed, match=f"{field}: has more than 256 elements"):
            wire.decode(SHAPE, listed(size), "s")


# Descriptions against v4-proto -------------------------------------------------------------------------------

DESCRIBED: list[tuple[wire.Message, Descriptor]] = [
    (cosmos_messages.ANY, any_pb2.Any.DESCRIPTOR),
    (cosmos_messages.COIN, coins.Coin.DESCRIPTOR),
    (cosmos_messages.TIMESTAMP, timestamp_pb2.Timestamp.DESCRIPTOR),
    (cosmos_messages.SIGN_DOC, tx.SignDoc.DESCRIPTOR),
    (cosmos_messages.TX_RAW, tx.TxRaw.DESCRIPTOR),
    (cosmos_messages.TX_BODY, tx.TxBody.DESCRIPTOR),
    (cosmos_messages.AUTH_INFO, tx.AuthInfo.DESCRIPTOR),
    (cosmos_messages.PUBLIC_KEY, keys.PubKey.DESCRIPTOR),
    (cosmos_messages.SEND, bank.MsgSend.DESCRIPTOR),
    (cosmos_messages.GRANT, authz.MsgGrant.DESCRIPTOR),
    (cosmos_messages.REVOKE, authz.MsgRevoke.DESCRIPTOR),
    (cosmos_messages.GENERIC_AUTHORIZATION, authorizations.GenericAuthorization.DESCRIPTOR),
    (cosmos_messages.SEND_AUTHORIZATION, bank_authz.SendAuthorization.DESCRIPTOR),
    (dydx_messages.PLACE_ORDER, clob.MsgPlaceOrder.DESCRIPTOR),
    (dydx_messages.CANCEL_ORDER, clob.MsgCancelOrder.DESCRIPTOR),
    (dydx_messages.BATCH_CANCEL, clob.MsgBatchCancel.DESCRIPTOR),
    (dydx_messages.CREATE_TRANSFER, sending.MsgCreateTransfer.DESCRIPTOR),
    (dydx_messages.DEPOSIT, transfers.MsgDepositToSubaccount.DESCRIPTOR),
    (dydx_messages.WITHDRAW, transfers.MsgWithdrawFromSubaccount.DESCRIPTOR),
    (dydx_messages.ADD_AUTHENTICATOR, accountplus.MsgAddAuthenticator.DESCRIPTOR),
    (dydx_messages.REMOVE_AUTHENTICATOR, accountplus.MsgRemoveAuthenticator.DESCRIPTOR),
    (dydx_messages.TX_EXTENSION, accountplus.TxExtension.DESCRIPTOR),
]
WORDS = {
    FieldDescriptor.TYPE_UINT64: wire.uint64,
    FieldDescriptor.TYPE_UINT32: wire.uint32,
    FieldDescriptor.TYPE_INT64: wire.int64,
    FieldDescriptor.TYPE_INT32: wire.int32,
    FieldDescriptor.TYPE_ENUM: wire.int32,
    FieldDescriptor.TYPE_BOOL: wire.boolean,
    FieldDescriptor.TYPE_FIXED32: wire.fixed32,
    FieldDescriptor.TYPE_STRING: wire.string,
    FieldDescriptor.TYPE_BYTES: wire.octets,
}
REFUSED_BY_NAME = frozenset({("AuthInfo", "tip"), ("ModeInfo", "multi")})
"""Messages that are said to be bytes: they are never looked into."""


def facts(field: wire.Field) -> tuple[object, ...]:
    return (field.number, field.name, field.kind, field.maximum, field.repeated, field.key)


def wanted(field: FieldDescriptor) -> tuple[object, ...]:
    """Return the facts of the field that v4-proto describes."""
    if field.is_repeated and field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        packed = wire.packed32 if field.type == FieldDescriptor.TYPE_UINT32 else wire.packed64
        return facts(packed(field.number, field.name))
    if field.message_type is not None:
        return facts(wire.nested(field.number, field.name, POINT, repeated=field.is_repeated))
    described = WORDS[field.type](field.number, field.name)
    number, name, kind, maximum, _, key = facts(described)
    return (number, name, kind, maximum, field.is_repeated, key)


def inside(field: FieldDescriptor) -> Descriptor:
    """Return the description of a message in a message."""
    assert field.message_type is not None
    return field.message_type


def differences(message: wire.Message, descriptor: Descriptor) -> Iterator[str]:
    """Yield what a description says otherwise than v4-proto, at any depth."""
    ours, theirs = {field.name: field for field in message.fields}, dict(descriptor.fields_by_name)
    if list(ours) != [field.name for field in sorted(theirs.values(), key=lambda field: field.number)]:
        yield f"{message.name}: {list(ours)} or their order"
    for name, field in ours.items():
        if (message.name, name) in REFUSED_BY_NAME:
            continue
        if facts(field) != wanted(theirs[name]):
            yield f"{message.name}.{name}"
        if field.presence != theirs[name].has_presence and not field.repeated:
            yield f"{message.name}.{name}: presence"
        if field.message is not None:
            yield from differences(field.message, inside(theirs[name]))
    groups = {tuple(field.name for field in group.fields) for group in descriptor.oneofs}
    if set(message.oneofs) != groups:
        yield f"{message.name}: oneofs"


@pytest.mark.parametrize(("message", "descriptor"), DESCRIBED, ids=[message.name for message, _ in DESCRIBED])
def test_descriptions_are_those_of_v4_proto(message: wire.Message, descriptor: Descriptor) -> None:
    """Numbers, names, types, lists and oneofs of every described message are those that dYdX publishes."""
    assert list(differences(message, descriptor)) == []
    assert message.name in descriptor.full_name
