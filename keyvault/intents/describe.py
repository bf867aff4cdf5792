"""Intents in plain words, for people who must decide: one sentence for each effect, one line each.

A sentence says what the signature makes possible, in exact numbers and whole addresses. Amounts of tokens stand in the
smallest unit unless the signed bytes bind the decimals: what a contract says about itself is not proof.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from keyvault.core.intent import TRIGGER, Effect, Intent, Operation
from keyvault.core.prices import counts_contracts
from keyvault.core.units import plain_decimal
from keyvault.intents.address import checksum_address

_COINS = MappingProxyType({"bitcoin": ("BTC", 8), "solana": ("SOL", 9)})
_WEI_DIGITS = 18
_ATTO = 18
_UNLIMITED = 2**160 - 1
"""From here on an allowance has no end that matters (Permit2 counts in 160 bits)."""
_EVM_ADDRESS_CHARS = 42


def describe(intent: Intent) -> str:
    """Return one sentence per effect, joined by line feeds; every value in it is printable."""
    return "\n".join(map(_sentence, intent.effects))


def _sentence(effect: Effect) -> str:
    words = _WORDS[effect.operation](effect)
    if effect.operation in _ORDERS:
        return f"{words}{_fee(effect)}{_circumstances(effect)}."
    inside = f" (inside {effect.via})" if effect.via else ""
    return f"{words}{_fee(effect)}{inside}."


def _circumstances(effect: Effect) -> str:
    """Return what an order is part of, and that it waits, if it does."""
    parts = effect.via.split(" > ") if effect.via else []
    awaited = "".join(f", NOT AT ONCE BUT ON {part}" for part in parts if part.startswith(TRIGGER))
    inside = ", ".join(part for part in parts if not part.startswith(TRIGGER))
    return f"{f' ({inside})' if inside else ''}{awaited}"


def _transfer(effect: Effect) -> str:
    source = f" from {_address(effect.source)}" if effect.source else ""
    return f"Sends {_amount(effect)}{source} to {_destination(effect)}{_chain(effect)}"


def _allowance(effect: Effect) -> str:
    end = f" until {_time(effect.expires_at)}" if effect.expires_at is not None else ""
    return f"Lets {_destination(effect)} take {_amount(effect)}{end}{_chain(effect)}"


def _call(effect: Effect) -> str:
    value = f" with {_amount(effect)}" if effect.amount else ""
    return f"Calls {effect.selector} of the contract {_contract(effect)}{_chain(effect)}{value}"


def _create(effect: Effect) -> str:
    value = f" with {_amount(effect)}" if effect.amount else ""
    return f"Creates a contract{_chain(effect)}{value}"


def _delegate(effect: Effect) -> str:
    return f"LETS THE CODE AT {_destination(effect)} ACT AS THE ACCOUNT {_address(effect.source)}{_chain(effect)}"


def _key_grant(effect: Effect) -> str:
    return f"LETS {_destination(effect)} SIGN for {_ruled(effect)}{_chain(effect)}"


def _admin(effect: Effect) -> str:
    to = f", to {_destination(effect)}" if effect.destination else ""
    return f"CHANGES WHO RULES {_ruled(effect)} or what it does ({effect.selector or 'setting'}){to}{_chain(effect)}"


def _setup(effect: Effect) -> str:
    target = f" for {_destination(effect)}" if effect.destination else ""
    return f"Prepares something{target}{_place(effect)}; moves no assets beyond fees and rent"


def _message(effect: Effect) -> str:
    return f"Signs a message{_chain(effect)}"


def _typed_data(effect: Effect) -> str:
    contract = _contract(effect) if effect.contract or effect.destination else "nobody"
    return f"Signs typed data {effect.primary_type} for the contract {contract}{_chain(effect)}"


def _order(effect: Effect) -> str:
    only = "that can only reduce a position" if effect.operation is Operation.REDUCE else ""
    parts = [f"Places or changes an order {only}".rstrip(), _place(effect)]
    if effect.asset is not None or effect.received_asset is not None:
        least = "an unknown amount" if effect.received_min is None else str(effect.received_min)
        return f"{parts[0]}{parts[1]}: gives {_amount(effect)} for at least {least} of {_asset(effect.received_asset)}"
    quantity = f" {_atto(effect.quantity)}{_unit(effect)}" if effect.quantity is not None else ""
    quote = f" for {_atto(effect.quote_quantity)}" if effect.quote_quantity is not None else ""
    price = f" at {_atto(effect.price)}" if effect.price is not None else ""
    text = f"{''.join(parts)}: {effect.side or 'side not said'}{quantity}{quote}, symbol {effect.symbol or 'unnamed'}"
    return text + price


def _unit(effect: Effect) -> str:
    """Return what the venue counts the quantity in; nothing where that is the base asset."""
    if effect.venue is None or effect.symbol is None or not counts_contracts(effect.venue, effect.symbol):
        return ""
    return _UNITS.get(effect.venue, " contracts")


def _cancel(effect: Effect) -> str:
    return f"Cancels or reads orders{_place(effect)}, symbol {effect.symbol or 'unnamed'}"


def _withdraw(effect: Effect) -> str:
    to = effect.destination or "a destination that the request does not name"
    moved = effect.asset or effect.symbol or "unnamed"
    known = effect.amount is not None and effect.decimals is not None
    amount = f"{plain_decimal(effect.amount or 0, effect.decimals or 0)} " if known else ""
    by = f" by {effect.network}" if effect.network is not None else ""
    return f"Moves assets out of {effect.venue or 'a venue'} or between accounts: {amount}{moved}, to {to}{by}"


def _session(effect: Effect) -> str:
    where = effect.venue or effect.destination or "an unknown place"
    return f"OPENS A SESSION at {where}: its holder acts there without asking keyvault again"


def _request(effect: Effect) -> str:
    return f"Reads or sets something at {effect.venue}; moves no assets and no orders"


def _opaque(effect: Effect) -> str:
    where = effect.venue or effect.contract or effect.destination
    named = f" ({effect.selector})" if effect.selector else ""
    return f"Does something{named} at {where or 'an unknown place'}{_chain(effect)} that keyvault cannot read"


_ORDERS = frozenset({Operation.ORDER, Operation.REDUCE})
_UNITS: Mapping[str, str] = MappingProxyType(
    {"bybit": " dollars (inverse)", "deribit": " (dollars, or coins of an option or linear contract)"}
)
"""What is counted where it is not the base asset and not contracts."""
_WORDS: Mapping[Operation, Callable[[Effect], str]] = MappingProxyType(
    {
        Operation.TRANSFER: _transfer,
        Operation.ALLOWANCE: _allowance,
        Operation.CALL: _call,
        Operation.CREATE: _create,
        Operation.DELEGATE: _delegate,
        Operation.KEY_GRANT: _key_grant,
        Operation.ADMIN: _admin,
        Operation.SETUP: _setup,
        Operation.MESSAGE: _message,
        Operation.TYPED_DATA: _typed_data,
        Operation.ORDER: _order,
        Operation.REDUCE: _order,
        Operation.CANCEL: _cancel,
        Operation.WITHDRAW: _withdraw,
        Operation.SESSION: _session,
        Operation.REQUEST: _request,
        Operation.OPAQUE: _opaque,
    }
)


def _amount(effect: Effect) -> str:
    """Return how much of what, exact."""
    if effect.amount is None:
        return f"an unknown amount of {_asset(effect.asset)}"
    if effect.asset is None:
        return _coins(effect, effect.amount)
    if effect.operation is Operation.ALLOWANCE and effect.amount >= _UNLIMITED:
        return f"ANY AMOUNT of {_asset(effect.asset)}"
    if effect.decimals is not None:
        return f"{plain_decimal(effect.amount, effect.decimals)} of {_asset(effect.asset)}"
    return f"{effect.amount} smallest units of {_asset(effect.asset)}"


def _asset(asset: str | None) -> str:
    return "native coin" if asset is None else f"the token {_address(asset)}"


def _coins(effect: Effect, amount: int) -> str:
    """Return an amount of the chain's own coin; 18 decimals as on all known EVM chains."""
    if effect.network is None:
        return f"{plain_decimal(amount, _WEI_DIGITS)} native coin"
    coin = _COINS.get(effect.network.partition("-")[0])
    return f"{amount} smallest units of its coin" if coin is None else f"{plain_decimal(amount, coin[1])} {coin[0]}"


