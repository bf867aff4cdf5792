"""Instructions of Solana's System program: lamports, who owns an account, durable nonces.

Source: crate ``solana-system-interface`` (``SystemInstruction``): a 32-bit little-endian number, then the fields in
order; a string has a 64-bit length. The chain would ignore further bytes and accounts; here there may be none, each
account must be signer and writable where the instruction needs it, and derived addresses must be right. What is not
exactly so is not decoded.

- Transfer, TransferWithSeed, WithdrawNonceAccount, and CreateAccount(WithSeed) for an account of the System or a Token
  program: TRANSFER of lamports. An account for another program is left opaque: that program rules it.
- Assign, AssignWithSeed, AllocateWithSeed (which assigns, too): KEY_GRANT to the program that will own the account.
- AuthorizeNonceAccount, and InitializeNonceAccount for anybody but us: KEY_GRANT.
- Allocate, UpgradeNonceAccount, InitializeNonceAccount for us: SETUP of ``destination``. Not so Allocate of our own
  account, which is left opaque: an account that has data can send nothing any more.
- AdvanceNonceAccount: SETUP ``via`` "durable nonce", as instruction 0 only, where it can free the message of its end.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from keyvault.core.intent import Effect, Operation
from keyvault.intents.solana_address import (
    RECENT_BLOCKHASHES,
    RENT,
    SEED_BYTES_MAX,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    address,
    with_seed,
)
from keyvault.intents.solana_call import Call, effect

ADVANCE_NONCE: Final = b"\4\0\0\0"

_TAG_BYTES = 4
_KNOWN_OWNERS = frozenset({SYSTEM, TOKEN, TOKEN_2022})


def decode(call: Call) -> Effect | None:
    """Return the effect of a call of the System program, None if it is not exactly a known one."""
    known = _DECODERS.get(call.data[:_TAG_BYTES])
    if known is None:
        return None
    size, roles, decoder = known
    if size is not None and len(call.data) != size:
        return None
    if roles is not None and not call.grants(roles):
        return None
    return decoder(call)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _transfer(call: Call) -> Effect:
    sender, receiver = call.accounts
    amount = _number(call.data, 4)
    return effect(call, Operation.TRANSFER, destination=address(receiver), source=call.other(sender), amount=amount)


def _create(call: Call) -> Effect | None:
    return _created(call, lamports=_number(call.data, 4), owner=call.data[20:])


def _created(call: Call, *, lamports: int, owner: bytes) -> Effect | None:
    if owner not in _KNOWN_OWNERS:
        return None
    funder, created = call.accounts[:2]
    return effect(call, Operation.TRANSFER, destination=address(created), source=call.other(funder), amount=lamports)


def _assign(call: Call) -> Effect:
    return _granted(call, call.data[4:])


def _granted(call: Call, authority: bytes) -> Effect:
    """Return the grant of account 0 to another key or program."""
    return effect(call, Operation.KEY_GRANT, destination=address(authority), source=call.other(call.accounts[0]))


def _prepare(call: Call) -> Effect:
    return effect(call, Operation.SETUP, destination=address(call.accounts[0]))


def _allocate(call: Call) -> Effect | None:
    return None if call.accounts[0] == call.us else _prepare(call)


def _advance_nonce(call: Call) -> Effect | None:
    if not call.first or call.accounts[1] != RECENT_BLOCKHASHES:
        return None
    return effect(call, Operation.SETUP, destination=address(call.accounts[0]), via="durable nonce")


def _withdraw_nonce(call: Call) -> Effect | None:
    nonce, receiver, blockhashes, rent, _ = call.accounts
    if (blockhashes, rent) != (RECENT_BLOCKHASHES, RENT):
        return None
    amount = _number(call.data, 4)
    return effect(call, Operation.TRANSFER, destination=address(receiver), source=address(nonce), amount=amount)


def _initialize_nonce(call: Call) -> Effect | None:
    if call.accounts[1:] != (RECENT_BLOCKHASHES, RENT):
        return None
    authority = call.data[4:]
    return _prepare(call) if authority == call.us else _granted(call, authority)


def _seed(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the seed at ``at`` and where it ends, None if it is not one."""
    size = _number(data, at)
    seed = data[at + 8 : at + 8 + size] if size <= SEED_BYTES_MAX else b""
    if len(seed) != size:
        return None
    try:
        seed.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return seed, at + 8 + size


def _create_with_seed(call: Call) -> Effect | None:
    found = _seed(call.data, 36)
    if found is None or len(call.data) != found[1] + 48:
        return None
    if not (call.grants(b"\3\2") or call.grants(b"\3\2\1")):
        return None
    seed, end = found
    base, owner = call.data[4:36], call.data[end + 16 :]
    # Without a third account the funder is the base, and must be: nobody else signs for it.
    if call.accounts[0 if len(call.accounts) == 2 else 2] != base:  # noqa: PLR2004 - funder and created account
        return None
    if with_seed(base, seed, owner) != call.accounts[1]:
        return None
    return _created(call, lamports=_number(call.data, end), owner=owner)


def _assign_with_seed(call: Call) -> Effect | None:
    return _granted_with_seed(call, skipped=0)


def _allocate_with_seed(call: Call) -> Effect | None:
    return _granted_with_seed(call, skipped=8)


def _granted_with_seed(call: Call, *, skipped: int) -> Effect | None:
    """Return the grant; ``skipped`` bytes (the space) stand between seed and owner."""
    found = _seed(call.data, 36)
    if found is None or len(call.data) != found[1] + skipped + 32:
        return None
    seed, end = found
    base, owner = call.data[4:36], call.data[end + skipped :]
    if call.accounts[1] != base or with_seed(base, seed, owner) != call.accounts[0]:
        return None
    return _granted(call, owner)


def _transfer_with_seed(call: Call) -> Effect | None:
    found = _seed(call.data, 12)
    if found is None or len(call.data) != found[1] + 32:
        return None
    seed, end = found
    sender, base, receiver = call.accounts
    if with_seed(base, seed, call.data[end:]) != sender:
        return None
    amount = _number(call.data, 4)
    return effect(call, Operation.TRANSFER, destination=address(receiver), source=address(sender), amount=amount)


_Known: TypeAlias = "tuple[int | None, bytes | None, Callable[[Call], Effect | None]]"
"""Length of the data, what each account must be (1 signer, 2 writable), and who reads the rest; None: the reader."""


def _tag(number: int) -> bytes:
    return number.to_bytes(_TAG_BYTES, "little")


_DECODERS: Final[dict[bytes, _Known]] = {
    _tag(0): (52, b"\3\3", _create),
    _tag(1): (36, b"\3", _assign),
    _tag(2): (12, b"\3\2", _transfer),
    _tag(3): (None, None, _create_with_seed),
    ADVANCE_NONCE: (4, b"\2\0\1", _advance_nonce),
    _tag(5): (12, b"\2\2\0\0\1", _withdraw_nonce),
    _tag(6): (36, b"\2\0\0", _initialize_nonce),
    _tag(7): (36, b"\2\1", lambda call: _granted(call, call.data[4:])),
    _tag(8): (12, b"\3", _allocate),
    _tag(9): (None, b"\2\1", _allocate_with_seed),
    _tag(10): (None, b"\2\1", _assign_with_seed),
    _tag(11): (None, b"\2\1\2", _transfer_with_seed),
    _tag(12): (4, b"\2", _prepare),
}
