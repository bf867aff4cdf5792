"""32 bytes whose meaning nobody states. The policy must name ``opaque`` for the key, or it is refused."""

from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature

FIELD: Final = "raw_digest"

_ALGORITHMS = frozenset({KeyAlgorithm.SECP256K1, KeyAlgorithm.P256})
_DIGEST_BYTES = 32
_EFFECTS = (Effect(operation=Operation.OPAQUE),)


def parse(payload: Payload, signer: Signer) -> Intent:  # noqa: ARG001 (every decoder has the same form)
    """Return the opaque intent, or raise Malformed unless there are exactly 32 bytes."""
    digest = payload.parts[0]
    if len(digest) != _DIGEST_BYTES:
        raise Malformed(FIELD, f"has {len(digest)} bytes, must have exactly 32")
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=digest,
        effects=_EFFECTS,
        completeness=Completeness.OPAQUE,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 (as parse)
    """Return nothing: the signature itself is all there is."""
    return Output()
