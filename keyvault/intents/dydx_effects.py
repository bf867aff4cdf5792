"""What messages of the dYdX chain do (v4-chain, ``protocol/x/{clob,sending,accountplus}``).

Orders are in quantums and subticks, whole numbers whose unit belongs to the pair and stands on the chain, not in the
bytes. So ``quantity`` and ``price`` are None; ``amount`` is the quantums, of the asset ``quantums:{pair}``: one pair's
compare with no other's. The pair is ``clob-pair:{id}``.

Subaccounts are ``{owner}/{number}``; every effect at the venue has the one whose asset it is as ``source``. Assets are
``asset:{id}``; 0 is USDC in millionths.

Short-term orders and cancels (flags 0) are taken without a look at the account's sequence, and again until
``good_til_block``: only the identity of the order stops a second one, and only for some blocks after. Their slot is
therefore that identity and the block. They are valid up to a height, whose time is not known here.

A builder takes a fee of every fill, up to 1 %: an ALLOWANCE of unknown amount to the builder. The order router has a
share of what the protocol takes anyway.

``MsgAddAuthenticator`` is a KEY_GRANT; the new key is stated where it is the one thing that the authenticator checks.
Otherwise its destination is unknown, and so is what it may do. Messages that are not here are OPAQUE.
"""

from types import MappingProxyType
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import TRIGGER, Effect, Operation
from keyvault.intents.cosmos_address import Account
from keyvault.intents.cosmos_meaning import Around, Meaning, Readers
from keyvault.intents.dydx_messages import (
    ADD_AUTHENTICATOR,
    BATCH_CANCEL,
    CANCEL_ORDER,
    CREATE_TRANSFER,
    DEPOSIT,
    PLACE_ORDER,
    REMOVE_AUTHENTICATOR,
    WITHDRAW,
)
from keyvault.intents.protobuf_wire import (
    Values,
    message_of,
    messages_of,
    number_of,
    numbers_of,
    octets_of,
    text_of,
)
from keyvault.intents.venue_trigger import joined

PREFIX: Final = "dydx"
VENUE: Final = "dydx"

_SHORT_TERM, _CONDITIONAL, _TWAP = 0, 32, 128
_FLAGS = frozenset({_SHORT_TERM, _CONDITIONAL, 64, _TWAP})
_SIDES = {1: "BUY", 2: "SELL"}
_TIMES_IN_FORCE = {0: "GTT", 1: "IOC", 2: "POST_ONLY"}
_CONDITIONS = frozenset({1, 2})
_FEE_PPM_MAX = 10_000
_SIGNATURE_VERIFICATION: Final = "SignatureVerification"
_KEY_BYTES = 33
_MILLIS = 1000


def _place_order(values: Values, where: str, around: Around) -> Meaning:
    place = f"{where}.order"
    order = message_of(values, "order", where)
    identity = message_of(order, "order_id", place)
    flags = _flags(identity, f"{place}.order_id")
    owner, subaccount = _subaccount(identity, "subaccount_id", f"{place}.order_id", around)
    until, block = _good_til(order, flags, place)
    _check_conditions(order, flags, place)
    pair = number_of(identity, "clob_pair_id")
    effect = Effect(
        operation=Operation.REDUCE if number_of(order, "reduce_only") else Operation.ORDER,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        amount=_positive(order, "quantums", place),
        symbol=f"clob-pair:{pair}",
        side=_named(order, "side", _SIDES, place),
        asset=f"quantums:{pair}",
        source=subaccount,
        via=_via(order, flags, around),
        time_in_force=_named(order, "time_in_force", _TIMES_IN_FORCE, place),
        expires_at=until,
    )
    slot = f"dydx:{around.network}:{subaccount}:{pair}:{number_of(identity, 'client_id')}:{block}"
    return Meaning(
        account=owner,
        effects=(effect, *_builder(order, effect, place, around)),
        full=False,
        alone=True,
        sequenced=until is not None,
        slot=slot if until is None else None,
        until=until,
        bounded=True,
    )


def _via(order: Values, flags: int, around: Around) -> str | None:
    """Return what the message stands in, and the subticks that a conditional order waits for."""
    if flags != _CONDITIONAL:
        return around.via
    return joined(around.via, f"{TRIGGER} {number_of(order, 'conditional_order_trigger_subticks')} subticks")


