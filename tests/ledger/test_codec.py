"""Events as bytes: golden, exact, and strict with what comes from elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import Duty, Role
from keyvault.core.errors import Corrupt, Malformed, Reason
from keyvault.core.events import (
    BallotCast,
    Event,
    Genesis,
    Governance,
    KeyCreated,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.intent import Completeness, Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState
from keyvault.core.policy import Verdict
from keyvault.core.statements import FreezeScope, decode_statement
from keyvault.ledger.codec import decode, encode
from keyvault.ledger.codec_policy import encode_policy
from keyvault.v1 import charter_pb2, event_pb2, policy_pb2, types_pb2
from tests.ledger.event_strategies import ANSWERS, COPIED, GOVERNANCE
from tests.ledger.golden import (
    CHARTER,
    EVENTS,
    POLICY,
    UNRELEASED,
    VECTORS,
    changed,
    vector,
)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_shipped_bytes_keep_their_meaning(name: str) -> None:
    """The golden bytes of every kind are read as the event, and the event is written as those bytes."""
    assert decode(vector(name)) == EVENTS[name]
    assert encode(EVENTS[name]).hex() == vector(name).hex()


def test_every_kind_and_every_vector_is_held() -> None:
    """No kind of fact is without golden bytes, and no golden bytes are without a test."""
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))
    assert {path.stem for path in VECTORS.glob("*.hex")} == set(EVENTS)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("key-created", "unknown fact: this build is too old, or the ledger is from before there were proposals"),
        ("key-state-changed", "which was never released"),
        ("policy-published", "which was never released"),
        ("proposal-made-policy", "policy.publish has exactly the parameters"),
        ("genesis", "Event: has a field that this build does not know"),
    ],
)
def test_a_form_from_before_the_first_release_is_refused(name: str, complaint: str) -> None:
    """What was written before any release is not taken for something else: the error says what it is."""
    with pytest.raises(Corrupt) as refused:
        decode(bytes.fromhex((UNRELEASED / f"{name}.hex").read_text()))
    assert complaint in str(refused.value)


def test_an_escalation_that_does_not_say_whose_signature_is_asked_for_is_refused() -> None:
    """The statement of a form that was never released is no statement, so nobody's approval of it counts."""
    event = decode(bytes.fromhex((UNRELEASED / "signature-escalated.hex").read_text()))
    assert isinstance(event, SignatureEscalated)
    with pytest.raises(Malformed, match="sign has exactly the parameters algorithm, "):
        decode_statement(event.statement)


@given(ANSWERS | GOVERNANCE | COPIED)
def test_any_fact_survives(event: Governance | SignatureIssued | SignatureRefused | SignatureEscalated) -> None:
    """What is written is read as the same, whatever values the types allow."""
    body = encode(event)
    assert decode(body) == event
    assert encode(decode(body)) == body


@given(st.data(), st.sampled_from(sorted(EVENTS)))
def test_any_bytes_are_an_event_or_corrupt(data: st.DataObject, name: str) -> None:
    """Flipped bits, cut ends and added bytes give another event or Corrupt, never another error."""
    body = bytearray(vector(name))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(body[: data.draw(st.integers(0, len(body)))]) + data.draw(st.binary(max_size=4))
    try:
        event = decode(changed)
    except Corrupt:
        return
    assert len(encode(event)) == len(changed)


@given(st.binary(max_size=300))
def test_noise_is_corrupt(body: bytes) -> None:
    """Random bytes are an event that is written back just as long, or Corrupt."""
    try:
        event = decode(body)
    except Corrupt:
        return
    assert len(encode(event)) == len(body)


@pytest.mark.parametrize("enum_and_numbers", [
    (KeyAlgorithm, types_pb2.KeyAlgorithm, "KEY_ALGORITHM_"),
    (KeyState, types_pb2.KeyState, "KEY_STATE_"),
    (KeyProvenance, types_pb2.KeyProvenance, "KEY_PROVENANCE_"),
    (PayloadKind, types_pb2.PayloadKind, "PAYLOAD_KIND_"),
    (Operation, types_pb2.Operation, "OPERATION_"),
    (Completeness, types_pb2.Completeness, "COMPLETENESS_"),
    (Reason, types_pb2.Reason, "REASON_"),
    (Verdict, policy_pb2.Verdict, "VERDICT_"),
    (Voice, types_pb2.Voice, "VOICE_"),
    (FreezeScope, types_pb2.FreezeScope, "FREEZE_SCOPE_"),
    (Role, charter_pb2.Role, "ROLE_"),
    (Duty, charter_pb2.Duty, "DUTY_"),
])  # fmt: skip
def test_enums_are_the_same_on_both_sides(enum_and_numbers: tuple[type[StrEnum], EnumTypeWrapper, str]) -> None:
    """Every word has a number and every number but the unspecified one has a word."""
    words, numbers, prefix = enum_and_numbers
    assert {prefix + "UNSPECIFIED", *(prefix + word.name for word in words)} == set(numbers.keys())


