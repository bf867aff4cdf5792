"""Descriptions of the messages of the dYdX chain whose meaning is known.

Source: github.com/dydxprotocol/v4-chain ``proto/dydxprotocol/{clob,sending,accountplus,subaccounts}``.
"""

from typing import Final

from keyvault.intents.protobuf_wire import (
    Message,
    boolean,
    fixed32,
    int32,
    nested,
    octets,
    packed32,
    packed64,
    string,
    uint32,
    uint64,
)

_GOOD_TIL: Final = (("good_til_block", "good_til_block_time"),)

_SUBACCOUNT: Final = Message("SubaccountId", (string(1, "owner"), uint32(2, "number")))

# Orders ------------------------------------------------------------------------------------------------------

_ORDER_ID: Final = Message(
    "OrderId",
    (
        nested(1, "subaccount_id", _SUBACCOUNT),
        fixed32(2, "client_id"),
        uint32(3, "order_flags"),
        uint32(4, "clob_pair_id"),
    ),
)
_TWAP: Final = Message("TwapParameters", (uint32(1, "duration"), uint32(2, "interval"), uint32(3, "price_tolerance")))
_BUILDER: Final = Message("BuilderCodeParameters", (string(1, "builder_address"), uint32(2, "fee_ppm")))
_ORDER: Final = Message(
    "Order",
    (
        nested(1, "order_id", _ORDER_ID),
        int32(2, "side"),
        uint64(3, "quantums"),
        uint64(4, "subticks"),
        uint32(5, "good_til_block", presence=True),
        fixed32(6, "good_til_block_time", presence=True),
        int32(7, "time_in_force"),
        boolean(8, "reduce_only"),
        uint32(9, "client_metadata"),
        int32(10, "condition_type"),
        uint64(11, "conditional_order_trigger_subticks"),
        nested(12, "twap_parameters", _TWAP),
        nested(13, "builder_code_parameters", _BUILDER),
        string(14, "order_router_address"),
    ),
    _GOOD_TIL,
)
PLACE_ORDER: Final = Message("MsgPlaceOrder", (nested(1, "order", _ORDER),))
CANCEL_ORDER: Final = Message(
    "MsgCancelOrder",
    (
        nested(1, "order_id", _ORDER_ID),
        uint32(2, "good_til_block", presence=True),
        fixed32(3, "good_til_block_time", presence=True),
    ),
    _GOOD_TIL,
)
_ORDER_BATCH: Final = Message("OrderBatch", (uint32(1, "clob_pair_id"), packed32(2, "client_ids")))
BATCH_CANCEL: Final = Message(
    "MsgBatchCancel",
    (
        nested(1, "subaccount_id", _SUBACCOUNT),
        nested(2, "short_term_cancels", _ORDER_BATCH, repeated=True),
        uint32(3, "good_til_block"),
    ),
)

# Assets ------------------------------------------------------------------------------------------------------

_TRANSFER: Final = Message(
    "Transfer",
    (
        nested(1, "sender", _SUBACCOUNT),
        nested(2, "recipient", _SUBACCOUNT),
        uint32(3, "asset_id"),
        uint64(4, "amount"),
    ),
)
CREATE_TRANSFER: Final = Message("MsgCreateTransfer", (nested(1, "transfer", _TRANSFER),))
DEPOSIT: Final = Message(
    "MsgDepositToSubaccount",
    (string(1, "sender"), nested(2, "recipient", _SUBACCOUNT), uint32(3, "asset_id"), uint64(4, "quantums")),
)
WITHDRAW: Final = Message(
    "MsgWithdrawFromSubaccount",
    (string(1, "recipient"), nested(2, "sender", _SUBACCOUNT), uint32(3, "asset_id"), uint64(4, "quantums")),
)

# Keys --------------------------------------------------------------------------------------------------------

ADD_AUTHENTICATOR: Final = Message(
    "MsgAddAuthenticator", (string(1, "sender"), string(2, "authenticator_type"), octets(3, "data"))
)
REMOVE_AUTHENTICATOR: Final = Message("MsgRemoveAuthenticator", (string(1, "sender"), uint64(2, "id")))
TX_EXTENSION: Final = Message("TxExtension", (packed64(1, "selected_authenticators"),))