def _cancel_order(values: Values, where: str, around: Around) -> Meaning:
    identity = message_of(values, "order_id", where)
    owner, subaccount = _subaccount(identity, "subaccount_id", f"{where}.order_id", around)
    until, _ = _good_til(values, _flags(identity, f"{where}.order_id"), where)
    effect = _cancel(number_of(identity, "clob_pair_id"), subaccount, around)
    return Meaning(account=owner, effects=(effect,), alone=True, sequenced=until is not None, until=until, bounded=True)


def _batch_cancel(values: Values, where: str, around: Around) -> Meaning:
    owner, subaccount = _subaccount(values, "subaccount_id", where, around)
    _positive(values, "good_til_block", where)
    batches = messages_of(values, "short_term_cancels")
    if not batches or not all(numbers_of(batch, "client_ids") for batch in batches):
        raise Malformed(f"{where}.short_term_cancels", "must name the orders to cancel")
    effects = tuple(_cancel(number_of(batch, "clob_pair_id"), subaccount, around) for batch in batches)
    return Meaning(account=owner, effects=effects, alone=True, sequenced=False, bounded=True)


def _create_transfer(values: Values, where: str, around: Around) -> Meaning:
    place = f"{where}.transfer"
    transfer = message_of(values, "transfer", where)
    owner, source = _subaccount(transfer, "sender", place, around)
    _, destination = _subaccount(transfer, "recipient", place, around)
    effect = _moved(transfer, "amount", place, around, source=source, destination=destination)
    return Meaning(account=owner, effects=(effect,))


def _deposit(values: Values, where: str, around: Around) -> Meaning:
    sender = _account(values, "sender", where, around)
    _, destination = _subaccount(values, "recipient", where, around)
    effect = _moved(values, "quantums", where, around, source=sender.text, destination=destination)
    return Meaning(account=sender, effects=(effect,))


def _withdraw(values: Values, where: str, around: Around) -> Meaning:
    owner, source = _subaccount(values, "sender", where, around)
    recipient = around.payee(_account(values, "recipient", where, around))
    effect = _moved(values, "quantums", where, around, source=source, destination=recipient)
    return Meaning(account=owner, effects=(effect,))


def _add_authenticator(values: Values, where: str, around: Around) -> Meaning:
    sender = _account(values, "sender", where, around)
    data = octets_of(values, "data")
    is_key = text_of(values, "authenticator_type") == _SIGNATURE_VERIFICATION
    if is_key and len(data) != _KEY_BYTES:
        raise Malformed(f"{where}.data", f"must be a compressed key: {_KEY_BYTES} bytes")
    effect = Effect(
        operation=Operation.KEY_GRANT,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        destination=data.hex() if is_key else None,
        source=around.source(sender),
        via=around.via,
    )
    return Meaning(account=sender, effects=(effect,), full=is_key)


def _remove_authenticator(values: Values, where: str, around: Around) -> Meaning:
    sender = _account(values, "sender", where, around)
    effect = Effect(
        operation=Operation.ADMIN,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        destination=f"authenticator:{number_of(values, 'id')}",
        source=around.source(sender),
        via=around.via,
    )
    return Meaning(account=sender, effects=(effect,))


def _account(values: Values, name: str, where: str, around: Around) -> Account:
    account = around.account(values, name, where)
    if account.prefix != PREFIX:
        raise Malformed(f"{where}.{name}", f"is an address of another chain: it must begin with {PREFIX}1")
    return account


def _subaccount(values: Values, name: str, where: str, around: Around) -> tuple[Account, str]:
    """Return the owner of a subaccount, and the subaccount as text."""
    subaccount = message_of(values, name, where)
    owner = _account(subaccount, "owner", f"{where}.{name}", around)
    return owner, f"{owner.text}/{number_of(subaccount, 'number')}"


def _flags(identity: Values, where: str) -> int:
    flags = number_of(identity, "order_flags")
    if flags not in _FLAGS:
        raise Malformed(
            f"{where}.order_flags", "must be 0 (short-term), 32 (conditional), 64 (long-term) or 128 (TWAP)"
        )
    return flags


