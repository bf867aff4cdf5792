"""What a Safe does: ``execTransaction``, MultiSend, and the functions that rule it (safe-global/safe-smart-account).

``execTransaction`` is known by its selector, and a contract that has it need be no Safe: it can do anything else with
what it is given. So it is a CALL of the contract, beside everything that a Safe would do: a rule must name the contract
and the selector. Signing SafeTx names the Safe by the domain, and needs no CALL.

A call made by a Safe has the Safe as its source. A delegatecall runs foreign code as the Safe: it is DELEGATE to that
code, whatever its selector claims, except to a MultiSend that ``calls_multisend`` knows, whose batch is read.
Operation 2 created a contract in Safes before 1.1; higher ones do not exist and are OPAQUE.

A refund (``gasPrice`` above 0) is a TRANSFER of an amount that nobody knows before, to ``refundReceiver``, or to
whoever sends the transaction, which the bytes do not say. ``safeTxGas`` and ``baseGas`` only change that amount.

New owners are KEY_GRANT, everything else that rules the Safe is ADMIN: threshold, modules, guards, fallback handler,
code. ``approveHash`` approves a transaction that is not in the bytes: OPAQUE.
"""

from dataclasses import dataclass, replace
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Effect, Operation
from keyvault.intents import calls_multisend
from keyvault.intents.call import ZERO_ADDRESS, Call, Effects, Family, family, gather

_CALL: Final = 0
_DELEGATECALL: Final = 1
_CREATE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeTransaction:
    """The ten fields of SafeTx. Addresses are ``0x`` and 40 lower-case hex digits, the zero address included.

    ``nonce`` is None inside ``execTransaction``, whose calldata does not have it.
    """

    to: str
    value: int
    data: bytes
    operation: int
    safe_tx_gas: int
    base_gas: int
    gas_price: int
    gas_token: str
    refund_receiver: str
    nonce: int | None


def executed(call: Call, transaction: SafeTransaction) -> Effects:
    """Return all effects of the Safe ``call.to`` executing ``transaction``, at least one."""
    inner = call.inner(
        f"safe {call.to}", source=call.to, to=transaction.to, value=transaction.value, data=transaction.data
    )
    effects = _operation(inner, transaction.operation)
    if transaction.gas_price:
        refund = _payment(inner, transaction.gas_token, None, transaction.refund_receiver)
        return gather((effects, (refund,)))
    return effects


def _operation(inner: Call, operation: int) -> Effects:
    if operation == _CALL:
        return inner.read(inner)
    if operation == _DELEGATECALL:
        return _delegated(inner)
    if operation == _CREATE:
        return (replace(inner.effect(Operation.CREATE), destination=None, contract=None, selector=None),)
    return (inner.effect(Operation.OPAQUE),)


def _delegated(call: Call) -> Effects:
    """Return the effects of the Safe ``call.source`` running the code at ``call.to`` as its own."""
    # A delegatecall takes no value: whoever writes one means something else.
    multisend = None if call.value else calls_multisend.known(call)
    if multisend is None:
        return (call.effect(Operation.DELEGATE),)
    try:
        entries = multisend.entries(call.data, call.source)
    except Malformed:
        return (call.effect(Operation.OPAQUE),)
    if not entries:
        return (call.effect(Operation.DELEGATE),)
    return gather(
        _operation(
            call.inner("multisend", source=call.source, to=entry.to, value=entry.value, data=entry.data),
            entry.operation,
        )
        for entry in entries
    )


def _payment(inner: Call, token: str, amount: int | None, receiver: str) -> Effect:
    """Return what the Safe pays besides; the receiver is unknown where it is whoever sends the transaction."""
    return Effect(
        operation=Operation.TRANSFER,
        chain_id=inner.chain_id,
        destination=None if receiver == ZERO_ADDRESS else receiver,
        amount=amount,
        fee_max=inner.fee_max,
        asset=None if token == ZERO_ADDRESS else token,
        source=inner.source,
        contract=None if token == ZERO_ADDRESS else token,
        via=inner.via,
    )


def _exec_transaction(  # noqa: PLR0913, PLR0917 - the function's own arguments
    call: Call,
    to: str,
    value: int,
    data: bytes,
    operation: int,
    safe_tx_gas: int,
    base_gas: int,
    gas_price: int,
    gas_token: str,
    refund_receiver: str,
    _signatures: bytes,
) -> Effects:
    transaction = SafeTransaction(
        to=to,
        value=value,
        data=data,
        operation=operation,
        safe_tx_gas=safe_tx_gas,
        base_gas=base_gas,
        gas_price=gas_price,
        gas_token=gas_token,
        refund_receiver=refund_receiver,
        nonce=None,
    )
    return gather(((call.effect(Operation.CALL),), executed(call, transaction)))


def _setup(
    call: Call,
    owners: tuple[str, ...],
    _threshold: int,
    to: str,
    data: bytes,
    handler: str,
    token: str,
    payment: int,
    receiver: str,
) -> Effects:
    inner = call.inner(f"safe {call.to}", source=call.to, to=to, value=0, data=data)
    return gather(
        (
            (call.effect(Operation.ADMIN, None if handler == ZERO_ADDRESS else handler),),
            tuple(call.effect(Operation.KEY_GRANT, owner) for owner in owners),
            () if to == ZERO_ADDRESS else _delegated(inner),
            (_payment(inner, token, payment, receiver),) if payment else (),
        )
    )


def _setup_before_1_1(
    call: Call,
    owners: tuple[str, ...],
    threshold: int,
    to: str,
    data: bytes,
    token: str,
    payment: int,
    receiver: str,
) -> Effects:
    return _setup(call, owners, threshold, to, data, ZERO_ADDRESS, token, payment, receiver)


def _add_owner(call: Call, owner: str, _threshold: int) -> Effects:
    return (call.effect(Operation.KEY_GRANT, owner), call.effect(Operation.ADMIN))


def _remove_owner(call: Call, _previous: str, _owner: str, _threshold: int) -> Effects:
    return (call.effect(Operation.ADMIN),)


def _swap_owner(call: Call, _previous: str, _old: str, new: str) -> Effects:
    return (call.effect(Operation.KEY_GRANT, new),)


def _change_threshold(call: Call, _threshold: int) -> Effects:
    return (call.effect(Operation.ADMIN),)


def _set(call: Call, code: str) -> Effects:
    return (call.effect(Operation.ADMIN, code),)


def _disable_module(call: Call, _previous: str, _module: str) -> Effects:
    return (call.effect(Operation.ADMIN),)


def _approve_hash(call: Call, _hash: bytes) -> Effects:
    return (call.effect(Operation.OPAQUE),)


_EXEC_TRANSACTION: Final = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"

FUNCTIONS: Final[Family] = family(
    {
        _EXEC_TRANSACTION: _exec_transaction,
        "approveHash(bytes32)": _approve_hash,
        "setup(address[],uint256,address,bytes,address,address,uint256,address)": _setup,
        "setup(address[],uint256,address,bytes,address,uint256,address)": _setup_before_1_1,
        "addOwnerWithThreshold(address,uint256)": _add_owner,
        "removeOwner(address,address,uint256)": _remove_owner,
        "swapOwner(address,address,address)": _swap_owner,
        "changeThreshold(uint256)": _change_threshold,
        "enableModule(address)": _set,
        "disableModule(address,address)": _disable_module,
        "setGuard(address)": _set,
        "setModuleGuard(address)": _set,
        "setFallbackHandler(address)": _set,
        "changeMasterCopy(address)": _set,
    }
)
