"""Intents in plain words, for people who must decide: one sentence for each effect, one line each."""

from typing import assert_never

from keyvault.core.intent import Effect, Intent, Operation
from keyvault.intents.address import checksum_address

_WEI_DIGITS = 18


def describe(intent: Intent) -> str:
    """Return one sentence per effect, joined by line feeds; every value in it is printable."""
    return "\n".join(map(_sentence, intent.effects))


def _sentence(effect: Effect) -> str:
    match effect.operation:
        case Operation.TRANSFER:
            return f"Sends {_coins(effect.amount)} to {_contract(effect)}{_fee(effect)}."
        case Operation.CALL:
            value = f" with {_coins(effect.amount)}" if effect.amount else ""
            return f"Calls {effect.selector} of the contract {_contract(effect)}{value}{_fee(effect)}."
        case Operation.CREATE:
            value = f" with {_coins(effect.amount)}" if effect.amount else ""
            return f"Creates a contract on chain {effect.chain_id}{value}{_fee(effect)}."
        case Operation.TYPED_DATA:
            return f"Signs typed data {effect.primary_type} for the contract {_contract(effect)}."
        case _:
            return _venue_sentence(effect)


def _venue_sentence(effect: Effect) -> str:
    symbol = effect.symbol or "unnamed"
    match effect.operation:
        case Operation.ORDER:
            return f"Places or changes an order at {effect.venue}: {effect.side or 'side not said'}, symbol {symbol}."
        case Operation.CANCEL:
            return f"Cancels or reads orders at {effect.venue}, symbol {symbol}."
        case Operation.WITHDRAW:
            to = effect.destination or "a destination that the request does not name"
            return f"Moves assets out of {effect.venue} or between accounts: {symbol}, to {to}."
        case Operation.REQUEST:
            return f"Reads or sets something at {effect.venue}; moves no assets and no orders."
        case Operation.OPAQUE:
            return f"Does something at {effect.venue or 'an unknown place'} that keyvault cannot read."
        case Operation.TRANSFER | Operation.CALL | Operation.CREATE | Operation.TYPED_DATA:
            return _sentence(effect)
        case _:
            assert_never(effect.operation)


def _contract(effect: Effect) -> str:
    address = checksum_address(effect.destination) if effect.destination else "nobody"
    return f"{address} on chain {effect.chain_id}"


def _fee(effect: Effect) -> str:
    return f", for a fee of at most {_coins(effect.fee_max)}"


def _coins(wei: int | None) -> str:
    """Return an amount of the chain's native coin, exact, assuming 18 decimals as on all known EVM chains."""
    whole, fraction = divmod(wei or 0, 10**_WEI_DIGITS)
    decimals = f".{fraction:0{_WEI_DIGITS}d}".rstrip("0") if fraction else ""
    return f"{whole}{decimals} native coin"
