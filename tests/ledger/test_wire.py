"""Values that the ledger and the API share come back as they were, within their bounds."""

from dataclasses import replace

import pytest
from hypothesis import given

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    ProposalMade,
)
from keyvault.core.intent import Payload, PayloadKind
from keyvault.ledger.codec import decode, encode
from keyvault.ledger.wire import member_signature_from_proto, member_signature_to_proto
from keyvault.ledger.wire_payload import fill_payload, payload_from_proto
from keyvault.v1 import types_pb2
from tests.ledger.event_strategies import PAYLOADS, SIGNATURES
from tests.ledger.golden import (
    EVENTS,
    SIGNED,
    WRAPPED,
)


@given(PAYLOADS)
def test_payloads_survive(payload: Payload) -> None:
    """Any payload is written and read as the same."""
    message = types_pb2.Payload()
    fill_payload(message, payload)
    assert payload_from_proto(types_pb2.Payload.FromString(message.SerializeToString())) == payload


def test_payloads_of_unknown_formats_are_malformed() -> None:
    """No format, an unknown one, or an unknown field beside a known one is refused: it might change the meaning."""
    for data in (b"", b"\x9a\x06\x01a", b"\x22\x01a\xf8\x06\x01", b"\x1a\x05\x08\x01\xf8\x06\x01"):
        with pytest.raises(Malformed):
            payload_from_proto(types_pb2.Payload.FromString(data))
    with pytest.raises(Malformed, match="UTF-8"):
        fill_payload(types_pb2.Payload(), Payload(kind=PayloadKind.BINANCE_REST, parts=(b"\xff", b"")))


@given(SIGNATURES)
def test_member_signatures_survive(signature: EnvelopeSignature) -> None:
    """A member's signature comes back as it was."""
    assert member_signature_from_proto(member_signature_to_proto(signature)) == signature


def test_member_signatures_have_bounds() -> None:
    """A key id that is no lower-case SHA-256, an empty signature and one that is too long are not taken."""
    for wrong in (
        replace(SIGNED, keyid="0A" * 32),
        replace(SIGNED, keyid="0a" * 31),
        replace(SIGNED, sig=b""),
        replace(SIGNED, sig=b"x" * (limits.MEMBER_SIGNATURE_BYTES_MAX + 1)),
    ):
        with pytest.raises(Malformed):
            member_signature_from_proto(member_signature_to_proto(wrong))
    unknown = types_pb2.MemberSignature.FromString(
        member_signature_to_proto(SIGNED).SerializeToString() + b"\xf8\x06\x01"
    )
    with pytest.raises(Malformed, match="does not know"):
        member_signature_from_proto(unknown)


def test_an_import_carries_its_wrapped_secret() -> None:
    """The secret that a proposal imports stands in the entry as it was wrapped."""
    proposed = EVENTS["proposal-made-import"]
    assert isinstance(proposed, ProposalMade)
    read = decode(encode(proposed))
    assert isinstance(read, ProposalMade)
    assert read.wrapped_secret == WRAPPED