def _fee(effect: Effect) -> str:
    if not effect.fee_max:
        return ""
    return f", for a fee of at most {_coins(effect, effect.fee_max)}"


def _ruled(effect: Effect) -> str:
    return _address(effect.source or effect.contract) if effect.source or effect.contract else "this account"


def _destination(effect: Effect) -> str:
    return "nobody who is named" if effect.destination is None else _address(effect.destination)


def _contract(effect: Effect) -> str:
    return _address(effect.contract or effect.destination)


def _address(text: str | None) -> str:
    """Return an address as people know it: EVM with its EIP-55 checksum, what stands behind it as it is."""
    if text is None:
        return "that is not named"
    if text[:2] != "0x" or len(text) < _EVM_ADDRESS_CHARS:
        return text
    return checksum_address(text[:_EVM_ADDRESS_CHARS]) + text[_EVM_ADDRESS_CHARS:]


def _chain(effect: Effect) -> str:
    if effect.network is not None:
        return f" on {effect.network}"
    if effect.chain_id is not None:
        return f" on chain {effect.chain_id}"
    return " ON EVERY CHAIN" if effect.contract and effect.venue is None else ""


def _place(effect: Effect) -> str:
    return f" at {effect.venue}" if effect.venue else _chain(effect)


def _atto(value: int) -> str:
    return plain_decimal(value, _ATTO)


def _time(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at} ms, which no calendar reaches"
