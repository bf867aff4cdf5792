"""What messages of the Cosmos SDK and of IBC do.

- ``MsgSend``: a TRANSFER for each coin.
- ``MsgTransfer`` (IBC): a TRANSFER to ``{port}/{channel}/{receiver}``: who runs the chain behind a channel has what is
  sent there, so the receiver alone says nothing. Its own memo may send the coins on and is shown as that of a transfer.
  Its timeout is that chain's clock, as far as this one has heard of it: it bounds nothing.
- ``MsgGrant`` (authz): an ALLOWANCE for each coin of a SendAuthorization, to whomever it may send; otherwise a
  KEY_GRANT, where ``contract`` is the message that the grantee may have executed, or the kind of authorization.
- ``MsgRevoke``: SETUP.

Everything else is OPAQUE, with its type URL as ``contract``: MsgExec, which holds messages of other accounts,
MsgMultiSend, staking, governance, fee grants, contracts.
"""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.intents.cosmos_address import Account, fee_collector
from keyvault.intents.cosmos_meaning import Around, Meaning, Readers, read_coin, read_coins, read_type_url
from keyvault.intents.cosmos_messages import (
    GENERIC_AUTHORIZATION,
    GRANT,
    IBC_TRANSFER,
    REVOKE,
    SEND,
    SEND_AUTHORIZATION,
)
from keyvault.intents.protobuf_wire import (
    Values,
    decode,
    message_of,
    messages_of,
    number_of,
    octets_of,
    text_of,
)

_IBC_NAME = re.compile(r"[A-Za-z0-9._+#\[\]<>-]{2,128}", re.ASCII)
"""Port and channel: ICS-24, host requirements."""
_IBC_RECEIVER = re.compile(r"[A-Za-z0-9._:@+-]+", re.ASCII)
_SEND_AUTHORIZATION: Final = "/cosmos.bank.v1beta1.SendAuthorization"
_GENERIC_AUTHORIZATION: Final = "/cosmos.authz.v1beta1.GenericAuthorization"
_SECONDS_MAX = 253_402_300_799
"""End of the year 9999: google/protobuf/timestamp.proto."""
_NANOS_MAX = 999_999_999
_NANOS_PER_MILLI = 1_000_000


def _send(values: Values, where: str, around: Around) -> Meaning:
    sender = around.account(values, "from_address", where)
    receiver = around.account(values, "to_address", where)
    if receiver.prefix != sender.prefix:
        raise Malformed(f"{where}.to_address", "is an address of another chain")
    effects = tuple(
        Effect(
            operation=Operation.TRANSFER,
            network=around.network,
            fee_max=0,
            destination=around.payee(receiver),
            amount=amount,
            asset=denomination,
            source=around.source(sender),
            via=around.via,
        )
        for denomination, amount in read_coins(messages_of(values, "amount"), f"{where}.amount")
    )
    return Meaning(account=sender, effects=effects)


def _ibc_transfer(values: Values, where: str, around: Around) -> Meaning:
    sender = around.account(values, "sender", where)
    receiver = text_of(values, "receiver")
    if len(receiver) > limits.EXCHANGE_FACT_CHARS_MAX or not _IBC_RECEIVER.fullmatch(receiver):
        raise Malformed(f"{where}.receiver", "must be an address: A-Z a-z 0-9 . _ : @ + -, at most 128")
    port, channel = (_ibc_name(values, name, where) for name in ("source_port", "source_channel"))
    memo = read_memo(values, where, limits.COSMOS_PACKET_MEMO_CHARS_MAX)
    denomination, amount = read_coin(message_of(values, "token", where), f"{where}.token")
    effect = Effect(
        operation=Operation.TRANSFER,
        network=around.network,
        fee_max=0,
        destination=f"{port}/{channel}/{receiver}" + (f"?memo={memo}" if memo else ""),
        amount=amount,
        asset=denomination,
        source=around.source(sender),
        contract=f"{port}/{channel}",
        via=around.via,
    )
    return Meaning(account=sender, effects=(effect,))


