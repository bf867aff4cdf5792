"""Safe's typed data: a transaction of the Safe, and messages in its name.

1.3.0 and later  domain {chainId, verifyingContract}
before 1.3.0     domain {verifyingContract}: valid on every chain where the Safe has that address
before 1.0.0     the sixth member is called dataGas instead of baseGas

(safe-global/safe-smart-account: Safe.sol, and GnosisSafe.sol at v0.1.0 and v1.0.0.) What the transaction does is read
by ``keyvault.intents.safe``. A SafeMessage makes the Safe vouch for bytes that nobody here can read, an order or a
permit as well: OPAQUE.
"""

from dataclasses import replace
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Operation
from keyvault.intents.safe import SafeTransaction, effects_of_safe_transaction
from keyvault.intents.typed_message import Family, Meaning, Message
from keyvault.intents.typed_schema import FIELD

_DOMAINS = frozenset({frozenset({"verifyingContract"})})
_SAFE_DOMAINS = _DOMAINS | {frozenset({"chainId", "verifyingContract"})}


def _transaction(message: Message) -> Meaning | None:
    """Return what the Safe would do. Other domains are not a Safe's: they have a name, a version or a salt."""
    facts, safe = message.facts, message.domain.contract
    if message.domain.members not in _SAFE_DOMAINS or safe is None:
        return None
    nonce, chain_id = facts.integer("nonce"), message.domain.chain_id
    transaction = SafeTransaction(
        to=facts.address("to"),
        value=facts.integer("value"),
        data=facts.data("data"),
        operation=facts.integer("operation"),
        safe_tx_gas=facts.integer("safeTxGas"),
        base_gas=facts.integer("baseGas" if "baseGas" in facts.members else "dataGas"),
        gas_price=facts.integer("gasPrice"),
        gas_token=facts.address("gasToken"),
        refund_receiver=facts.address("refundReceiver"),
        nonce=nonce,
    )
    try:
        effects, completeness = effects_of_safe_transaction(
            transaction, chain_id=chain_id, safe=safe, via=None, depth=0
        )
    except Malformed as error:
        raise Malformed(f"{FIELD}.message", error.problem) from None
    base = message.base
    return Meaning(
        effects=tuple(
            replace(
                effect,
                primary_type=base.primary_type,
                type_hash=base.type_hash,
                contract=effect.contract or base.contract,
                fee_max=0 if effect.fee_max is None else effect.fee_max,
            )
            for effect in effects
        ),
        completeness=completeness,
        binds=frozenset({Bound.ACCOUNT, Bound.NONCE}),
        slot=f"safe:{'any' if chain_id is None else chain_id}:{safe}:{nonce}",
    )


def _message(message: Message) -> Meaning:
    effect = replace(message.base, operation=Operation.OPAQUE, source=message.domain.contract, fee_max=None)
    return Meaning(effects=(effect,), completeness=Completeness.OPAQUE, binds=frozenset({Bound.ACCOUNT}))


def _type_text(gas: str) -> str:
    return (
        f"SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 {gas},"
        "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
    )


FAMILIES: Final = (
    Family(type_text=_type_text("baseGas"), read=_transaction, domains=_DOMAINS),
    Family(type_text=_type_text("dataGas"), read=_transaction, domains=_DOMAINS),
    Family(type_text="SafeMessage(bytes message)", read=_message, domains=_DOMAINS),
)
"""Both forms of a transaction, and the message."""
