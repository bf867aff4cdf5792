"""Descriptions of the messages that a Cosmos transaction consists of, and of those whose meaning is known.

Sources: github.com/cosmos/cosmos-sdk v0.50 ``proto/cosmos/{tx,bank,authz,base,crypto}``; github.com/cosmos/ibc-go v8
``proto/ibc/applications/transfer/v1/tx.proto``. Fields that are there only to be refused by name are said to be bytes.
"""

from typing import Final

from keyvault.intents.protobuf_wire import (
    Message,
    int32,
    int64,
    nested,
    octets,
    string,
    uint64,
)

ANY: Final = Message("Any", (string(1, "type_url"), octets(2, "value")))
COIN: Final = Message("Coin", (string(1, "denom"), string(2, "amount")))
TIMESTAMP: Final = Message("Timestamp", (int64(1, "seconds"), int32(2, "nanos")))

# The transaction ---------------------------------------------------------------------------------------------

SIGN_DOC: Final = Message(
    "SignDoc",
    (
        octets(1, "body_bytes"),
        octets(2, "auth_info_bytes"),
        string(3, "chain_id"),
        uint64(4, "account_number"),
    ),
)
TX_RAW: Final = Message(
    "TxRaw", (octets(1, "body_bytes"), octets(2, "auth_info_bytes"), octets(3, "signatures", repeated=True))
)
TX_BODY: Final = Message(
    "TxBody",
    (
        nested(1, "messages", ANY, repeated=True),
        string(2, "memo"),
        uint64(3, "timeout_height"),
        nested(1023, "extension_options", ANY, repeated=True),
        nested(2047, "non_critical_extension_options", ANY, repeated=True),
    ),
)
_SINGLE: Final = Message("ModeInfo.Single", (int32(1, "mode"),))
_MODE_INFO: Final = Message("ModeInfo", (nested(1, "single", _SINGLE), octets(2, "multi")), (("single", "multi"),))
_SIGNER_INFO: Final = Message(
    "SignerInfo", (nested(1, "public_key", ANY), nested(2, "mode_info", _MODE_INFO), uint64(3, "sequence"))
)
_FEE: Final = Message(
    "Fee",
    (
        nested(1, "amount", COIN, repeated=True),
        uint64(2, "gas_limit"),
        string(3, "payer"),
        string(4, "granter"),
    ),
)
AUTH_INFO: Final = Message(
    "AuthInfo", (nested(1, "signer_infos", _SIGNER_INFO, repeated=True), nested(2, "fee", _FEE), octets(3, "tip"))
)
PUBLIC_KEY: Final = Message("PubKey", (octets(1, "key"),))

# What it does ------------------------------------------------------------------------------------------------

SEND: Final = Message(
    "MsgSend", (string(1, "from_address"), string(2, "to_address"), nested(3, "amount", COIN, repeated=True))
)
_HEIGHT: Final = Message("Height", (uint64(1, "revision_number"), uint64(2, "revision_height")))
IBC_TRANSFER: Final = Message(
    "MsgTransfer",
    (
        string(1, "source_port"),
        string(2, "source_channel"),
        nested(3, "token", COIN),
        string(4, "sender"),
        string(5, "receiver"),
        nested(6, "timeout_height", _HEIGHT),
        uint64(7, "timeout_timestamp"),
        string(8, "memo"),
    ),
)
_GRANT: Final = Message("Grant", (nested(1, "authorization", ANY), nested(2, "expiration", TIMESTAMP)))
GRANT: Final = Message("MsgGrant", (string(1, "granter"), string(2, "grantee"), nested(3, "grant", _GRANT)))
REVOKE: Final = Message("MsgRevoke", (string(1, "granter"), string(2, "grantee"), string(3, "msg_type_url")))
GENERIC_AUTHORIZATION: Final = Message("GenericAuthorization", (string(1, "msg"),))
SEND_AUTHORIZATION: Final = Message(
    "SendAuthorization", (nested(1, "spend_limit", COIN, repeated=True), string(2, "allow_list", repeated=True))
)