def _good_til(values: Values, flags: int, where: str) -> tuple[UnixMillis | None, int]:
    """Return the time and the block up to which the chain takes it: a block for short-term orders, else a time."""
    wanted, other = "good_til_block", "good_til_block_time"
    if flags != _SHORT_TERM:
        wanted, other = other, wanted
    if other in values:
        raise Malformed(f"{where}.{other}", f"must not be there: orders with these flags have {wanted}")
    value = _positive(values, wanted, where)
    return (None, value) if flags == _SHORT_TERM else (UnixMillis(value * _MILLIS), 0)


def _check_conditions(order: Values, flags: int, where: str) -> None:
    """Raise Malformed for what the order's flags would make the chain refuse or ignore."""
    conditional = flags == _CONDITIONAL
    if conditional != (number_of(order, "condition_type") in _CONDITIONS):
        raise Malformed(f"{where}.condition_type", "must be 1 or 2 in a conditional order, absent in others")
    if conditional != (number_of(order, "conditional_order_trigger_subticks") > 0):
        raise Malformed(f"{where}.conditional_order_trigger_subticks", "belongs to conditional orders, which need it")
    if (flags == _TWAP) != ("twap_parameters" in order):
        raise Malformed(f"{where}.twap_parameters", "belong to TWAP orders, which need them")
    if flags != _TWAP:
        _positive(order, "subticks", where)


def _builder(order: Values, placed: Effect, where: str, around: Around) -> tuple[Effect, ...]:
    """Return the allowance of the builder, if there is one."""
    if text_of(order, "order_router_address"):
        _account(order, "order_router_address", where, around)
    if "builder_code_parameters" not in order:
        return ()
    place = f"{where}.builder_code_parameters"
    builder = message_of(order, "builder_code_parameters", where)
    if _positive(builder, "fee_ppm", place) > _FEE_PPM_MAX:
        raise Malformed(f"{place}.fee_ppm", f"is higher than {_FEE_PPM_MAX}")
    allowance = Effect(
        operation=Operation.ALLOWANCE,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        destination=_account(builder, "builder_address", place, around).text,
        symbol=placed.symbol,
        asset="asset:0",
        source=placed.source,
        via=around.via,
    )
    return (allowance,)


def _cancel(pair: int, subaccount: str, around: Around) -> Effect:
    return Effect(
        operation=Operation.CANCEL,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        symbol=f"clob-pair:{pair}",
        source=subaccount,
        via=around.via,
    )


def _moved(values: Values, name: str, where: str, around: Around, *, source: str, destination: str) -> Effect:
    return Effect(
        operation=Operation.WITHDRAW,
        network=around.network,
        fee_max=0,
        venue=VENUE,
        destination=destination,
        amount=_positive(values, name, where),
        asset=f"asset:{number_of(values, 'asset_id')}",
        source=source,
        via=around.via,
    )


def _positive(values: Values, name: str, where: str) -> int:
    number = number_of(values, name)
    if not number:
        raise Malformed(f"{where}.{name}", "is missing or 0")
    return number


def _named(values: Values, name: str, words: dict[int, str], where: str) -> str:
    word = words.get(number_of(values, name))
    if word is None:
        raise Malformed(f"{where}.{name}", f"must be one of {', '.join(map(str, words))}")
    return word


READERS: Final[Readers] = MappingProxyType(
    {
        "/dydxprotocol.clob.MsgPlaceOrder": (PLACE_ORDER, _place_order),
        "/dydxprotocol.clob.MsgCancelOrder": (CANCEL_ORDER, _cancel_order),
        "/dydxprotocol.clob.MsgBatchCancel": (BATCH_CANCEL, _batch_cancel),
        "/dydxprotocol.sending.MsgCreateTransfer": (CREATE_TRANSFER, _create_transfer),
        "/dydxprotocol.sending.MsgDepositToSubaccount": (DEPOSIT, _deposit),
        "/dydxprotocol.sending.MsgWithdrawFromSubaccount": (WITHDRAW, _withdraw),
        "/dydxprotocol.accountplus.MsgAddAuthenticator": (ADD_AUTHENTICATOR, _add_authenticator),
        "/dydxprotocol.accountplus.MsgRemoveAuthenticator": (REMOVE_AUTHENTICATOR, _remove_authenticator),
    }
)
