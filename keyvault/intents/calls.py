"""What a call to an EVM contract does, read from its calldata."""

from keyvault.core.intent import Completeness, Effect, Operation


def effects_of_call(
    *, chain_id: int | None, source: str, to: str, value: int, data: bytes, via: str | None, depth: int
) -> tuple[tuple[Effect, ...], Completeness]:
    """Return all effects of ``source`` calling ``to``, at least one, and how much of them is known.

    Addresses are ``0x`` and 40 lower-case hex digits. ``chain_id`` is None where the signed bytes bind no chain.
    ``via`` names the calls that this one stands in, None at the top, where ``depth`` is 0.
    Raises Malformed beyond ``limits.CALL_DEPTH_MAX`` and ``limits.EFFECTS_MAX``.
    """
    del value, depth
    selector = f"0x{data[:4].hex()}"
    effect = Effect(
        operation=Operation.OPAQUE,
        chain_id=chain_id,
        source=source,
        destination=to,
        contract=to,
        selector=selector,
        via=via,
    )
    return (effect,), Completeness.OPAQUE