@pytest.mark.parametrize(
    ("name", "fields", "complaint"),
    [
        ("signature-refused", {"reason": 0}, "reason: 0"),
        ("signature-refused", {"reason": 99}, "reason: 99"),
        ("signature-refused", {"policy_sha256": b"short"}, "policy_sha256"),
        ("signature-refused", {"request__request_id": "no spaces"}, "request_id"),
        ("signature-refused", {"request__principal": "alice"}, "principal"),
        ("signature-refused", {"request__key": "Key"}, "request.key"),
        ("signature-refused", {"request__key": "key/versions/x"}, "request.key"),
        ("signature-refused", {"request__payload__raw_digest": b"x" * 24_577}, "payload: longer"),
        ("signature-issued-evm", {"completeness": 0}, "completeness"),
        ("signature-issued-evm", {"signature__value": b"x" * 63}, "signature.value"),
        ("signature-issued-evm", {"signature__recovery_id": 2}, "recovery_id"),
        ("signature-issued-binance", {"request__payload__exchange_request__venue": 0}, "venue"),
        ("key-created", {"algorithm": 0}, "algorithm"),
        ("key-created", {"provenance": 7}, "provenance"),
        ("key-created", {"key": "UPPER"}, "key"),
        ("key-created", {"state": types_pb2.KEY_STATE_DISABLED}, "a key does not begin as DISABLED"),
        ("key-created", {"proposal": b"short"}, "proposal: 5 bytes"),
        ("key-created", {"charter_sha256": b""}, "charter_sha256: 0 bytes"),
        ("key-state-changed", {"state": 0}, "state"),
        ("key-destroyed", {"key": ""}, "key"),
        ("policy-published", {"proposal": b""}, "proposal"),
        ("charter-changed", {"charter_sha256": b"x" * 33}, "charter_sha256"),
        ("frozen", {"scope": 0}, "scope"),
        ("ceremony-step-recorded", {"proposal": b""}, "proposal"),
        ("ballot-cast", {"voice": types_pb2.VOICE_REQUEST}, "a ballot approves, rejects, vetoes or revokes"),
        ("ballot-cast", {"voice": 0}, "voice"),
        ("ballot-cast", {"voice": 6}, "voice"),
        ("ballot-cast", {"member": "Dave"}, "member"),
        ("ballot-cast", {"signature__keyid": "0B" * 32}, "signature.keyid"),
        ("ballot-cast", {"signature__sig": b"x" * 81}, "signature.sig"),
        ("ballot-cast", {"signature__sig": b""}, "signature.sig"),
        ("change-refused", {"principal": "dave"}, "principal"),
        ("change-refused", {"reason": 21}, "reason"),
        ("change-refused", {"proposal": b"x"}, "proposal"),
        ("proposal-made", {"statement": b""}, "statement"),
        ("proposal-made", {"statement": b"x" * 8_193}, "statement: longer"),
        ("proposal-made", {"wrapped_secret": b"x" * 649}, "wrapped_secret: longer"),
        ("proposal-made-policy", {"document": b"\xff"}, "Policy"),
        ("proposal-made-charter", {"document": b"\xff"}, "Charter"),
        ("signature-issued-approved", {"proposal": b"x"}, "proposal"),
        ("signature-issued-approved", {"charter_sha256": b"x"}, "charter_sha256"),
        ("signature-escalated", {"completeness": 0}, "completeness"),
        ("genesis", {"enclave": ""}, "enclave"),
        ("genesis", {"charter": b""}, "charter.version"),
        ("genesis", {"policy": b"\xff"}, "Policy"),
    ],
)
def test_fields_out_of_bounds_are_corrupt(name: str, fields: dict[str, object], complaint: str) -> None:
    """Unspecified and unknown enum values, missing messages, other lengths and bad names are named."""
    with pytest.raises(Corrupt) as refused:
        decode(changed(name, **fields))
    assert complaint in str(refused.value)


