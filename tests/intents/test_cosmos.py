"""Cosmos transactions: published vectors, the facts of each message, attacks and refusals."""

import base64
import hashlib
from dataclasses import replace
from typing import Any

import coincurve
import pytest
from embit import bech32  # type: ignore[import-untyped]  # embit publishes no types
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.timestamp_pb2 import Timestamp

from keyvault.core.errors import Broken, Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Payload
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import cosmos
from keyvault.intents.cosmos_address import account_of_key, address_text, fee_collector, read_account
from tests.intents.building import sign
from tests.intents.cosmos_building import (
    COLLECTOR,
    ME,
    NETWORK,
    OTHER,
    SIGNER,
    STRANGER,
    USDC,
    auth_info,
    authorizations,
    authz,
    bank,
    bank_authz,
    body,
    coin,
    document,
    effects,
    packed,
    parsed,
    payload,
    raw,
    refusal,
    send,
    signer_of,
    tx,
)

TRANSFER = Effect(operation=Operation.TRANSFER, network=NETWORK, destination=OTHER, amount=5, fee_max=0, asset="adydx")
"""What ``send()`` does."""

# Published vectors -------------------------------------------------------------------------------------------

SENT = base64.b64decode(
    "CowBCokBChwvY29zbW9zLmJhbmsudjFiZXRhMS5Nc2dTZW5kEmkKLWNvc21vczFoc2s2anJ5eXFqZmhwNWRoYzU1dGM5anRja3lneDBlcGg2ZGQw"
    "MhItY29zbW9zMXp0NTBhenVwYW5xbGZhbTVhZmh2M2hleHd5dXRudWtlaDRjNTczGgkKBG11b24SATESZQpQCkYKHy9jb3Ntb3MuY3J5cHRvLnNl"
    "Y3AyNTZrMS5QdWJLZXkSIwohAlcobsPzfTNVe7uqAAsndErJAjqplnyudaGB0f+R+p3FEgQKAggBGAgSEQoLCgRtdW9uEgMyMDAQwJoMGkD54fQA"
    "FlekIAnE62hZYl0uQelh/HLv0oQpCciY5Dn8H1SZFuTsrGdu41PH1Uxa4woptCELi/8Ov9yzdeEFAC9H"
)
"""Trust Wallet Core, ``tw_cosmos_sdk/tests/sign.rs``: account 1037 of gaia-13003."""
SENT_BY_IBC = base64.b64decode(
    "Cr4BCrsBCikvaWJjLmFwcGxpY2F0aW9ucy50cmFuc2Zlci52MS5Nc2dUcmFuc2ZlchKNAQoIdHJhbnNmZXISC2NoYW5uZWwtMTQxGg8KBXVhdG9t"
    "EgYxMDAwMDAiLWNvc21vczFta3k2OWNuOGVrdHd5MDg0NXZlYzl1cHNkcGhrdHh0MDNna3dseCorb3NtbzE4czBoZG5zbGxnY2Nsd2V1OWF5bXc0"
    "bmdrdHIyazBya3ZuN2ptbjIHCAEQgI6ZBBJoClAKRgofL2Nvc21vcy5jcnlwdG8uc2VjcDI1NmsxLlB1YktleRIjCiEC7O9c5DejAsZ/lUaN5LMf"
    "NukR9GfX5qUrQcHhPh1WNkkSBAoCCAEYAhIUCg4KBXVhdG9tEgUxMjUwMBCgwh4aQK0HIWdFMk+C6Gi1KG/vELe1ffcc1aEWUIqz2t/ZhwqNNHxU"
    "USp27wteiugHEMVTEIOBhs84t2gIcT/nD/1yKOU="
)
"""The same file: a transaction that is on cosmoshub-4, account 546179."""


