"""Cosmos transactions that are refused: what could mean something else, or is not understood."""

import coincurve
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Payload, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import cosmos
from tests.intents.cosmos_building import (
    KEY,
    ME,
    OTHER,
    STRANGER,
    USDC,
    auth_info,
    authorizations,
    authz,
    bank_authz,
    body,
    coin,
    document,
    packed,
    parsed,
    payload,
    raw,
    refusal,
    send,
    signer_info,
    tx,
)

Row = tuple[str, Payload, str, str]
"""Name of the case, payload, field below cosmos_sign_doc, part of the problem."""


def check(given: Payload, field: str, problem: str) -> None:
    found_field, found_problem = refusal(given)
    assert (found_field, problem in found_problem) == (field, True), (found_field, found_problem)


# The document and its body -----------------------------------------------------------------------------------

NOTHING_KNOWN = PackedAny(type_url="/a.B")
CRITICAL = body(send(), extension_options=[NOTHING_KNOWN])
CRITICALS = body(send(), extension_options=[NOTHING_KNOWN, PackedAny(type_url="/a.B", value=b"\xff")])
UNCRITICAL = body(send(), non_critical_extension_options=[NOTHING_KNOWN])
TRANSACTION = tx.TxRaw(body_bytes=body(send()), auth_info_bytes=auth_info(), signatures=[b"\xff" * 64])
MANY = [send()] * 64
DOCUMENTS: list[Row] = [
    ("nothing", raw(b""), "chain_id", "must name the chain"),
    ("no chain", document(body(send()), chain_id=""), "chain_id", "must name the chain"),
    ("chain of another form", document(body(send()), chain_id="a b"), "chain_id", "must name the chain"),
    ("long chain", document(body(send()), chain_id="a" * 51), "chain_id", "must name the chain"),
    ("field after SignDoc", raw(payload(send()).parts[0] + b"\x28\x01"), "", "has field 5"),
    ("signed transaction", raw(TRANSACTION.SerializeToString()), "chain_id", "is not UTF-8"),
    ("no message", document(body()), "body.messages", "is empty"),
    ("unordered (SDK 0.53)", document(body(send()) + b"\x20\x01"), "body", "has field 4"),
    ("critical extension", document(CRITICAL), "body.extension_options", "not supported"),
    ("critical extensions", document(CRITICALS), "body.extension_options", "not supported"),
    ("unknown extension", document(UNCRITICAL), "body.non_critical_extension_options", "may only have one"),
    ("memo with a line feed", document(body(send(), memo="a\nb")), "body.memo", "cannot be printed"),
    ("memo that turns around", document(body(send(), memo="a\u202eb")), "body.memo", "cannot be printed"),
    ("long memo", document(body(send(), memo="a" * 257)), "body.memo", "longer than 256"),
    ("two accounts", payload(send(), send(from_address=STRANGER)), "body.messages", "are of several accounts"),
    ("many messages", payload(*MANY, send()), "body.messages", "are more than 64"),
    ("many effects", document(body(*MANY), auth_info(coin(1, USDC))), "", "more than 64 effects"),
]


@pytest.mark.parametrize(
    ("given", "field", "problem"), [row[1:] for row in DOCUMENTS], ids=[row[0] for row in DOCUMENTS]
)
def test_documents(given: Payload, field: str, problem: str) -> None:
    """A document that is not one transaction for one chain, in one encoding, is refused."""
    check(given, field, problem)


# Who signs, and who pays -------------------------------------------------------------------------------------


def signed_by(**changes: object) -> Payload:
    """Return a transfer whose one signer has some fields changed."""
    return document(body(send()), auth_info(signer_infos=[signer_info(**changes)]))


def mode(number: int) -> Payload:
    return signed_by(mode_info=tx.ModeInfo(single=tx.ModeInfo.Single(mode=number)))


def key(data: bytes, type_url: str = "/cosmos.crypto.secp256k1.PubKey") -> Payload:
    return signed_by(public_key=PackedAny(type_url=type_url, value=data))


def paid(*coins: Message, **fee: str) -> Payload:
    return document(body(send()), auth_info(*coins, fee=fee))


def signers(count: int) -> Payload:
    return document(body(send()), auth_info(signer_infos=[signer_info()] * count))


