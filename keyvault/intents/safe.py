"""What a Safe transaction does: the ten signed fields of ``SafeTx``, by EIP-712 or inside ``execTransaction``."""

from dataclasses import dataclass

from keyvault.core.intent import Completeness, Effect
from keyvault.intents import calls


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


def effects_of_safe_transaction(
    transaction: SafeTransaction, *, chain_id: int | None, safe: str, via: str | None, depth: int
) -> tuple[tuple[Effect, ...], Completeness]:
    """Return all effects of ``safe`` executing ``transaction``, at least one, and how much of them is known.

    ``chain_id`` is None for Safes before 1.3.0, whose EIP-712 domain binds no chain. ``via`` is what the Safe
    transaction itself stands in, None for a signed SafeTx, with ``depth`` 0; the effects' ``via`` begins with it and
    goes on with ``safe 0x...``. Raises Malformed beyond ``limits.CALL_DEPTH_MAX`` and ``limits.EFFECTS_MAX``.
    """
    return calls.effects_of_call(
        chain_id=chain_id,
        source=safe,
        to=transaction.to,
        value=transaction.value,
        data=transaction.data,
        via=via,
        depth=depth,
    )