def unsigned(sent: bytes, chain_id: str, account_number: int) -> tuple[Payload, bytes, bytes]:
    """Return the SignDoc of a published transaction, its signature, and the compressed key."""
    parts = tx.TxRaw.FromString(sent)
    made = tx.SignDoc(
        body_bytes=parts.body_bytes,
        auth_info_bytes=parts.auth_info_bytes,
        chain_id=chain_id,
        account_number=account_number,
    )
    (signed_by,) = tx.AuthInfo.FromString(parts.auth_info_bytes).signer_infos
    return raw(made.SerializeToString(deterministic=True)), parts.signatures[0], signed_by.public_key.value[2:]


def parsed_vector(sent: bytes, chain_id: str, account_number: int) -> tuple[Intent, bytes]:
    """Return the intent of a published transaction and its hash; its signature must be good for what is signed."""
    given, signature, key = unsigned(sent, chain_id, account_number)
    intent = cosmos.parse(given, signer_of(key))
    der = coincurve.ecdsa.cdata_to_der(coincurve.ecdsa.deserialize_compact(signature))
    assert coincurve.PublicKey(key).verify(der, intent.signing_input, hasher=None)
    output = cosmos.assemble(given, signer_of(key), Signature(value=signature, recovery_id=0))
    assert output.raw == sent
    return intent, output.transaction_hash


def test_vector_of_a_transfer() -> None:
    """A published transfer: its signature fits, its bytes come again; on an unknown chain the fee is a transfer."""
    intent, transaction_hash = parsed_vector(SENT, "gaia-13003", 1037)
    assert transaction_hash == hashlib.sha256(SENT).digest()
    transfer = Effect(
        operation=Operation.TRANSFER,
        network="cosmos:gaia-13003",
        destination="cosmos1zt50azupanqlfam5afhv3hexwyutnukeh4c573",
        amount=1,
        asset="muon",
    )
    collector = "cosmos17xpfvakm2amg962yls6f84z3kell8c5lserqta"
    assert intent.effects == (transfer, replace(transfer, destination=collector, amount=200, fee_max=0))
    assert intent.slot == "cosmos:gaia-13003:1037:8"


def test_vector_of_an_ibc_transfer() -> None:
    """A transaction of cosmoshub-4 gives the hash that it has there; channel and receiver are its destination."""
    intent, transaction_hash = parsed_vector(SENT_BY_IBC, "cosmoshub-4", 546_179)
    assert transaction_hash.hex() == "817101f3d96314ad028733248b28bafad535024d7d2c8875d3fe31dc159f096b"
    transfer = Effect(
        operation=Operation.TRANSFER,
        network="cosmos:cosmoshub-4",
        destination="transfer/channel-141/osmo18s0hdnsllgcclweu9aymw4ngktr2k0rkvn7jmn",
        amount=100_000,
        fee_max=12_500,
        asset="uatom",
        contract="transfer/channel-141",
    )
    assert intent.effects == (transfer,)
    assert intent.completeness is Completeness.FULL
    assert intent.expires_at is None


def test_vector_with_written_defaults() -> None:
    """The vectors of cosmjs 0.24 write empty fields, which ADR-027 forbids: refused where the first one stands."""
    data = bytes.fromhex(
        "0a97010a90010a1c2f636f736d6f732e62616e6b2e763162657461312e4d736753656e6412700a2d636f736d6f7331706b707472653766"
        "646b6c366766727a6c65736a6a766878686c63337234676d6d6b38727336122d636f736d6f7331717970717870713971637273737a6732"
        "70767871367273307a716733797963356c7a763778751a100a0575636f736d12073132333435363712001800126b0a500a460a1f2f636f"
        "736d6f732e63727970746f2e736563703235366b312e5075624b657912230a21034f04181eeba35391b858633a765c4a0c189697b40d21"
        "6354d50890d350c7029012040a020801180012170a0d0a0575636f736d12043230303010c09a0c1a0022001a0c73696d642d7465737469"
        "6e672001"
    )
    field, problem = refusal(raw(data))
    assert (field, "its default" in problem) == ("body.memo", True)