INFO = "auth_info.signer_infos[0]"
MODE = f"{INFO}.mode_info.single.mode"
MULTI = tx.ModeInfo(multi=tx.ModeInfo.Multi(mode_infos=[tx.ModeInfo()]))
OTHER_KEY = coincurve.PrivateKey(b"\x01" * 32).public_key.format()
OUR_KEY = b"\x0a\x21" + KEY.format()
ETHEREUM = "/ethermint.crypto.v1.ethsecp256k1.PubKey"
WITHOUT_FEE = tx.AuthInfo(signer_infos=[signer_info()]).SerializeToString()
TIPPED = auth_info(tip=tx.Tip(tipper=ME))
NINE = [coin(1, f"coin{number}") for number in range(9)]
SIGNERS: list[Row] = [
    ("no signer", signers(0), "auth_info.signer_infos", "must be one, not 0"),
    ("two signers", signers(2), "auth_info.signer_infos", "must be one, not 2"),
    ("multisig", signed_by(mode_info=MULTI), f"{INFO}.mode_info.multi", "is a multisig"),
    ("no mode", signed_by(mode_info=None), f"{INFO}.mode_info", "is missing"),
    ("no single mode", signed_by(mode_info=tx.ModeInfo()), f"{INFO}.mode_info.single", "is missing"),
    ("mode unspecified", mode(0), MODE, "is UNSPECIFIED"),
    ("legacy amino", mode(127), MODE, "is LEGACY_AMINO_JSON"),
    ("textual", mode(2), MODE, "is TEXTUAL"),
    ("unknown mode", mode(5), MODE, "is 5"),
    ("no key", signed_by(public_key=None), f"{INFO}.public_key", "is missing"),
    ("another key", key(b"\x0a\x21" + OTHER_KEY), f"{INFO}.public_key.key", "is not the key"),
    ("uncompressed key", key(b"\x0a\x41" + KEY.format(compressed=False)), f"{INFO}.public_key.key", "is not the key"),
    ("unknown field beside the key", key(OUR_KEY + b"\x10\x01"), f"{INFO}.public_key", "has field 2"),
    ("Ethereum's kind of key", key(OUR_KEY, ETHEREUM), f"{INFO}.public_key.type_url", "must be /cosmos"),
    ("no fee", document(body(send()), WITHOUT_FEE), "auth_info.fee", "is missing"),
    ("fee payer", paid(payer=STRANGER), "auth_info.fee.payer", "not supported"),
    ("fee granter", paid(granter=STRANGER), "auth_info.fee.granter", "not supported"),
    ("tip", document(body(send()), TIPPED), "auth_info.tip", "not supported"),
    ("many coins in a fee", paid(*NINE), "auth_info.fee.amount", "more than 8"),
    ("fee unsorted", paid(coin(1, "bbb"), coin(1, "aaa")), "auth_info.fee.amount", "must be sorted"),
    ("fee coin twice", paid(coin(0, "aaa"), coin(1, "aaa")), "auth_info.fee.amount", "must be sorted"),
    ("fee below nothing", paid(coin(-1)), "auth_info.fee.amount[0].amount", "positive decimal"),
    ("fee of no coin", paid(coin(0, "")), "auth_info.fee.amount[0].denom", "must be 3 to 128"),
]


@pytest.mark.parametrize(("given", "field", "problem"), [row[1:] for row in SIGNERS], ids=[row[0] for row in SIGNERS])
def test_signers_and_fees(given: Payload, field: str, problem: str) -> None:
    """One signer in SIGN_MODE_DIRECT with the key that is to sign, who pays its own fee: everything else is refused."""
    check(given, field, problem)


def test_signer_must_be_a_point() -> None:
    """A key that is no uncompressed point has no account."""
    stamp = Stamp(at=UnixMillis(1), nonce=1)
    with pytest.raises(Malformed, match="public_key: must be an uncompressed point"):
        cosmos.parse(payload(send()), Signer(algorithm=KeyAlgorithm.ED25519, public_key=bytes(32), stamp=stamp))


# Messages ----------------------------------------------------------------------------------------------------

SEND_BYTES = send().SerializeToString()
FROM, TO, COINS = SEND_BYTES[:45], SEND_BYTES[45:90], SEND_BYTES[90:]
WIDE_COIN = b"\x1a\x0c" + coin(5).SerializeToString() + b"\x18\x01"
FOREIGN = "cosmos1pkptre7fdkl6gfrzlesjjvhxhlc3r4gmmk8rs6"
M = "body.messages[0]"


def sent(value: bytes) -> Payload:
    """Return a payload with other bytes inside the Any of a transfer."""
    return payload(PackedAny(type_url="/cosmos.bank.v1beta1.MsgSend", value=value))


def named(type_url: str) -> Payload:
    return payload(PackedAny(type_url=type_url, value=SEND_BYTES))


def amounts(*coins: Message) -> Payload:
    return payload(send(coins=coins))


def to(address: str) -> Payload:
    return payload(send(to_address=address))


