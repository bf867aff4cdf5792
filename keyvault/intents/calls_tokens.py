"""Functions of tokens: ERC-20, EIP-2612, DAI, EIP-3009, ERC-721, ERC-1155 and wrapped coin.

``increaseAllowance`` and ``decreaseAllowance`` change an allowance that is not in the bytes: the amount is unknown.
``permit`` inside a transaction was signed by its owner before: its deadline ended that signature, not the allowance.
``setApprovalForAll`` is an allowance over the whole collection: unlimited, or zero when it is taken back.
An NFT is the asset ``{contract}/{token id}``.
"""

from dataclasses import replace
from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.call import UNLIMITED, Call, Effects, Family, family

_WRAPPED: Final = frozenset(
    {
        (1, "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"),
        (10, "0x4200000000000000000000000000000000000006"),
        (8453, "0x4200000000000000000000000000000000000006"),
        (42161, "0x82af49447d8a07e3bd95bd0d56f35241523fbab1"),
    }
)
"""(chain, contract) where ``deposit`` and ``withdraw`` wrap and unwrap the chain's coin. Many other contracts have
functions of these names: there they are a CALL."""


def _transfer(call: Call, to: str, amount: int) -> Effects:
    return (call.transfer(asset=call.to, amount=amount, destination=to, source=call.source),)


def _transfer_from(call: Call, owner: str, to: str, amount: int) -> Effects:
    return (call.transfer(asset=call.to, amount=amount, destination=to, source=owner),)


def _approve(call: Call, spender: str, amount: int) -> Effects:
    return (call.allowance(asset=call.to, amount=amount, spender=spender, owner=call.source),)


def _change_allowance(call: Call, spender: str, _difference: int) -> Effects:
    return (call.allowance(asset=call.to, amount=None, spender=spender, owner=call.source),)


def _permit(
    call: Call, owner: str, spender: str, amount: int, _deadline: int, _v: int, _r: bytes, _s: bytes
) -> Effects:
    return (call.allowance(asset=call.to, amount=amount, spender=spender, owner=owner),)


def _permit_by_contract(
    call: Call, owner: str, spender: str, amount: int, _deadline: int, _signature: bytes
) -> Effects:
    return (call.allowance(asset=call.to, amount=amount, spender=spender, owner=owner),)


def _permit_of_dai(
    call: Call,
    holder: str,
    spender: str,
    _nonce: int,
    _expiry: int,
    allowed: bool,  # noqa: FBT001 - decoded arguments are handed over in their order
    _v: int,
    _r: bytes,
    _s: bytes,
) -> Effects:
    return (call.allowance(asset=call.to, amount=UNLIMITED if allowed else 0, spender=spender, owner=holder),)


def _transfer_authorised(call: Call, owner: str, to: str, amount: int, *_signed: int | bytes) -> Effects:
    return (call.transfer(asset=call.to, amount=amount, destination=to, source=owner),)


def _transfer_token(call: Call, owner: str, to: str, token: int, _data: bytes = b"") -> Effects:
    return (call.transfer(asset=f"{call.to}/{token}", amount=1, destination=to, source=owner),)


def _transfer_tokens(call: Call, owner: str, to: str, token: int, amount: int, _data: bytes) -> Effects:
    return (call.transfer(asset=f"{call.to}/{token}", amount=amount, destination=to, source=owner),)


def _transfer_batch(
    call: Call, owner: str, to: str, tokens: tuple[int, ...], amounts: tuple[int, ...], _data: bytes
) -> Effects:
    if len(tokens) != len(amounts):
        return (call.effect(Operation.OPAQUE),)
    return tuple(
        call.transfer(asset=f"{call.to}/{token}", amount=amount, destination=to, source=owner)
        for token, amount in zip(tokens, amounts, strict=True)
    )


def _approve_all(call: Call, operator: str, approved: bool) -> Effects:  # noqa: FBT001 - as _permit_of_dai
    return (call.allowance(asset=call.to, amount=UNLIMITED if approved else 0, spender=operator, owner=call.source),)


def _wrap(call: Call) -> Effects:
    """The coin sent along goes to the contract, and as much of its token comes back."""
    if (call.chain_id, call.to) not in _WRAPPED:
        return ()
    return (
        replace(
            call.transfer(asset=None, amount=call.value, destination=call.to, source=call.source),
            received_asset=call.to,
            received_min=call.value,
        ),
    )


def _unwrap(call: Call, amount: int) -> Effects:
    """The token goes to its contract, and as much coin comes back; what comes back has no name here."""
    if (call.chain_id, call.to) not in _WRAPPED:
        return ()
    return (call.transfer(asset=call.to, amount=amount, destination=call.to, source=call.source),)


FUNCTIONS: Final[Family] = {
    **family(
        {
            "transfer(address,uint256)": _transfer,
            "transferFrom(address,address,uint256)": _transfer_from,
            "approve(address,uint256)": _approve,
            "increaseAllowance(address,uint256)": _change_allowance,
            "decreaseAllowance(address,uint256)": _change_allowance,
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": _permit,
            "permit(address,address,uint256,uint256,bytes)": _permit_by_contract,
            "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)": _permit_of_dai,
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (
                _transfer_authorised
            ),
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": _transfer_authorised,
            "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (
                _transfer_authorised
            ),
            "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": _transfer_authorised,
            "safeTransferFrom(address,address,uint256)": _transfer_token,
            "safeTransferFrom(address,address,uint256,bytes)": _transfer_token,
            "safeTransferFrom(address,address,uint256,uint256,bytes)": _transfer_tokens,
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": _transfer_batch,
            "setApprovalForAll(address,bool)": _approve_all,
            "withdraw(uint256)": _unwrap,
        }
    ),
    **family({"deposit()": _wrap}, states_value=True),
}