def _grant(values: Values, where: str, around: Around) -> Meaning:
    granter = around.account(values, "granter", where)
    grantee = around.account(values, "grantee", where)
    grant = message_of(values, "grant", where)
    place = f"{where}.grant.authorization"
    authorization = message_of(grant, "authorization", f"{where}.grant")
    kind = read_type_url(text_of(authorization, "type_url"), f"{place}.type_url")
    content = octets_of(authorization, "value")
    ends = _expiration(grant, f"{where}.grant.expiration")
    if kind == _SEND_AUTHORIZATION:
        limit = messages_of(decode(SEND_AUTHORIZATION, content, place), "spend_limit")
        coins: Sequence[tuple[str | None, int | None]] = read_coins(limit, f"{place}.spend_limit")
        operation, contract = Operation.ALLOWANCE, None
    else:
        coins = ((None, None),)
        operation, contract = Operation.KEY_GRANT, kind
    if kind == _GENERIC_AUTHORIZATION:
        granted = text_of(decode(GENERIC_AUTHORIZATION, content, place), "msg")
        contract = read_type_url(granted, f"{place}.msg")
    effects = tuple(
        Effect(
            operation=operation,
            network=around.network,
            fee_max=0,
            destination=grantee.text,
            amount=amount,
            asset=denomination,
            source=around.source(granter),
            contract=contract,
            via=around.via,
            expires_at=ends,
        )
        for denomination, amount in coins
    )
    return Meaning(account=granter, effects=effects, full=kind in (_SEND_AUTHORIZATION, _GENERIC_AUTHORIZATION))


def _revoke(values: Values, where: str, around: Around) -> Meaning:
    granter = around.account(values, "granter", where)
    effect = Effect(
        operation=Operation.SETUP,
        network=around.network,
        fee_max=0,
        destination=around.account(values, "grantee", where).text,
        source=around.source(granter),
        contract=read_type_url(text_of(values, "msg_type_url"), f"{where}.msg_type_url"),
        via=around.via,
    )
    return Meaning(account=granter, effects=(effect,))


def fee_effect(coin: tuple[str, int], payer: Account | None, around: Around) -> Effect:
    """Return the TRANSFER that a fee is, where it is not in the chain's own coin."""
    denomination, amount = coin
    return Effect(
        operation=Operation.TRANSFER,
        network=around.network,
        fee_max=0,
        destination=fee_collector(payer.prefix) if payer else None,
        amount=amount,
        asset=denomination,
        source=around.source(payer) if payer else None,
        via=around.via,
    )


def read_memo(values: Values, where: str, chars_max: int) -> str:
    """Return the memo of a transaction or packet; empty if it has none."""
    memo = text_of(values, "memo")
    if len(memo) > chars_max:
        raise Malformed(f"{where}.memo", f"is longer than {chars_max} characters")
    if not memo.isprintable():
        raise Malformed(f"{where}.memo", "has a character that cannot be printed")
    return memo


def _ibc_name(values: Values, name: str, where: str) -> str:
    text = text_of(values, name)
    if not _IBC_NAME.fullmatch(text):
        raise Malformed(f"{where}.{name}", "is not a name of IBC (ICS-24)")
    return text


def _expiration(grant: Values, where: str) -> UnixMillis | None:
    """Return when a grant ends, rounded up to a millisecond; None: never."""
    if "expiration" not in grant:
        return None
    timestamp = message_of(grant, "expiration", where)
    seconds, nanos = number_of(timestamp, "seconds"), number_of(timestamp, "nanos")
    if seconds > _SECONDS_MAX or nanos > _NANOS_MAX:
        raise Malformed(where, "is after the year 9999, or has more than a second of nanoseconds")
    return UnixMillis(seconds * 1000 - (-nanos // _NANOS_PER_MILLI))


READERS: Final[Readers] = MappingProxyType(
    {
        "/cosmos.bank.v1beta1.MsgSend": (SEND, _send),
        "/ibc.applications.transfer.v1.MsgTransfer": (IBC_TRANSFER, _ibc_transfer),
        "/cosmos.authz.v1beta1.MsgGrant": (GRANT, _grant),
        "/cosmos.authz.v1beta1.MsgRevoke": (REVOKE, _revoke),
    }
)