SENDS: list[Row] = [
    ("unknown field in the message", sent(SEND_BYTES + b"\x20\x01"), M, "has field 4, which MsgSend"),
    (
        "unknown field in a coin",
        sent(FROM + TO + b"\x1a" + bytes((len(WIDE_COIN),)) + WIDE_COIN),
        f"{M}.amount",
        "has field 3",
    ),
    ("receiver twice", sent(FROM + TO + TO + COINS), f"{M}.to_address", "stands twice"),
    ("receiver first", sent(TO + FROM + COINS), f"{M}.from_address", "must ascend"),
    ("padded length", sent(b"\x0a\xab\x00" + SEND_BYTES[2:]), M, "shortest form"),
    ("bytes after the message", sent(SEND_BYTES + b"\x00"), M, "has field 0"),
    ("nothing", sent(b""), f"{M}.from_address", "is not a Bech32 address"),
    ("message without a name", named(""), f"{M}.type_url", "must be a slash"),
    ("two slashes", named("//cosmos.bank.v1beta1.MsgSend"), f"{M}.type_url", "must be a slash"),
    ("host before the name", named("a.com/cosmos.bank.v1beta1.MsgSend"), f"{M}.type_url", "must be a slash"),
    ("long name", named("/a." + "b" * 126), f"{M}.type_url", "must be a slash"),
    ("no coin", amounts(), f"{M}.amount", "has no coin"),
    ("coin of nothing", amounts(coin(0)), f"{M}.amount[0].amount", "positive decimal"),
    ("octal", amounts(coin("010")), f"{M}.amount[0].amount", "positive decimal"),
    ("hexadecimal", amounts(coin("0x10")), f"{M}.amount[0].amount", "positive decimal"),
    ("with a sign", amounts(coin("+1")), f"{M}.amount[0].amount", "positive decimal"),
    ("with a line feed", amounts(coin("1\n")), f"{M}.amount[0].amount", "positive decimal"),
    ("Arabic digits", amounts(coin("\u0661")), f"{M}.amount[0].amount", "positive decimal"),
    ("more than 256 bits", amounts(coin(2**256)), f"{M}.amount[0].amount", "positive decimal"),
    ("short denomination", amounts(coin(1, "ab")), f"{M}.amount[0].denom", "must be 3 to 128"),
    ("denomination with a space", amounts(coin(1, "a bc")), f"{M}.amount[0].denom", "must be 3 to 128"),
    ("coin twice", amounts(coin(1), coin(1)), f"{M}.amount", "must be sorted"),
    ("coins unsorted", amounts(coin(1, USDC), coin(1)), f"{M}.amount", "must be sorted"),
    ("upper case", to(OTHER.upper()), f"{M}.to_address", "lower case"),
    ("wrong checksum", to(OTHER[:-1] + ("q" if OTHER[-1] != "q" else "p")), f"{M}.to_address", "wrong checksum"),
    ("no address", to("dydx1" + "q" * 38), f"{M}.to_address", "wrong checksum"),
    ("spaces", to(OTHER + " "), f"{M}.to_address", "is not a Bech32 address"),
    ("long address", to("dydx1" + "q" * 90), f"{M}.to_address", "is not a Bech32 address"),
    ("validator", to("dydxvaloper1" + "q" * 38), f"{M}.to_address", "wrong checksum"),
    (
        "another chain's",
        to("cosmos1pkptre7fdkl6gfrzlesjjvhxhlc3r4gmmk8rs6"),
        f"{M}.to_address",
        "must begin with dydx1",
    ),
]


@pytest.mark.parametrize(("given", "field", "problem"), [row[1:] for row in SENDS], ids=[row[0] for row in SENDS])
def test_transfers(given: Payload, field: str, problem: str) -> None:
    """Inside Any everything is as strict as outside: fields, addresses, amounts."""
    check(given, field, problem)


def test_addresses_of_two_chains() -> None:
    """On a chain that is not known, sender and receiver must still be of one."""
    given = payload(send(to_address=FOREIGN), chain_id="unknown-1")
    check(given, f"{M}.to_address", "is an address of another chain")


def test_address_of_another_length() -> None:
    """Bech32 text that is well formed, but has the bytes of no account, is refused: that of BIP-173 has none at all."""
    check(payload(send(to_address="a12uel5l"), chain_id="unknown-1"), f"{M}.to_address", "must have 20 or 32 bytes")


def grant(authorization: PackedAny | None, **changes: object) -> Payload:
    inside = authorizations.Grant(authorization=authorization, **changes)
    return payload(authz.MsgGrant(granter=ME, grantee=STRANGER, grant=inside))


def limited(*coins: Message) -> PackedAny:
    return packed(bank_authz.SendAuthorization(spend_limit=coins))


