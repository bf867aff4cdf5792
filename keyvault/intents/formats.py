"""The one door from bytes to meaning, and back to what is sent.

Everything is bounded before it is looked at. A payload that is not exactly one of the known formats raises Malformed;
nothing else escapes ``parse``.
"""

from typing import assert_never

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Intent, Output, Payload, PayloadKind
from keyvault.core.keys import Signature
from keyvault.intents import binance, evm, raw_digest, typed_data


def parse(payload: Payload) -> Intent:
    """Return what signing ``payload`` means; raise Malformed for everything that is not well formed."""
    parts = 2 if payload.kind is PayloadKind.BINANCE_REST else 1
    if len(payload.parts) != parts:
        raise Malformed("payload", f"{payload.kind} has {parts} part(s), not {len(payload.parts)}")
    if sum(map(len, payload.parts)) > limits.PAYLOAD_BYTES_MAX:
        raise Malformed("payload", f"has more than {limits.PAYLOAD_BYTES_MAX} bytes")
    match payload.kind:
        case PayloadKind.EVM_TRANSACTION:
            return evm.parse(payload)
        case PayloadKind.TYPED_DATA:
            return typed_data.parse(payload)
        case PayloadKind.BINANCE_REST:
            return binance.parse(payload)
        case PayloadKind.RAW_DIGEST:
            return raw_digest.parse(payload)
        case _:
            assert_never(payload.kind)


def assemble(payload: Payload, signature: Signature) -> Output:
    """Return exactly what is to be sent for a payload that ``parse`` accepted, signed with one of its algorithms.

    Raises Broken when the signature is not of the form that the format needs: length, recovery id.
    """
    match payload.kind:
        case PayloadKind.EVM_TRANSACTION:
            return evm.assemble(payload, signature)
        case PayloadKind.TYPED_DATA:
            return typed_data.assemble(signature)
        case PayloadKind.BINANCE_REST:
            return binance.assemble(payload, signature)
        case PayloadKind.RAW_DIGEST:
            return Output()
        case _:
            assert_never(payload.kind)
