"""What a call to an EVM contract does, read from its calldata alone.

The calldata says which function is called, not what the contract does with it: a call of ``transfer`` is a TRANSFER of
the asset that is named as the contract called, whatever lives there. Which contracts are tokens is policy's knowledge,
in its list of assets; so is that a Safe is a Safe (``source``) and a router a router (``contract``).

- No calldata: TRANSFER of the coin. Coin sent along with calldata is a TRANSFER to the contract, before the others.
- A known function: its effects, all of them, calls within calls included (``via``).
- An unknown function: CALL, with contract and selector, for policy to name.
- A known function with arguments that are not in canonical encoding: OPAQUE.
- Functions of contracts with one well-known address (Permit2, Multicall3) are known only there.

An amount is what the bytes say in the token's own units. ``transferFrom`` and ``approve`` are the same bytes for
ERC-20 and for ERC-721, where the number is not an amount but a token: list an NFT contract as an asset never alone,
but with its token, as ``{contract}/{token id}``.
"""

from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents import abi, calls_admin, calls_batches, calls_permit2, calls_safe, calls_tokens
from keyvault.intents.call import Call, Effects, Family, completeness_of, gather

FIELD: Final = abi.FIELD

_FUNCTIONS: Family = {
    **calls_tokens.FUNCTIONS,
    **calls_permit2.FUNCTIONS,
    **calls_batches.FUNCTIONS,
    **calls_safe.FUNCTIONS,
    **calls_admin.FUNCTIONS,
}


def effects_of_call(
    *, chain_id: int | None, source: str, to: str, value: int, data: bytes, via: str | None, depth: int
) -> tuple[tuple[Effect, ...], Completeness]:
    """Return all effects of ``source`` calling ``to``, at least one, and how much of them is known.

    Addresses are ``0x`` and 40 lower-case hex digits. ``chain_id`` is None where the signed bytes bind no chain.
    ``via`` names the calls that this one stands in, None at the top, where ``depth`` is 0.
    Raises Malformed beyond ``limits.CALL_DEPTH_MAX`` and ``limits.EFFECTS_MAX``.
    """
    call = Call(chain_id=chain_id, source=source, to=to, value=value, data=data, via=via, depth=depth, read=read)
    if depth > limits.CALL_DEPTH_MAX:
        raise Malformed(FIELD, f"calls are nested deeper than {limits.CALL_DEPTH_MAX}")
    effects = read(call)
    return effects, completeness_of(effects)


def read(call: Call) -> Effects:
    """Return all effects of ``call``, at least one."""
    if not call.data:
        return (_coin(call, contract=None),)
    function = _FUNCTIONS.get(call.data[: abi.SELECTOR_BYTES])
    if function is None or (function.only_at is not None and function.only_at != call.to):
        return _with_coin(call, (call.effect(Operation.CALL),))
    try:
        arguments = function.arguments.decode(call.data)
    except Malformed:
        return _with_coin(call, (call.effect(Operation.OPAQUE),))
    effects = function.handler(call, *arguments)
    if not effects:
        return _with_coin(call, (call.effect(Operation.CALL),))
    return effects if function.states_value else _with_coin(call, effects)


def _with_coin(call: Call, effects: Effects) -> Effects:
    return gather(((_coin(call, contract=call.to),), effects)) if call.value else effects


def _coin(call: Call, *, contract: str | None) -> Effect:
    """Return the effect that the call's value moves."""
    return Effect(
        operation=Operation.TRANSFER,
        chain_id=call.chain_id,
        destination=call.to,
        amount=call.value,
        fee_max=call.fee_max,
        source=call.source,
        contract=contract,
        via=call.via,
    )
