"""Charges of requests, and of plain transfers on chain 1."""

from keyvault.core.charges import Charge, charge_of, is_unread
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.policy import Limit, Policy
from keyvault.core.prices import EMPTY_BOOK, PriceBook, price_book
from keyvault.core.windows import Windows
from tests.core.rule_strategies import KEYS, PRICES, PRINCIPALS, Asked

NOW = 1_800_000_000_000
BOOK = price_book(PRICES)
KEY, BOT = KEYS[0], PRINCIPALS[0]
TO = "0x" + "ab" * 20


def charge(asked: Asked, slot: str | None, at: int) -> Charge:
    """Return what a request is charged at that time, with the prices of the strategies."""
    return charge_of(
        asked.key,
        asked.principal,
        asked.intent.effects,
        unread=is_unread(asked.intent.kind, asked.intent.completeness),
        slot=None if slot is None else (1, slot),
        prices=BOOK,
        at=UnixMillis(at),
    )


def charge_for(
    *effects: Effect, key: KeyId = KEY, by: Principal = BOT, slot: str | None = None, prices: PriceBook = EMPTY_BOOK
) -> Charge:
    """Return what these effects are charged."""
    return charge_of(
        key,
        by,
        effects,
        unread=False,
        slot=None if slot is None else (1, slot),
        prices=prices,
        at=UnixMillis(NOW),
    )


def transfer(
    amount: int, *, to: str = TO, slot: str | None = None, key: KeyId = KEY, chain_id: int = 1, by: Principal = BOT
) -> Charge:
    """Return what a transfer of so many wei is charged."""
    effect = Effect(operation=Operation.TRANSFER, chain_id=chain_id, destination=to, amount=amount, fee_max=0)
    return charge_for(effect, key=key, by=by, slot=slot)


def watching(*limited: Limit) -> Windows:
    """Return windows that nothing was charged to, under a policy with these limits."""
    windows = Windows()
    windows.watch(Policy(version=1, rules=(), limits=limited))
    return windows