def test_an_unknown_fact_asks_for_a_newer_build() -> None:
    """A fact with a number that this build does not know stops the replica, and says why (I2)."""
    message = event_pb2.Event(at_ms=1, epoch=1).SerializeToString()
    with pytest.raises(Corrupt, match="unknown fact: this build is too old"):
        decode(message + b"\x9a\x06\x02\x08\x01")  # field 99, a message
    with pytest.raises(Corrupt, match="no fact"):
        decode(message)


@pytest.mark.parametrize(
    "extra",
    [
        b"\xf8\x06\x01",  # field 111: unknown
        b"\x08\x01",  # at_ms a second time
        b"\x10\x00",  # epoch written out as zero, after the real one
    ],
)
def test_every_byte_must_mean_something(extra: bytes) -> None:
    """Unknown fields and fields that stand twice are Corrupt."""
    with pytest.raises(Corrupt):
        decode(vector("term-started") + extra)


def test_unknown_fields_deep_inside_are_corrupt() -> None:
    """An unknown field in the innermost message is found."""
    effect = types_pb2.Effect.FromString(
        types_pb2.Effect(operation=types_pb2.OPERATION_OPAQUE).SerializeToString() + b"\xf8\x06\x01"
    )
    message = event_pb2.Event.FromString(vector("signature-issued-digest"))
    message.signature_issued.effects.append(effect)
    with pytest.raises(Corrupt, match="does not know"):
        decode(message.SerializeToString())


def test_integers_have_one_form() -> None:
    """An amount with a leading zero, or beyond 64 bytes, is Corrupt."""
    for amount in (b"\0", b"\0\1", b"\1" * 65):
        message = event_pb2.Event.FromString(vector("signature-issued-evm"))
        message.signature_issued.effects[0].amount = amount
        with pytest.raises(Corrupt, match="integer"):
            decode(message.SerializeToString())


def test_entries_are_bounded() -> None:
    """What is longer than an entry can be is neither written nor read."""
    event = EVENTS["signature-issued-digest"]
    assert isinstance(event, SignatureIssued)
    with pytest.raises(Malformed, match="65535"):
        encode(replace(event, signing_input=b"x" * limits.ENTRY_BYTES_MAX))
    with pytest.raises(Corrupt, match="65535"):
        decode(bytes(limits.ENTRY_BYTES_MAX + 1))


def test_what_could_not_be_read_is_not_written() -> None:
    """A rare fact with a document that says something else, or out of bounds, never becomes an entry."""
    genesis, created, cast = EVENTS["genesis"], EVENTS["key-created"], EVENTS["ballot-cast"]
    assert isinstance(genesis, Genesis)
    assert isinstance(created, KeyCreated)
    assert isinstance(cast, BallotCast)
    for wrong in (
        replace(genesis, policy_document=encode_policy(replace(POLICY, version=2))),
        replace(genesis, charter=replace(CHARTER, version=2)),
        replace(created, state=KeyState.DISABLED),
        replace(created, proposal=b""),
        replace(cast, voice=Voice.REQUEST),
    ):
        with pytest.raises(Malformed):
            encode(wrong)


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: statement + b" ",
        lambda statement: statement.replace(b'","', b'", "', 1),
        lambda statement: statement.replace(b"Create key", b"Keep key", 1),
        lambda statement: statement.replace(b'"nonce":"00ff"', b'"nonce":"00FF"'),
        lambda statement: statement.replace(b'"policy_version":"2"', b'"policy_version":2'),
        lambda statement: statement.replace(b'"policy_version":"2"', b'"policy_version":"02"'),
        lambda statement: statement.replace(b'{"action":"key.create",', b"{")[:-1] + b',"action":"key.create"}',
        lambda statement: statement.replace(b'"algorithm":"SECP256K1",', b""),
        lambda statement: statement.replace(b"statement/v2", b"statement/v1"),
    ],
)  # fmt: skip
def test_a_statement_has_one_form(change: Callable[[bytes], bytes]) -> None:
    """Another order, another space, another word that a member would read: not what keyvault writes, so corrupt."""
    proposed = EVENTS["proposal-made"]
    assert isinstance(proposed, ProposalMade)
    another = change(proposed.statement)
    assert another != proposed.statement
    with pytest.raises(Corrupt, match="statement"):
        decode(changed("proposal-made", statement=another))
