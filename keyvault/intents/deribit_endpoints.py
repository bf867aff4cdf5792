"""Methods of Deribit that a market maker uses, and their facts.

``quantity`` is ``amount`` as the venue counts: USD for inverse perpetuals and futures, base coin for options, linear
contracts and spot. An order that says ``contracts`` only has another unit and is not stated. Prices of options in USD
or volatility (``advanced``) are not stated.

``via`` of an order says what it waits for: ``trigger_price``, ``trigger_offset``.

``reduce_only`` is believed for instruments with positions: those of spot have no ``-`` in their names. A ``label`` is
not unique: no slot.

Not known here, hence OPAQUE: orders with linked ones (``otoco_config``), mass quotes, block trades, combos, API keys.

Source: docs.deribit.com, sections Trading, Account management, Wallet, Session management.
"""

from collections.abc import Mapping
from typing import Final

from keyvault.core.intent import Effect, Operation
from keyvault.intents.venue_endpoint import Endpoint, Read, endpoint, paths, reads, simple, withdrawal
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_trigger import trigger

VENUE: Final = "deribit"

_TYPES: Mapping[str, bool] = {
    "limit": True,
    "stop_limit": True,
    "take_limit": True,
    "market": False,
    "stop_market": False,
    "take_market": False,
    "market_limit": False,
    "trailing_stop": False,
}
"""Whether a type has a limit price."""
_WAITING = frozenset({"stop_limit", "take_limit", "stop_market", "take_market", "trailing_stop"})
"""Types of orders that wait for a price."""
_TIMES: Mapping[str, str] = {
    "good_til_cancelled": "GTC",
    "good_til_day": "GTD",
    "fill_or_kill": "FOK",
    "immediate_or_cancel": "IOC",
}


def _order(side: str) -> Read:
    """Return the reader of ``private/buy`` or ``private/sell``."""

    def read(fields: Fields) -> tuple[Effect, ...]:
        symbol = fields.symbol("instrument_name", VENUE)
        effect = Effect(
            operation=Operation.REDUCE if fields.flag("reduce_only") and "-" in (symbol or "") else Operation.ORDER,
            venue=VENUE,
            symbol=symbol,
            side=side,
            quantity=fields.decimal("amount"),
            price=_price(fields),
            time_in_force=_time_in_force(fields),
            via=_trigger(fields),
        )
        return (effect,)

    return read


def _price(fields: Fields) -> int | None:
    kind, price = fields.word("type", _TYPES), fields.decimal("price")
    if kind is False and price is not None:
        raise fields.refuse("price", f"stands beside type {fields.text('type')}, which has no limit price")
    return None if "advanced" in fields else price


def _time_in_force(fields: Fields) -> str | None:
    return "POST_ONLY" if fields.flag("post_only") else fields.word("time_in_force", _TIMES)


def _edit(fields: Fields) -> tuple[Effect, ...]:
    """Return what an order becomes: the bytes do not say its side."""
    effect = Effect(
        operation=Operation.ORDER,
        venue=VENUE,
        symbol=fields.symbol("instrument_name", VENUE),
        quantity=fields.decimal("amount"),
        price=_price(fields),
        time_in_force=_time_in_force(fields),
        via=_trigger(fields),
    )
    return (effect,)


def _trigger(fields: Fields) -> str | None:
    waits = fields.text("type") in _WAITING
    return trigger(fields, "trigger_price", ("trigger_offset",), waits=waits)


def _withdrawal(fields: Fields) -> tuple[Effect, ...]:
    destination = fields.text("address")
    return withdrawal(fields, venue=VENUE, asset="currency", amount="amount", destination=destination)


def _transfer(fields: Fields) -> tuple[Effect, ...]:
    """Return a move to another user or sub-account, which ``destination`` numbers or names."""
    to, origin = fields.label("destination"), fields.label("source")
    destination = None if to is None else f"user:{to}"
    source = None if origin is None else f"user:{origin}"
    return withdrawal(fields, venue=VENUE, asset="currency", amount="amount", destination=destination, source=source)


_ORDER = """
instrument_name amount contracts type label price time_in_force display_amount max_show post_only reject_post_only
reduce_only trigger_price trigger_offset trigger advanced mmp valid_until
"""
_CHANGES = """
amount contracts price post_only reject_post_only reduce_only trigger_price trigger_offset advanced mmp valid_until
display_amount
"""
_READS = """
get_account_summary get_account_summaries get_current_deposit_address get_deposits get_withdrawals get_transfers
get_position get_positions get_open_orders get_open_orders_by_currency get_open_orders_by_instrument
get_open_orders_by_label get_order_history_by_currency get_order_history_by_instrument get_order_margin_by_ids
get_order_state get_order_state_by_label get_user_trades_by_currency get_user_trades_by_currency_and_time
get_user_trades_by_instrument get_user_trades_by_instrument_and_time get_user_trades_by_order
get_settlement_history_by_currency get_settlement_history_by_instrument get_transaction_log get_margins get_mmp_config
get_mmp_status get_subaccounts get_subaccounts_details get_trigger_order_history get_cancel_on_disconnect
"""
_FILTERS = """
currency kind type instrument_name subaccount_id extended with_portfolio count offset start_timestamp end_timestamp
start_id end_id start_seq end_seq include_old include_unfilled sorting historical order_id label ids amount price query
continuation index_name scope with_open_orders state
"""
_CANCEL = simple(VENUE, Operation.CANCEL, "instrument_name")
_SETUP = simple(VENUE, Operation.SETUP)


def _private(endpoints: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
    return {f"private/{name}": one for name, one in endpoints.items()}


ENDPOINTS: Final[Mapping[str, Endpoint]] = _private(
    reads(VENUE, _READS, _FILTERS)
    | paths(
        [
            ("buy", endpoint(_ORDER, _order("BUY"))),
            ("sell", endpoint(_ORDER, _order("SELL"))),
            ("edit", endpoint(f"order_id {_CHANGES}", _edit)),
            ("edit_by_label", endpoint(f"label instrument_name {_CHANGES}", _edit)),
            ("cancel", endpoint("order_id", _CANCEL)),
            ("cancel_all", endpoint("detailed freeze_quotes", _CANCEL)),
            ("cancel_all_by_currency", endpoint("currency kind type detailed freeze_quotes", _CANCEL)),
            (
                "cancel_all_by_kind_or_type cancel_all_by_currency_pair",
                endpoint("currency currency_pair kind type detailed freeze_quotes", _CANCEL),
            ),
            (
                "cancel_all_by_instrument",
                endpoint("instrument_name type detailed include_combos freeze_quotes", _CANCEL),
            ),
            ("cancel_by_label", endpoint("label currency", _CANCEL)),
            ("cancel_quotes", endpoint("cancel_type currency kind instrument_name quote_set_id", _CANCEL)),
            ("cancel_withdrawal", endpoint("currency id", _CANCEL)),
            (
                "close_position",
                endpoint("instrument_name type price", simple(VENUE, Operation.REDUCE, "instrument_name")),
            ),
            ("withdraw", endpoint("currency address amount priority", _withdrawal)),
            (
                "submit_transfer_to_subaccount submit_transfer_to_user submit_transfer_between_subaccounts",
                endpoint("currency amount destination source", _transfer),
            ),
            ("set_mmp_config", endpoint("index_name interval frozen_time quantity_limit delta_limit", _SETUP)),
            ("reset_mmp", endpoint("index_name", _SETUP)),
            ("enable_cancel_on_disconnect disable_cancel_on_disconnect", endpoint("scope", _SETUP)),
        ]
    )
)
