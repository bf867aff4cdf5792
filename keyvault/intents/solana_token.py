"""Instructions of Solana's Token program and of Token-2022, as far as both have the same ones.

Source: crates ``spl-token-interface`` and ``spl-token-2022-interface`` (``TokenInstruction``): one byte, then the
fields in order; amounts have 64 bits, little-endian. The chain would ignore further bytes; here there may be none, and
accounts are exactly those that the instruction needs, with 1 to 11 signers more where a multisignature account is the
authority. What is not exactly so is not decoded.

``asset`` is the mint, ``source`` and ``destination`` are token accounts, not wallets.

- TransferChecked, and TransferCheckedWithFee of Token-2022 (the fee is part of the amount): TRANSFER. Where an earlier
  instruction of the same message fails unless the receiving account belongs to a wallet, ``via`` is "owner {wallet}".
- ApproveChecked: ALLOWANCE for ``destination``.
- CloseAccount: TRANSFER of all lamports of the account, an amount that the bytes do not say.
- SetAuthority: KEY_GRANT to the new authority; ADMIN if there will be none.
- MintTo, MintToChecked, FreezeAccount, ThawAccount: ADMIN. InitializeAccount and its forms, InitializeImmutableOwner,
  Revoke, SyncNative: SETUP.

Not decoded: Transfer and Approve, which name no mint, so that nobody can say what they move; Burn; new mints and
multisignature accounts; further extensions of Token-2022; batches.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from keyvault.core.intent import Effect, Operation
from keyvault.intents.solana_address import RENT, TOKEN, TOKEN_2022, address
from keyvault.intents.solana_call import Call, effect

_MULTISIGNERS_MAX = 11
_AUTHORITY_TYPES: Final = {TOKEN: 4, TOKEN_2022: 18}
"""How many kinds of authority there are."""
_NOBODY = 3
"""Bytes of a SetAuthority that names nobody."""
_SOMEBODY = 35


def decode(call: Call) -> Effect | None:
    """Return the effect of a call of either Token program, None if it is not exactly a known one."""
    known = _DECODERS.get(call.data[:1])
    if known is None:
        return None
    size, roles, authority, decoder = known
    if size is not None and len(call.data) != size:
        return None
    if not (_authorised(call, roles) if authority else call.grants(roles)):
        return None
    return decoder(call)


def _authorised(call: Call, roles: bytes) -> bool:
    """Return whether the authority behind ``roles`` signs: itself, or others for a multisignature account."""
    others = len(call.accounts) - len(roles) - 1
    if not others:
        return call.grants(roles + b"\1")
    return 0 < others <= _MULTISIGNERS_MAX and call.grants(roles + b"\0" + b"\1" * others)


def _amount(call: Call, at: int = 1) -> int:
    return int.from_bytes(call.data[at : at + 8], "little")


def _transfer_checked(call: Call) -> Effect:
    return _transferred(call, at=1)


def _transfer_with_fee(call: Call) -> Effect | None:
    if call.program != TOKEN_2022 or call.data[1] != 1:
        return None
    return _transferred(call, at=2)


def _transferred(call: Call, *, at: int) -> Effect:
    """Return the transfer whose amount and decimals stand at ``at``."""
    sender, mint, receiver = call.accounts[:3]
    owner = call.owners.get((call.program, mint, receiver))
    return effect(
        call,
        Operation.TRANSFER,
        destination=address(receiver),
        source=address(sender),
        asset=address(mint),
        amount=_amount(call, at),
        decimals=call.data[at + 8],
        via=None if owner is None else f"owner {owner}",
    )


def _approve_checked(call: Call) -> Effect:
    source, mint, delegate = call.accounts[:3]
    return effect(
        call,
        Operation.ALLOWANCE,
        destination=address(delegate),
        source=address(source),
        asset=address(mint),
        amount=_amount(call),
        decimals=call.data[9],
    )


def _set_authority(call: Call) -> Effect | None:
    data, account = call.data, address(call.accounts[0])
    if len(data) < _NOBODY or data[1] >= _AUTHORITY_TYPES[call.program]:
        return None
    if len(data) == _NOBODY and data[2] == 0:
        return effect(call, Operation.ADMIN, destination=account)
    if len(data) == _SOMEBODY and data[2] == 1:
        return effect(call, Operation.KEY_GRANT, destination=address(data[3:]), source=account)
    return None


def _mint_to(call: Call) -> Effect:
    mint, receiver = call.accounts[:2]
    return effect(call, Operation.ADMIN, destination=address(receiver), asset=address(mint), amount=_amount(call))


def _mint_to_checked(call: Call) -> Effect:
    mint, receiver = call.accounts[:2]
    return effect(
        call,
        Operation.ADMIN,
        destination=address(receiver),
        asset=address(mint),
        amount=_amount(call),
        decimals=call.data[9],
    )


def _close(call: Call) -> Effect:
    closed, receiver = call.accounts[:2]
    return effect(call, Operation.TRANSFER, destination=address(receiver), source=address(closed))


def _freeze(call: Call) -> Effect:
    account, mint = call.accounts[:2]
    return effect(call, Operation.ADMIN, destination=address(account), asset=address(mint))


def _prepare(call: Call) -> Effect:
    return effect(call, Operation.SETUP, destination=address(call.accounts[0]))


def _initialize(call: Call) -> Effect | None:
    if call.accounts[3] != RENT:
        return None
    return _initialized(call, call.accounts[2])


def _initialize_2(call: Call) -> Effect | None:
    if call.accounts[2] != RENT:
        return None
    return _initialized(call, call.data[1:])


def _initialize_3(call: Call) -> Effect:
    return _initialized(call, call.data[1:])


def _initialized(call: Call, owner: bytes) -> Effect:
    account, mint = call.accounts[:2]
    return effect(call, Operation.SETUP, destination=address(owner), source=address(account), asset=address(mint))


_Known: TypeAlias = "tuple[int | None, bytes, bool, Callable[[Call], Effect | None]]"
"""Length of the data; what each account must be (1 signer, 2 writable); whether an authority follows; the reader."""

_DECODERS: Final[dict[bytes, _Known]] = {
    b"\x01": (1, b"\2\0\0\0", False, _initialize),
    b"\x05": (1, b"\2", True, _prepare),
    b"\x06": (None, b"\2", True, _set_authority),
    b"\x07": (9, b"\2\2", True, _mint_to),
    b"\x09": (1, b"\2\2", True, _close),
    b"\x0a": (1, b"\2\0", True, _freeze),
    b"\x0b": (1, b"\2\0", True, _freeze),
    b"\x0c": (10, b"\2\0\2", True, _transfer_checked),
    b"\x0d": (10, b"\2\0\0", True, _approve_checked),
    b"\x0e": (10, b"\2\2", True, _mint_to_checked),
    b"\x10": (33, b"\2\0\0", False, _initialize_2),
    b"\x11": (1, b"\2", False, _prepare),
    b"\x12": (33, b"\2\0", False, _initialize_3),
    b"\x16": (1, b"\2", False, _prepare),
    b"\x1a": (19, b"\2\0\2", True, _transfer_with_fee),
}
