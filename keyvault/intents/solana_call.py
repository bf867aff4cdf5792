"""One instruction of a Solana message as the decoders of programs see it: whole keys instead of indices."""

from collections.abc import Mapping
from typing import NamedTuple

from keyvault.core.intent import Effect, Operation
from keyvault.intents.solana_address import NETWORK, address

SELECTOR_BYTES = 8
"""Anchor, which most programs are written with, tells instructions apart by eight bytes."""


class Call(NamedTuple):
    """``privileges`` has SIGNER and WRITABLE of each account, as the message grants them; ``us`` is who signs.

    ``first``: it is the message's instruction 0. ``owners`` has, by (token program, mint, token account), the wallets
    that earlier instructions of the same message fail without. ``fee_max`` is what the call's effect shall say.
    """

    program: bytes
    data: bytes
    accounts: tuple[bytes, ...]
    privileges: bytes
    us: bytes
    first: bool
    fee_max: int
    owners: Mapping[tuple[bytes, bytes, bytes], str]

    def grants(self, roles: bytes) -> bool:
        """Return whether there are exactly ``len(roles)`` accounts, each with at least these privileges."""
        if roles == self.privileges:
            return True
        wanted = int.from_bytes(roles, "big")
        return len(roles) == len(self.privileges) and not wanted & ~int.from_bytes(self.privileges, "big")

    def other(self, key: bytes) -> str | None:
        """Return the address, or None for our own, as ``Effect.source`` wants it."""
        return None if key == self.us else address(key)


def effect(
    call: Call,
    operation: Operation,
    *,
    destination: str | None = None,
    source: str | None = None,
    asset: str | None = None,
    amount: int | None = None,
    decimals: int | None = None,
    via: str | None = None,
) -> Effect:
    """Return what a call does; ``contract`` is its program."""
    return Effect(
        operation=operation,
        network=NETWORK,
        destination=destination,
        source=source,
        asset=asset,
        amount=amount,
        decimals=decimals,
        fee_max=call.fee_max,
        contract=address(call.program),
        via=via,
    )


def opaque(call: Call, via: str | None = None) -> Effect:
    """Return the effect of a call that nobody here can read: its program, and how its data begin."""
    return Effect(
        operation=Operation.OPAQUE,
        network=NETWORK,
        selector="0x" + call.data[:SELECTOR_BYTES].hex(),
        fee_max=call.fee_max,
        contract=address(call.program),
        via=via,
    )
