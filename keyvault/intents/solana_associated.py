"""Instructions of Solana's Associated Token Account program: the one account of a wallet for a mint.

Source: crate ``spl-associated-token-account-interface``. Create and CreateIdempotent (no data means Create) fail unless
the account is, at the end, that of the wallet; RecoverNested moves tokens that were sent to an account of an account
back to the wallet's own. All are SETUP: ``destination`` is the wallet, ``asset`` the mint. Every account that the
program derives is derived here, too; if one is another, the call is not decoded.

Whoever funds a new account pays its rent; whoever owns it can close it and take that. So what we pay for the account of
another wallet is money that leaves, and counts with the fees of the message (``rent_max``). 165 bytes of a Token
account cost (128 + 165) x 3,480 lamports x 2 years (crate ``solana-rent``); an account of Token-2022 is as long as the
extensions of its mint make it, which the bytes do not say: taken as one that has all that exist, 640 bytes.
"""

from typing import Final

from keyvault.core.intent import Effect, Operation
from keyvault.intents.solana_address import RENT, SYSTEM, TOKEN, TOKEN_2022, address, associated_token_account
from keyvault.intents.solana_call import Call, effect

_TOKEN_PROGRAMS = frozenset({TOKEN, TOKEN_2022})
_LAMPORTS_PER_BYTE: Final = 3_480 * 2
_OVERHEAD_BYTES: Final = 128
_RENT_MAX: Final = {
    TOKEN: (_OVERHEAD_BYTES + 165) * _LAMPORTS_PER_BYTE,
    TOKEN_2022: (_OVERHEAD_BYTES + 640) * _LAMPORTS_PER_BYTE,
}
"""Highest rent of one account, in lamports."""
_CREATE: Final = frozenset({b"", b"\0", b"\1"})
_RECOVER: Final = b"\2"
_CREATE_ROLES = b"\3\2\0\0\0\0"
_RECOVER_ROLES = b"\2\0\2\0\0\3\0"


def decode(call: Call) -> Effect | None:
    """Return the effect of a call, None if it is not exactly a known one."""
    if call.data in _CREATE:
        return _create(call)
    if call.data == _RECOVER:
        return _recover(call)
    return None


def created(call: Call) -> tuple[tuple[bytes, bytes, bytes], str] | None:
    """Return (token program, mint, token account) and the wallet of a decoded call that creates an account."""
    if call.data not in _CREATE:
        return None
    _, account, wallet, mint, _, token_program = call.accounts[:6]
    return (token_program, mint, account), address(wallet)


def rent_max(call: Call) -> int:
    """Return the lamports that a decoded call can take from us for another wallet's account, at most."""
    if call.data not in _CREATE:
        return 0
    funder, _, wallet, _, _, token_program = call.accounts[:6]
    return _RENT_MAX[token_program] if funder == call.us != wallet else 0


def _create(call: Call) -> Effect | None:
    # Before version 1.1 the program took the rent sysvar, too; old builders still send it.
    if not (call.grants(_CREATE_ROLES) or (call.grants(_CREATE_ROLES + b"\0") and call.accounts[6] == RENT)):
        return None
    _, account, wallet, mint, system, token_program = call.accounts[:6]
    if system != SYSTEM or token_program not in _TOKEN_PROGRAMS:
        return None
    if associated_token_account(wallet, mint, token_program) != account:
        return None
    return effect(call, Operation.SETUP, destination=address(wallet), asset=address(mint))


def _recover(call: Call) -> Effect | None:
    if not call.grants(_RECOVER_ROLES):
        return None
    nested, nested_mint, receiver, owner, owner_mint, wallet, token_program = call.accounts
    if token_program not in _TOKEN_PROGRAMS:
        return None
    if associated_token_account(wallet, owner_mint, token_program) != owner:
        return None
    if associated_token_account(owner, nested_mint, token_program) != nested:
        return None
    if associated_token_account(wallet, nested_mint, token_program) != receiver:
        return None
    return effect(call, Operation.SETUP, destination=address(wallet), asset=address(nested_mint))
