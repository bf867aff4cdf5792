"""Functions of Permit2 (Uniswap/permit2: AllowanceTransfer, SignatureTransfer), at its one address.

Permits inside a transaction were signed by their owner: the owner is the source. An allowance ends at its expiration;
expiration 0 is Permit2's "within this block", whose time is not in the bytes, so no end is stated.
A transfer by permit moves what is requested, which may be less than was permitted.
"""

from typing import Final, TypeAlias

from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.intents.call import Call, Effects, Family, family

PERMIT2: Final = "0x000000000022d473030f116ddee9f6b43ac78ba3"
"""On all chains: deployed by CREATE2."""

Details: TypeAlias = tuple[str, int, int, int]
"""token, amount, expiration, nonce."""
Permitted: TypeAlias = tuple[str, int]
"""token, amount."""
Requested: TypeAlias = tuple[str, int]
"""to, requestedAmount."""

_MILLIS = 1_000
_DETAILS = "(address,uint160,uint48,uint48)"
_PERMITTED = "(address,uint256)"
_REQUESTED = "(address,uint256)"
_WITNESS = "bytes32,string"


def _approve(call: Call, token: str, spender: str, amount: int, expiration: int) -> Effects:
    return (_allowance(call, call.source, spender, (token, amount, expiration, 0)),)


def _permit(call: Call, owner: str, permit: tuple[Details, str, int], _signature: bytes) -> Effects:
    details, spender, _deadline = permit
    return (_allowance(call, owner, spender, details),)


def _permit_batch(call: Call, owner: str, permit: tuple[tuple[Details, ...], str, int], _signature: bytes) -> Effects:
    details, spender, _deadline = permit
    return tuple(_allowance(call, owner, spender, each) for each in details)


def _allowance(call: Call, owner: str, spender: str, details: Details) -> Effect:
    token, amount, expiration, _nonce = details
    expires_at = UnixMillis(expiration * _MILLIS) if expiration else None
    return call.allowance(asset=token, amount=amount, spender=spender, owner=owner, expires_at=expires_at)


def _transfer_from(call: Call, owner: str, to: str, amount: int, token: str) -> Effects:
    return (call.transfer(asset=token, amount=amount, destination=to, source=owner),)


def _transfer_from_batch(call: Call, transfers: tuple[tuple[str, str, int, str], ...]) -> Effects:
    return tuple(
        call.transfer(asset=token, amount=amount, destination=to, source=owner)
        for owner, to, amount, token in transfers
    )


def _permit_transfer(
    call: Call, permit: tuple[Permitted, int, int], requested: Requested, owner: str, *_signed: bytes | str
) -> Effects:
    (token, _most), _nonce, _deadline = permit
    to, amount = requested
    return (call.transfer(asset=token, amount=amount, destination=to, source=owner),)


def _permit_transfer_batch(
    call: Call,
    permit: tuple[tuple[Permitted, ...], int, int],
    requested: tuple[Requested, ...],
    owner: str,
    *_signed: bytes | str,
) -> Effects:
    permitted, _nonce, _deadline = permit
    if len(permitted) != len(requested):
        return (call.effect(Operation.OPAQUE),)
    return tuple(
        call.transfer(asset=token, amount=amount, destination=to, source=owner)
        for (token, _most), (to, amount) in zip(permitted, requested, strict=True)
    )


def _lockdown(call: Call, approvals: tuple[tuple[str, str], ...]) -> Effects:
    return tuple(
        call.allowance(asset=token, amount=0, spender=spender, owner=call.source) for token, spender in approvals
    )


FUNCTIONS: Final[Family] = family(
    {
        "approve(address,address,uint160,uint48)": _approve,
        f"permit(address,({_DETAILS},address,uint256),bytes)": _permit,
        f"permit(address,({_DETAILS}[],address,uint256),bytes)": _permit_batch,
        "transferFrom(address,address,uint160,address)": _transfer_from,
        "transferFrom((address,address,uint160,address)[])": _transfer_from_batch,
        f"permitTransferFrom(({_PERMITTED},uint256,uint256),{_REQUESTED},address,bytes)": _permit_transfer,
        f"permitTransferFrom(({_PERMITTED}[],uint256,uint256),{_REQUESTED}[],address,bytes)": _permit_transfer_batch,
        f"permitWitnessTransferFrom(({_PERMITTED},uint256,uint256),{_REQUESTED},address,{_WITNESS},bytes)": (
            _permit_transfer
        ),
        f"permitWitnessTransferFrom(({_PERMITTED}[],uint256,uint256),{_REQUESTED}[],address,{_WITNESS},bytes)": (
            _permit_transfer_batch
        ),
        "lockdown((address,address)[])": _lockdown,
    },
    only_at=PERMIT2,
)
