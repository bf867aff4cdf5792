"""Permits and authorizations of tokens: signatures that let others move assets.

EIP-2612      Permit(owner,spender,value,nonce,deadline), verified by the token
DAI           Permit(holder,spender,nonce,expiry,allowed): all or nothing; expiry 0 is for ever
EIP-3009      TransferWithAuthorization, ReceiveWithAuthorization, CancelAuthorization (USDC)
Permit2       PermitSingle, PermitBatch: allowances; PermitTransferFrom, PermitBatchTransferFrom: the spender takes the
              tokens once and chooses who gets them, so they are allowances too
              (github.com/Uniswap/permit2, src/libraries/PermitHash.sol)

A deadline bounds when a permit may be used; an allowance of EIP-2612 or DAI that was made of it has no end, that of
Permit2 ends at its expiration. Every element of a batch is an effect. Whoever verifies is ``contract``; that it is the
token or the Permit2 that one trusts is for policy to say.
"""

from dataclasses import replace
from typing import Final

from keyvault.core.intent import Bound, Effect, Operation
from keyvault.intents.typed_message import WORD_MAX, Facts, Family, Meaning, Message, beginning, moment

_BINDS = frozenset({Bound.ACCOUNT, Bound.NONCE, Bound.EXPIRY})

_DETAILS = "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
TOKEN_PERMISSIONS: Final = "TokenPermissions(address token,uint256 amount)"  # noqa: S105 - ERC-20 tokens
_AUTHORIZATION = (
    "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"  # of EIP-3009
)


def _permit(message: Message) -> Meaning:
    facts, contract = message.facts, message.domain.contract
    owner = facts.address("owner")
    effect = message.allowance(
        asset=contract, destination=facts.address("spender"), source=owner, amount=facts.integer("value")
    )
    slot = f"permit:{message.domain.chain_id}:{contract}:{owner}:{facts.integer('nonce')}"
    return Meaning(effects=(effect,), binds=_BINDS, expires_at=moment(facts.integer("deadline")), slot=slot)


def _permit_of_dai(message: Message) -> Meaning:
    facts, contract = message.facts, message.domain.contract
    holder, expiry = facts.address("holder"), facts.integer("expiry")
    effect = message.allowance(
        asset=contract,
        destination=facts.address("spender"),
        source=holder,
        amount=WORD_MAX if facts.flag("allowed") else 0,
    )
    slot = f"permit:{message.domain.chain_id}:{contract}:{holder}:{facts.integer('nonce')}"
    return Meaning(effects=(effect,), binds=_BINDS, expires_at=moment(expiry) if expiry else None, slot=slot)


def _authorized_transfer(message: Message) -> Meaning:
    facts = message.facts
    source = facts.address("from")
    effect = replace(
        message.base,
        operation=Operation.TRANSFER,
        asset=message.domain.contract,
        destination=facts.address("to"),
        source=source,
        amount=facts.integer("value"),
    )
    return Meaning(
        effects=(effect,),
        binds=_BINDS,
        not_before=beginning(facts.integer("validAfter")),
        expires_at=moment(facts.integer("validBefore")),
        slot=_authorization_slot(message, source),
    )


def _cancelled_authorization(message: Message) -> Meaning:
    source = message.facts.address("authorizer")
    effect = replace(
        message.base,
        operation=Operation.CANCEL,
        asset=message.domain.contract,
        destination=message.domain.contract,
        source=source,
    )
    return Meaning(effects=(effect,), slot=_authorization_slot(message, source))


def _authorization_slot(message: Message, source: str) -> str:
    """Return what a transfer and its cancellation share: a nonce is used once, by either."""
    return f"eip3009:{message.domain.chain_id}:{message.domain.contract}:{source}:{message.facts.data('nonce').hex()}"


def _permit_single(message: Message) -> Meaning:
    facts, details = message.facts, message.facts.struct("details")
    spender = facts.address("spender")
    return Meaning(
        effects=(_allowance(message, details, spender),),
        binds=_BINDS,
        expires_at=moment(facts.integer("sigDeadline")),
        slot=f"permit2:{message.domain.chain_id}:{message.domain.contract}:{details.address('token')}"
        f":{spender}:{details.integer('nonce')}",
    )


def _permit_batch(message: Message) -> Meaning | None:
    facts = message.facts
    details = facts.structs("details")
    if not details:
        return None
    spender = facts.address("spender")
    return Meaning(
        effects=tuple(_allowance(message, each, spender) for each in details),
        binds=_BINDS,
        expires_at=moment(facts.integer("sigDeadline")),
    )


def _allowance(message: Message, details: Facts, spender: str) -> Effect:
    """Return what PermitDetails allow.

    An expiration of 0 is the time of the block that takes the signature (Allowance.sol): as late as sigDeadline.
    """
    expiration = details.integer("expiration")
    return message.allowance(
        asset=details.address("token"),
        destination=spender,
        amount=details.integer("amount"),
        expires_at=moment(expiration) if expiration else None,
    )


def _permit_transfer(message: Message) -> Meaning:
    return transfer_permit(message, (message.facts.struct("permitted"),))


def _permit_batch_transfer(message: Message) -> Meaning | None:
    permitted = message.facts.structs("permitted")
    return transfer_permit(message, permitted) if permitted else None


def transfer_permit(message: Message, permitted: tuple[Facts, ...], more: tuple[Effect, ...] = ()) -> Meaning:
    """Return the meaning of a PermitTransferFrom and its kin; ``more`` is what a witness adds."""
    facts = message.facts
    allowances = tuple(
        message.allowance(
            asset=each.address("token"),
            destination=facts.address("spender"),
            amount=each.integer("amount"),
        )
        for each in permitted
    )
    return Meaning(
        effects=(*allowances, *more),
        binds=_BINDS,
        expires_at=moment(facts.integer("deadline")),
        slot=f"permit2:{message.domain.chain_id}:{message.domain.contract}:{facts.integer('nonce')}",
    )


FAMILIES: Final = (
    Family(
        type_text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)", read=_permit
    ),
    Family(
        type_text="Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)",
        read=_permit_of_dai,
    ),
    Family(type_text=f"TransferWithAuthorization{_AUTHORIZATION}", read=_authorized_transfer),
    Family(type_text=f"ReceiveWithAuthorization{_AUTHORIZATION}", read=_authorized_transfer),
    Family(type_text="CancelAuthorization(address authorizer,bytes32 nonce)", read=_cancelled_authorization),
    Family(
        type_text=f"PermitSingle(PermitDetails details,address spender,uint256 sigDeadline){_DETAILS}",
        read=_permit_single,
    ),
    Family(
        type_text=f"PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline){_DETAILS}",
        read=_permit_batch,
    ),
    Family(
        type_text="PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)"
        + TOKEN_PERMISSIONS,
        read=_permit_transfer,
    ),
    Family(
        type_text="PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline)"
        + TOKEN_PERMISSIONS,
        read=_permit_batch_transfer,
    ),
)
"""Every type of these standards."""
