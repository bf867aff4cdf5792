"""Cosmos payloads made with the generated classes of v4-proto, and the same key in every test."""

from importlib import import_module
from typing import Any

import coincurve
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Intent, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import cosmos
from keyvault.intents.cosmos_address import account_of_key, address_text
from tests.intents.building import SECRET


def generated(name: str) -> Any:  # noqa: ANN401 v4-proto publishes no types
    """Return a module of v4-proto."""
    return import_module(f"v4_proto.{name}_pb2")


tx = generated("cosmos.tx.v1beta1.tx")
bank = generated("cosmos.bank.v1beta1.tx")
bank_authz = generated("cosmos.bank.v1beta1.authz")
authz = generated("cosmos.authz.v1beta1.tx")
authorizations = generated("cosmos.authz.v1beta1.authz")
coins = generated("cosmos.base.v1beta1.coin")
keys = generated("cosmos.crypto.secp256k1.keys")
orders = generated("dydxprotocol.clob.order")
clob = generated("dydxprotocol.clob.tx")
subaccounts = generated("dydxprotocol.subaccounts.subaccount")
transfers = generated("dydxprotocol.sending.transfer")
sending = generated("dydxprotocol.sending.tx")
accountplus = generated("dydxprotocol.accountplus.tx")

CHAIN = "dydx-mainnet-1"
NETWORK = f"cosmos:{CHAIN}"
OWN_COIN = "adydx"
USDC = "ibc/8E27BA2D5493AF5636760E354E46004562C46AB7EC0CC4C1CA14E9E20E2545B5"
COLLECTOR = "dydx17xpfvakm2amg962yls6f84z3kell8c5leqdyt2"
"""Of fees: ``TestModuleAccountsToAddresses`` of v4-chain."""
KEY = coincurve.PrivateKey(SECRET).public_key


def signer_of(compressed: bytes) -> Signer:
    """Return a signer from the compressed form of its key."""
    point = coincurve.PublicKey(compressed).format(compressed=False)
    return Signer(
        algorithm=KeyAlgorithm.SECP256K1, public_key=point, stamp=Stamp(at=UnixMillis(1_700_000_000_000), nonce=1)
    )


SIGNER = signer_of(KEY.format())
ME = address_text("dydx", account_of_key(SIGNER.public_key)[1])
OTHER = address_text("dydx", b"\x22" * 20)
STRANGER = address_text("dydx", b"\x33" * 20)


def packed(message: Message, type_url: str = "") -> PackedAny:
    """Return ``message`` inside Any, by its own type URL unless another is given."""
    return PackedAny(
        type_url=type_url or f"/{message.DESCRIPTOR.full_name}", value=message.SerializeToString(deterministic=True)
    )


def coin(amount: object, denomination: str = OWN_COIN) -> Message:
    made: Message = coins.Coin(denom=denomination, amount=str(amount))
    return made


def send(amount: object = 5, denomination: str = OWN_COIN, **changes: Any) -> Message:  # noqa: ANN401 any field
    """Return a transfer from the key's own account with some fields changed; ``coins`` are what it sends."""
    sent = changes.pop("coins", [coin(amount, denomination)])
    fields = {"from_address": ME, "to_address": OTHER, "amount": sent, **changes}
    made: Message = bank.MsgSend(**fields)
    return made


def order(**changes: Any) -> Message:  # noqa: ANN401 any field
    """Return a short-term order with some fields changed; ``order_id`` takes changes of the identity."""
    identity = {"subaccount_id": subaccounts.SubaccountId(owner=ME), "client_id": 77, **changes.pop("order_id", {})}
    fields = {"side": 1, "quantums": 10_000_000, "subticks": 40_000_000_000, "good_til_block": 123_456, **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    made: Message = orders.Order(order_id=orders.OrderId(**identity), **fields)
    return made


def place(**changes: Any) -> Message:  # noqa: ANN401 any field
    made: Message = clob.MsgPlaceOrder(order=order(**changes))
    return made


def body(*messages: Message, **changes: Any) -> bytes:  # noqa: ANN401 any field
    """Return the bytes of TxBody."""
    inside = [message if isinstance(message, PackedAny) else packed(message) for message in messages]
    made: bytes = tx.TxBody(messages=inside, **changes).SerializeToString(deterministic=True)
    return made


def signer_info(**changes: Any) -> Message:  # noqa: ANN401 any field
    fields = {
        "public_key": packed(keys.PubKey(key=KEY.format())),
        "mode_info": tx.ModeInfo(single=tx.ModeInfo.Single(mode=1)),
        "sequence": 7,
        **changes,
    }
    made: Message = tx.SignerInfo(**{name: value for name, value in fields.items() if value is not None})
    return made


def auth_info(*fee_coins: Message, sequence: int = 7, fee: dict[str, str] | None = None, **changes: Any) -> bytes:  # noqa: ANN401 any field
    """Return the bytes of AuthInfo, with these coins as the fee."""
    fields = {
        "signer_infos": [signer_info(sequence=sequence)],
        "fee": tx.Fee(amount=fee_coins, gas_limit=200_000, **(fee or {})),
        **changes,
    }
    made: bytes = tx.AuthInfo(**fields).SerializeToString(deterministic=True)
    return made


def document(body_bytes: bytes, auth_info_bytes: bytes | None = None, chain_id: str = CHAIN) -> Payload:
    """Return the payload of a SignDoc for the account with number 99."""
    made = tx.SignDoc(
        body_bytes=body_bytes,
        auth_info_bytes=auth_info() if auth_info_bytes is None else auth_info_bytes,
        chain_id=chain_id,
        account_number=99,
    )
    return raw(made.SerializeToString(deterministic=True))


def payload(*messages: Message, chain_id: str = CHAIN) -> Payload:
    """Return the payload of a transaction without memo and without a fee."""
    return document(body(*messages), chain_id=chain_id)


def raw(data: bytes) -> Payload:
    return Payload(kind=PayloadKind.COSMOS_SIGN_DOC, parts=(data,))


def parsed(given: Payload) -> Intent:
    return cosmos.parse(given, SIGNER)


def effects(*messages: Message, chain_id: str = CHAIN) -> tuple[Effect, ...]:
    return parsed(payload(*messages, chain_id=chain_id)).effects


def refusal(given: Payload, signer: Signer = SIGNER) -> tuple[str, str]:
    """Return field (below cosmos_sign_doc) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        cosmos.parse(given, signer)
    assert caught.value.field.split(".")[0] == cosmos.FIELD
    return caught.value.field.removeprefix(cosmos.FIELD).removeprefix("."), caught.value.problem
