"""What a Safe transaction does: the ten signed fields of ``SafeTx``, by EIP-712 or inside ``execTransaction``."""

from keyvault.core.intent import Completeness, Effect
from keyvault.intents import calls
from keyvault.intents.call import Call, completeness_of
from keyvault.intents.calls_safe import SafeTransaction, executed

__all__ = ["SafeTransaction", "effects_of_safe_transaction"]


def effects_of_safe_transaction(
    transaction: SafeTransaction, *, chain_id: int | None, safe: str, via: str | None, depth: int
) -> tuple[tuple[Effect, ...], Completeness]:
    """Return all effects of ``safe`` executing ``transaction``, at least one, and how much of them is known.

    ``chain_id`` is None for Safes before 1.3.0, whose EIP-712 domain binds no chain. ``via`` is what the Safe
    transaction itself stands in, None for a signed SafeTx, with ``depth`` 0; the effects' ``via`` begins with it and
    goes on with ``safe 0x...``. Raises Malformed beyond ``limits.CALL_DEPTH_MAX`` and ``limits.EFFECTS_MAX``.
    """
    call = Call(chain_id=chain_id, source=safe, to=safe, value=0, data=b"", via=via, depth=depth, read=calls.read)
    effects = executed(call, transaction)
    return effects, completeness_of(effects)