def test_address_of_a_key() -> None:
    """The faucet's key of cosmjs has the faucet's address, and a module's address is that of v4-chain's tests."""
    key = base64.b64decode("A08EGB7ro1ORuFhjOnZcSgwYlpe0DSFjVNUIkNNQxwKQ")
    compressed, identity = account_of_key(signer_of(key).public_key)
    assert compressed == key
    assert address_text("cosmos", identity) == "cosmos1pkptre7fdkl6gfrzlesjjvhxhlc3r4gmmk8rs6"
    assert fee_collector("dydx") == COLLECTOR


@pytest.mark.parametrize("size", [20, 32])
def test_addresses_by_embit(size: int) -> None:
    """Addresses are those that embit writes and reads, for accounts of keys and of code."""
    for seed in range(200):
        identity = hashlib.sha256(bytes((seed,))).digest()[:size]
        text = bech32.bech32_encode(
            bech32.Encoding.BECH32,
            f"c{seed}",
            bech32.convertbits(identity, 8, 5, True),  # noqa: FBT003 padding
        )
        assert address_text(f"c{seed}", identity) == text
        account = read_account(text, "a")
        assert (account.text, account.prefix, account.identity) == (text, f"c{seed}", identity)


@pytest.mark.parametrize("digits", [[1] * 33, [1] * 51 + [17], [1] * 53])
def test_addresses_have_one_spelling(digits: list[int]) -> None:
    """A digit too many, or bits set behind the last byte, are refused though the checksum is right."""
    with pytest.raises(Malformed, match=r"one way to write|20 or 32 bytes"):
        read_account(bech32.bech32_encode(bech32.Encoding.BECH32, "dydx", digits), "a")


# What messages do --------------------------------------------------------------------------------------------


