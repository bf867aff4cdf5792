"""EVM transactions and authorizations from their fields, for people and scripts without a wallet library at hand.

``0x02 || rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas, to, value, data, access_list])``
(EIP-1559). The access list is empty.
``0x05 || rlp([chain_id, address, nonce])`` (EIP-7702).

What is made is decoded again by ``keyvault.intents`` before it is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from keyvault.cli.exits import UsageProblem
from keyvault.intents import parse_address
from keyvault.intents.rlp import encode, integer

_TYPE = b"\x02"
_AUTHORIZATION = b"\x05"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Amounts in wei; ``to`` as 0x and 40 hex digits, mixed case only with the right EIP-55 checksum."""

    chain_id: int
    nonce: int
    to: str
    value: int
    gas: int
    max_fee: int
    max_priority_fee: int
    data: bytes


FIELD_NAMES = tuple(each.name for each in fields(Fields))


def fields_of(given: Mapping[str, Any]) -> Fields | None:
    """Return the fields from options of their names, as click converted them; None if none was given.

    ``value`` and ``data`` may be left out. Raises UsageProblem with the names of the others that are missing.
    """
    if all(value is None for value in given.values()):
        return None
    complete: dict[str, Any] = {"value": 0, "data": b""} | {
        name: value for name, value in given.items() if value is not None
    }
    missing = [f"--{name.replace('_', '-')}" for name in FIELD_NAMES if name not in complete]
    if missing:
        raise UsageProblem(f"the transaction lacks {', '.join(missing)}")
    return Fields(**complete)


def unsigned_transaction(transaction: Fields) -> bytes:
    """Return the unsigned transaction; raise Malformed for an address that is not one."""
    return _TYPE + encode(
        (
            integer(transaction.chain_id),
            integer(transaction.nonce),
            integer(transaction.max_priority_fee),
            integer(transaction.max_fee),
            integer(transaction.gas),
            bytes.fromhex(parse_address(transaction.to)[2:]),
            integer(transaction.value),
            transaction.data,
            (),
        )
    )


def unsigned_authorization(chain_id: int, address: str, nonce: int) -> bytes:
    """Return the unsigned authorization; raise Malformed for an address that is not one."""
    code = bytes.fromhex(parse_address(address)[2:])
    return _AUTHORIZATION + encode((integer(chain_id), code, integer(nonce)))
