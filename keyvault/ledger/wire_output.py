"""What is to be sent, as messages: one place for server and SDK, so that both say the same of the same signature."""

from typing import Final

from keyvault.core.intent import Output, PayloadKind, Stamp
from keyvault.v1 import signing_pb2

OUTPUTS: Final = ("transaction", "typed_data", "exchange_request", "signed_bytes")
"""The fields of SignResponse, of which one at most is set."""

_V = 64


def fill_output(response: signing_pb2.SignResponse, kind: PayloadKind, output: Output) -> None:
    """Write the output into a response. Of a raw digest the signature itself is all there is."""
    match kind:
        case PayloadKind.RAW_DIGEST:
            return
        case PayloadKind.EVM_TRANSACTION:
            response.transaction.raw_transaction = output.raw
            response.transaction.transaction_hash = output.transaction_hash
        case PayloadKind.TYPED_DATA:
            response.typed_data.r = output.raw[:32]
            response.typed_data.s = output.raw[32:_V]
            response.typed_data.v = output.raw[_V]
            response.typed_data.signature = output.raw
        case _ if output.raw:
            response.signed_bytes.raw = output.raw
            response.signed_bytes.transaction_hash = output.transaction_hash
        case _:
            _fill_request(response.exchange_request, output)


def _fill_request(request: signing_pb2.SignedExchangeRequest, output: Output) -> None:
    request.path, request.query, request.body, request.message = output.path, output.query, output.body, output.message
    for name, value in output.headers:
        request.headers.add(name=name, value=value)


def fill_stamp(response: signing_pb2.SignResponse, stamp: Stamp | None) -> None:
    """Say what the service stamped, if it did: who has it can make the signed bytes anew."""
    if stamp is not None:
        response.stamp.at_ms, response.stamp.nonce = stamp.at, stamp.nonce