def test_transfer_states_everything() -> None:
    """A transfer is understood in full: receiver with memo, amount, denomination, fee, account and sequence."""
    intent = parsed(document(body(send(), memo="12345"), auth_info(coin(900))))
    assert intent.effects == (replace(TRANSFER, destination=f"{OTHER}?memo=12345", fee_max=900),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert (
        intent.signing_input
        == hashlib.sha256(document(body(send(), memo="12345"), auth_info(coin(900))).parts[0]).digest()
    )
    assert intent.binds == {Bound.BODY, Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE}
    assert (intent.slot, intent.not_before, intent.expires_at) == (f"{NETWORK}:99:7", None, None)
    assert (intent.issued_at, intent.stamped) == (None, False)


def test_every_coin_and_every_message_is_a_transfer() -> None:
    """L2: coins and messages are all effects, in their order; the fee stands on the first one only."""
    many = send(coins=[coin(1), coin(2, USDC)])
    intent = parsed(document(body(many, send(3)), auth_info(coin(900))))
    assert intent.effects == (
        replace(TRANSFER, amount=1, fee_max=900),
        replace(TRANSFER, amount=2, asset=USDC),
        replace(TRANSFER, amount=3),
    )


def test_transfer_of_another_account_has_a_source() -> None:
    """Whose coins they are is stated when they are not the key's own: authenticators of dYdX allow that."""
    assert effects(send(from_address=STRANGER)) == (replace(TRANSFER, source=STRANGER),)


def test_fee_in_another_coin_is_a_transfer() -> None:
    """A31: the same number of another coin may be worth a million times more, so it is not ``fee_max``."""
    intent = parsed(document(body(send()), auth_info(coin(900), coin(10**12, USDC))))
    burnt = replace(TRANSFER, destination=COLLECTOR, amount=10**12, asset=USDC)
    assert intent.effects == (replace(TRANSFER, fee_max=900), burnt)
    assert parsed(document(body(send()), auth_info(coin(10**12, USDC)))).effects == (TRANSFER, burnt)


def test_fee_of_nothing() -> None:
    """No coin, and 0 of a coin, are both no fee."""
    assert parsed(document(body(send()), auth_info(coin(0)))).effects == (TRANSFER,)
    assert parsed(document(body(send()), auth_info(coin(0)), "unknown-1")).effects[0].fee_max == 0


def test_fee_of_an_unknown_chain_and_message() -> None:
    """Who takes the fee is unknown where no message names an account: destination and ``fee_max`` stay open."""
    given = document(body(PackedAny(type_url="/a.B")), auth_info(coin(5, "uxyz")), "unknown-1")
    network = "cosmos:unknown-1"
    assert parsed(given).effects == (
        Effect(operation=Operation.OPAQUE, network=network, contract="/a.B"),
        Effect(operation=Operation.TRANSFER, network=network, amount=5, asset="uxyz", fee_max=0),
    )


def test_timeout_height_bounds_without_a_time() -> None:
    """A height binds the end, whose time nobody here knows."""
    intent = parsed(document(body(send(), timeout_height=5)))
    assert Bound.EXPIRY in intent.binds
    assert intent.expires_at is None


def grant(authorization: PackedAny, **changes: Any) -> Any:  # noqa: ANN401 a generated message
    return authz.MsgGrant(
        granter=ME, grantee=STRANGER, grant=authorizations.Grant(authorization=authorization, **changes)
    )


def test_grant_to_send_is_an_allowance() -> None:
    """A SendAuthorization lets the grantee send coins: an ALLOWANCE for each, until it expires."""
    limit = bank_authz.SendAuthorization(spend_limit=[coin(1), coin(2, USDC)], allow_list=[OTHER])
    intent = parsed(payload(grant(packed(limit), expiration=Timestamp(seconds=1_800_000_000, nanos=1))))
    first = Effect(
        operation=Operation.ALLOWANCE,
        network=NETWORK,
        destination=STRANGER,
        amount=1,
        fee_max=0,
        asset="adydx",
        expires_at=UnixMillis(1_800_000_000_001),
    )
    assert intent.effects == (first, replace(first, amount=2, asset=USDC))
    assert intent.completeness is Completeness.FULL
    assert intent.expires_at is None


@pytest.mark.parametrize(
    ("authorization", "contract", "completeness"),
    [
        (
            packed(authorizations.GenericAuthorization(msg="/cosmos.bank.v1beta1.MsgSend")),
            "/cosmos.bank.v1beta1.MsgSend",
            Completeness.FULL,
        ),
        (
            PackedAny(type_url="/cosmos.staking.v1beta1.StakeAuthorization", value=b"\x08\x01"),
            "/cosmos.staking.v1beta1.StakeAuthorization",
            Completeness.PARTIAL,
        ),
    ],
)
def test_grant_to_act_is_a_key_grant(authorization: PackedAny, contract: str, completeness: Completeness) -> None:
    """Whoever may have messages of this account executed is as good as a key of it."""
    intent = parsed(payload(grant(authorization)))
    expected = Effect(
        operation=Operation.KEY_GRANT, network=NETWORK, destination=STRANGER, fee_max=0, contract=contract
    )
    assert (intent.effects, intent.completeness) == ((expected,), completeness)


def test_revoking_is_setup() -> None:
    """Taking a grant back moves nothing."""
    message = authz.MsgRevoke(granter=ME, grantee=STRANGER, msg_type_url="/cosmos.bank.v1beta1.MsgSend")
    (effect,) = effects(message)
    assert effect == Effect(
        operation=Operation.SETUP,
        network=NETWORK,
        destination=STRANGER,
        fee_max=0,
        contract="/cosmos.bank.v1beta1.MsgSend",
    )


def ibc(*pairs: tuple[int, bytes]) -> PackedAny:
    """Return an IBC transfer from fields with a length; v4-proto has no class for it."""
    fields = {
        1: b"transfer",
        2: b"channel-0",
        3: coin(7).SerializeToString(),
        4: ME.encode(),
        5: b"noble1abc",
        **dict(pairs),
    }
    value = b"".join(bytes((number << 3 | 2, len(data))) + data for number, data in sorted(fields.items()) if data)
    return PackedAny(type_url="/ibc.applications.transfer.v1.MsgTransfer", value=value)


def test_ibc_memo_may_send_further() -> None:
    """The packet's own memo belongs to the destination; the transaction's does not travel."""
    given = document(body(ibc((6, b""), (8, b'{"forward":1}')), memo="not for the receiver"))
    (effect,) = parsed(given).effects
    assert effect.destination == 'transfer/channel-0/noble1abc?memo={"forward":1}'


def test_ibc_timeout_bounds_nothing() -> None:
    """The timeout is held against what is known of the other chain's clock: on a dead channel it never comes."""
    timeout = b"\x38" + bytes.fromhex("8180b8e1a3d0fbdd17")
    message = ibc()
    intent = parsed(payload(PackedAny(type_url=message.type_url, value=message.value + timeout), send()))
    assert [effect.expires_at for effect in intent.effects] == [None, None]
    assert (intent.expires_at, Bound.EXPIRY in intent.binds) == (None, False)


# Attacks -----------------------------------------------------------------------------------------------------

HIDDEN = authz.MsgExec(grantee=ME, msgs=[packed(send(10**18, from_address=STRANGER))])
MANY = bank.MsgMultiSend(inputs=[{"address": ME}], outputs=[{"address": STRANGER}])


@pytest.mark.parametrize(
    ("message", "contract"),
    [
        (packed(HIDDEN), "/cosmos.authz.v1beta1.MsgExec"),
        (packed(MANY), "/cosmos.bank.v1beta1.MsgMultiSend"),
        (PackedAny(type_url="/cosmos.staking.v1beta1.MsgDelegate"), "/cosmos.staking.v1beta1.MsgDelegate"),
        (PackedAny(type_url="/cosmos.gov.v1.MsgVote", value=b"\xff"), "/cosmos.gov.v1.MsgVote"),
    ],
)
def test_what_is_not_known_is_opaque(message: PackedAny, contract: str) -> None:
    """Messages in MsgExec, and those that nobody here knows, make the whole transaction OPAQUE, by name."""
    opaque = Effect(operation=Operation.OPAQUE, network=NETWORK, fee_max=0, contract=contract)
    for messages, expected in (((message,), (opaque,)), ((send(), message), (TRANSFER, opaque))):
        intent = parsed(payload(*messages))
        assert (intent.effects, intent.completeness) == (expected, Completeness.OPAQUE)


# Assembling --------------------------------------------------------------------------------------------------


def test_assembled_transaction_is_one_that_v4_proto_reads() -> None:
    """The signed transaction has the parts as they were, and one signature, r||s, which fits the key."""
    given = document(body(send(), memo="a"), auth_info(coin(1)))
    signature = sign(parsed(given).signing_input)
    output = cosmos.assemble(given, SIGNER, signature)
    sent = tx.TxRaw.FromString(output.raw)
    signed = tx.SignDoc.FromString(given.parts[0])
    assert (sent.body_bytes, sent.auth_info_bytes) == (signed.body_bytes, signed.auth_info_bytes)
    assert list(sent.signatures) == [signature.value]
    assert output.raw == sent.SerializeToString(deterministic=True)
    assert output.transaction_hash == hashlib.sha256(output.raw).digest()


@pytest.mark.parametrize("signature", [b"", b"\x01" * 63, b"\x01" * 65, bytes(64)])
def test_signature_of_another_form_breaks(signature: bytes) -> None:
    """What is no secp256k1 signature is never sent."""
    with pytest.raises(Broken):
        cosmos.assemble(payload(send()), SIGNER, Signature(value=signature, recovery_id=0))