GRANTED = f"{M}.grant"
Y10K = 253_402_300_800
GRANTS: list[Row] = [
    ("no grant", payload(authz.MsgGrant(granter=ME, grantee=STRANGER)), GRANTED, "is missing"),
    ("no authorization", grant(None), f"{GRANTED}.authorization", "is missing"),
    ("no limit", grant(limited()), f"{GRANTED}.authorization.spend_limit", "has no coin"),
    ("nameless", grant(PackedAny(value=b"\x01")), f"{GRANTED}.authorization.type_url", "must be a slash"),
    ("no message", grant(packed(authorizations.GenericAuthorization())), f"{GRANTED}.authorization.msg", "a slash"),
    ("nanoseconds", grant(limited(coin(1)), expiration=Timestamp(nanos=10**9)), f"{GRANTED}.expiration", "year 9999"),
    ("year 10000", grant(limited(coin(1)), expiration=Timestamp(seconds=Y10K)), f"{GRANTED}.expiration", "year 9999"),
    ("far", grant(limited(coin(1)), expiration=Timestamp(seconds=2**50)), f"{GRANTED}.expiration", "year 9999"),
    ("past", grant(limited(coin(1)), expiration=Timestamp(seconds=-1)), f"{GRANTED}.expiration.seconds", "higher"),
    ("revoke", payload(authz.MsgRevoke(granter=ME, grantee=OTHER)), f"{M}.msg_type_url", "must be a slash"),
    ("grantee", payload(authz.MsgRevoke(granter=ME, grantee="x")), f"{M}.grantee", "is not a Bech32 address"),
]


@pytest.mark.parametrize(("given", "field", "problem"), [row[1:] for row in GRANTS], ids=[row[0] for row in GRANTS])
def test_grants(given: Payload, field: str, problem: str) -> None:
    """A grant says to whom, what and until when, or it is refused."""
    check(given, field, problem)


def test_a_grant_may_last_until_the_year_9999_ends() -> None:
    """The last nanosecond that a timestamp can say is read, and rounded up."""
    last = grant(limited(coin(1)), expiration=Timestamp(seconds=Y10K - 1, nanos=999_999_999))
    assert [effect.expires_at for effect in parsed(last).effects] == [Y10K * 1000]


def ibc(**changes: str | bytes | None) -> Payload:
    """Return an IBC transfer with some fields changed; v4-proto has no class for it."""
    fields: dict[str, str | bytes | None] = {
        "port": "transfer", "channel": "channel-0", "token": coin(7).SerializeToString(), "sender": ME,
        "receiver": "noble1abc", "height": None, "timestamp": None, "memo": None, **changes,
    }  # fmt: skip
    value = b""
    for number, content in enumerate(fields.values(), 1):
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            length = bytes((len(data) & 127 | 128, len(data) >> 7)) if len(data) > 127 else bytes((len(data),))
            value += bytes((number << 3 | 2,)) + length + data
    return payload(PackedAny(type_url="/ibc.applications.transfer.v1.MsgTransfer", value=value))


IBC: list[Row] = [
    ("no token", ibc(token=None), f"{M}.token", "is missing"),
    ("port with a slash", ibc(port="a/b"), f"{M}.source_port", "is not a name of IBC"),
    ("no channel", ibc(channel=None), f"{M}.source_channel", "is not a name of IBC"),
    ("no receiver", ibc(receiver=None), f"{M}.receiver", "must be an address"),
    ("receiver with a memo", ibc(receiver="noble1abc?memo=1"), f"{M}.receiver", "must be an address"),
    ("long receiver", ibc(receiver="n" * 129), f"{M}.receiver", "at most 128"),
    ("long memo", ibc(memo="m" * 2049), f"{M}.memo", "longer than 2048"),
    ("memo with a line feed", ibc(memo="{\n}"), f"{M}.memo", "cannot be printed"),
    ("sender of another chain", ibc(sender=FOREIGN), f"{M}.sender", "dydx1"),
    ("time as bytes", ibc(timestamp=b"\x01"), f"{M}.timeout_timestamp", "wire type 2"),
]


@pytest.mark.parametrize(("given", "field", "problem"), [row[1:] for row in IBC], ids=[row[0] for row in IBC])
def test_ibc_transfers(given: Payload, field: str, problem: str) -> None:
    """A packet says by which channel, to whom and what, in one way, or it is refused."""
    check(given, field, problem)


def test_the_longest_receiver_is_named() -> None:
    """A receiver of 128 characters stands whole behind the way that it is reached."""
    assert parsed(ibc(receiver="n" * 128)).effects[0].destination == f"transfer/channel-0/{'n' * 128}"
