"""Events and policies as bytes: golden, exact, and strict with what comes from elsewhere."""

import hashlib
from dataclasses import replace
from enum import StrEnum
from typing import get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Corrupt, Malformed, Reason
from keyvault.core.events import Event, Genesis, KeyCreated, SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import Epoch, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.ledger.codec import decode, encode, key_of, request_key, statement_key
from keyvault.ledger.codec_policy import decode_policy, encode_policy, policy_sha256
from keyvault.ledger.wire import envelope_from_proto, envelope_to_proto, fill_payload, payload_from_proto
from keyvault.v1 import event_pb2, policy_pb2, types_pb2
from tests.ledger.golden import ENVELOPE, EVENTS, POLICY, VECTORS

IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
AMOUNTS = st.none() | st.just(0) | st.integers(0, 2**512 - 1)
EFFECTS = st.builds(
    Effect,
    operation=st.sampled_from(Operation),
    chain_id=AMOUNTS,
    venue=st.none() | TEXT,
    destination=st.none() | TEXT,
    selector=st.none() | TEXT,
    primary_type=st.none() | TEXT,
    amount=AMOUNTS,
    fee_max=AMOUNTS,
    symbol=st.none() | TEXT,
    side=st.none() | TEXT,
)
PAYLOADS = st.builds(
    lambda kind, part: Payload(kind=kind, parts=(part,)),
    st.sampled_from([kind for kind in PayloadKind if kind is not PayloadKind.BINANCE_REST]),
    st.binary(max_size=200),
) | st.builds(
    lambda query, body: Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), body.encode())), TEXT, TEXT
)
REQUESTS = st.builds(
    SignatureRequest,
    request_id=IDS.map(RequestId),
    principal=st.from_regex(r"spiffe://[a-z0-9.-]{1,20}/(bot|admin)/[a-z][a-z0-9._-]{0,20}", fullmatch=True).map(
        Principal
    ),
    key=st.from_regex(r"[a-z][a-z0-9-]{0,62}(/versions/[1-9][0-9]{0,5})?", fullmatch=True),
    payload=PAYLOADS,
)
DECIDED = {
    "at": st.integers(0, 2**63 - 1).map(UnixMillis),
    "epoch": st.integers(0, 2**63 - 1).map(Epoch),
    "request": REQUESTS,
    "policy_version": st.integers(0, 2**32 - 1),
    "policy_sha256": st.binary(min_size=32, max_size=32),
    "rules": st.lists(TEXT, max_size=4).map(tuple),
}
ANSWERS = st.builds(
    SignatureIssued,
    **DECIDED,
    key_version=st.integers(0, 2**32 - 1),
    signing_input=st.binary(max_size=200),
    effects=st.lists(EFFECTS, max_size=3).map(tuple),
    completeness=st.sampled_from(Completeness),
    signature=st.builds(
        Signature,
        value=st.binary(min_size=64, max_size=64) | st.binary(min_size=32, max_size=32),
        recovery_id=st.sampled_from([None, 0, 1]),
    ),
) | st.builds(
    SignatureRefused,
    **DECIDED,
    reason=st.sampled_from(Reason),
    explanation=TEXT,
)
NAMES = st.frozensets(TEXT.filter(bool), min_size=1, max_size=4) | st.just(ANY)
CONDITION = st.none() | NAMES
AMOUNT = st.none() | st.just(ANY) | st.integers(0, 2**256 - 1)
RULES = st.builds(
    Rule,
    id=st.just("r"),
    verdict=st.sampled_from(Verdict),
    keys=CONDITION,
    principals=CONDITION,
    kinds=st.frozensets(st.sampled_from(PayloadKind)),
    operations=st.frozensets(st.sampled_from(Operation)),
    chains=st.none() | st.just(ANY) | st.frozensets(st.integers(0, 2**80), min_size=1, max_size=4),
    venues=CONDITION,
    destinations=CONDITION,
    selectors=CONDITION,
    primary_types=CONDITION,
    amount_max=AMOUNT,
    fee_max=AMOUNT,
)


def _vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_shipped_bytes_keep_their_meaning(name: str) -> None:
    """The golden bytes of every kind are read as the event, and the event is written as those bytes."""
    assert decode(_vector(name)) == EVENTS[name]
    assert encode(EVENTS[name]).hex() == _vector(name).hex()


def test_every_kind_and_every_vector_is_held() -> None:
    """No kind of fact is without golden bytes, and no golden bytes are without a test."""
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))
    assert {path.stem for path in VECTORS.iterdir()} == set(EVENTS)


@given(ANSWERS)
def test_any_answer_survives(event: SignatureIssued | SignatureRefused) -> None:
    """What is written is read as the same, whatever values the types allow."""
    body = encode(event)
    assert decode(body) == event
    assert encode(decode(body)) == body


@given(st.data(), st.sampled_from(sorted(EVENTS)))
def test_any_bytes_are_an_event_or_corrupt(data: st.DataObject, name: str) -> None:
    """Flipped bits, cut ends and added bytes give another event or Corrupt, never another error."""
    body = bytearray(_vector(name))
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
])  # fmt: skip
def test_enums_are_the_same_on_both_sides(enum_and_numbers: tuple[type[StrEnum], EnumTypeWrapper, str]) -> None:
    """Every word has a number and every number but the unspecified one has a word."""
    words, numbers, prefix = enum_and_numbers
    assert [prefix + "UNSPECIFIED", *(prefix + word.name for word in words)] == list(numbers.keys())


def _changed(name: str, **fields: object) -> bytes:
    """Return the vector with fields of its fact set, protobuf's way."""
    message = event_pb2.Event.FromString(_vector(name))
    fact = getattr(message, message.WhichOneof("fact") or "")
    for path, value in fields.items():
        *parents, last = path.split("__")
        target = fact
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return message.SerializeToString(deterministic=True)


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
        ("key-created", {"authorization__payload": b""}, "authorization"),
        ("key-created", {"authorization__payload": b"x" * 20_000}, "authorization: longer"),
        ("key-state-changed", {"state": 0}, "state"),
        ("policy-published", {"policy": b""}, "policy.version"),
        ("genesis", {"enclave": ""}, "enclave"),
        ("genesis", {"policy": b"\xff"}, "Policy"),
    ],
)
def test_fields_out_of_bounds_are_corrupt(name: str, fields: dict[str, object], complaint: str) -> None:
    """Unspecified and unknown enum values, missing messages, other lengths and bad names are named."""
    with pytest.raises(Corrupt) as refused:
        decode(_changed(name, **fields))
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
        decode(_vector("term-started") + extra)


def test_unknown_fields_deep_inside_are_corrupt() -> None:
    """An unknown field in the innermost message is found."""
    effect = types_pb2.Effect.FromString(
        types_pb2.Effect(operation=types_pb2.OPERATION_OPAQUE).SerializeToString() + b"\xf8\x06\x01"
    )
    message = event_pb2.Event.FromString(_vector("signature-issued-digest"))
    message.signature_issued.effects.append(effect)
    with pytest.raises(Corrupt, match="does not know"):
        decode(message.SerializeToString())


def test_integers_have_one_form() -> None:
    """An amount with a leading zero, or beyond 64 bytes, is Corrupt."""
    for amount in (b"\0", b"\0\1", b"\1" * 65):
        message = event_pb2.Event.FromString(_vector("signature-issued-evm"))
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
    genesis, created = EVENTS["genesis"], EVENTS["key-created"]
    assert isinstance(genesis, Genesis)
    assert isinstance(created, KeyCreated)
    with pytest.raises(Malformed):
        encode(replace(genesis, policy_document=encode_policy(replace(POLICY, version=2))))
    with pytest.raises(Malformed):
        encode(replace(created, authorization=replace(ENVELOPE, signatures=())))


def test_keys_of_the_request_index() -> None:
    """Requests are keyed by caller and id in the order of the ids, statements by their bytes, the rest not at all."""
    principal = Principal("spiffe://firm.example/bot/maker-1")
    prefix = hashlib.sha256(principal.encode()).digest()[:8]
    assert request_key(principal, RequestId("abc")) == prefix + b"abc"
    assert request_key(principal, RequestId("abc")) < request_key(principal, RequestId("abd"))
    statement = b"stmt\0\0\0\0" + hashlib.sha256(ENVELOPE.payload).digest()
    assert statement_key(ENVELOPE.payload) == statement
    for name, event in EVENTS.items():
        if name.startswith("signature"):
            assert key_of(event) == prefix + b"0190b2c4-7d1e-7abc-8def-0123456789ab"
        else:
            assert key_of(event) == (statement if name.startswith(("key", "policy")) else None)


# Policies ---------------------------------------------------------------------------------------------------------


@given(RULES, NAMES, st.integers(1, 2**32 - 1))
def test_any_policy_survives(rule: Rule, keys: frozenset[str], version: int) -> None:
    """A policy is written and read as the same, and the same policy has the same bytes and hash."""
    limit = Limit(id="l", keys=keys, window_ms=limits.WINDOW_MS_MAX, amount_max=0, chain_id=0)
    policy = Policy(version=version, rules=(rule,), limits=(limit,))
    document = encode_policy(policy)
    assert decode_policy(document) == policy
    assert encode_policy(decode_policy(document)) == document
    assert policy_sha256(document) == hashlib.sha256(document).digest()


def _limit(**fields: object) -> policy_pb2.Limit:
    usual: dict[str, object] = {
        "id": "l", "keys": policy_pb2.StringCondition(any=True), "window_ms": 1_000, "max_count": 1,
    }  # fmt: skip
    return policy_pb2.Limit(**{name: value for name, value in (usual | fields).items() if value is not None})  # type: ignore[arg-type]  # fields by name


def _rule(**fields: object) -> policy_pb2.Rule:
    return policy_pb2.Rule(**({"id": "r", "verdict": policy_pb2.VERDICT_ALLOW} | fields))  # type: ignore[arg-type]  # fields by name


NOTHING = policy_pb2.StringCondition()
BOTH = policy_pb2.StringCondition(any=True, values=["a"])


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("policy.version", policy_pb2.Policy()),
        ("policy.rules", policy_pb2.Policy(version=1, rules=[_rule(id=f"r{i}") for i in range(501)])),
        ("policy.limits", policy_pb2.Policy(version=1, limits=[_limit(id=f"l{i}") for i in range(65)])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="")])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="Upper")])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(), _rule()])),
        ("policy.id", policy_pb2.Policy(version=1, rules=[_rule(id="l")], limits=[_limit()])),
        ("rules[r].verdict", policy_pb2.Policy(version=1, rules=[_rule(verdict=0)])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys=NOTHING)])),
        ("rules[r].venues", policy_pb2.Policy(version=1, rules=[_rule(venues=BOTH)])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": ["a", "a"]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": [""]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": ["a" * 257]})])),
        ("rules[r].keys", policy_pb2.Policy(version=1, rules=[_rule(keys={"values": [str(i) for i in range(1001)]})])),
        ("rules[r].kinds", policy_pb2.Policy(version=1, rules=[_rule(kinds=[0])])),
        ("rules[r].kinds", policy_pb2.Policy(version=1, rules=[_rule(kinds=[1, 1])])),
        ("rules[r].operations", policy_pb2.Policy(version=1, rules=[_rule(operations=[99])])),
        ("rules[r].chains", policy_pb2.Policy(version=1, rules=[_rule(chains={"values": [b"\0\1"]})])),
        ("rules[r].chains", policy_pb2.Policy(version=1, rules=[_rule(chains={})])),
        ("rules[r].amount", policy_pb2.Policy(version=1, rules=[_rule(amount={})])),
        ("rules[r].amount", policy_pb2.Policy(version=1, rules=[_rule(amount={"any": True, "max": b"\1"})])),
        ("rules[r].fee", policy_pb2.Policy(version=1, rules=[_rule(fee={"max": b"\0"})])),
        ("limits[l].keys", policy_pb2.Policy(version=1, limits=[_limit(keys=None)])),
        ("limits[l].window_ms", policy_pb2.Policy(version=1, limits=[_limit(window_ms=999)])),
        ("limits[l].window_ms", policy_pb2.Policy(version=1, limits=[_limit(window_ms=limits.WINDOW_MS_MAX + 1)])),
        ("limits[l]", policy_pb2.Policy(version=1, limits=[_limit(max_count=None)])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(max_amount=b"\1")])),
        ("limits[l].max_amount", policy_pb2.Policy(version=1, limits=[_limit(chain_id=b"\1")])),
    ],
)
def test_policies_out_of_bounds_are_malformed(field: str, document: policy_pb2.Policy) -> None:
    """Contradictions, repetitions, missing parts and too much of anything are refused with the field's name."""
    with pytest.raises(Malformed) as refused:
        decode_policy(document.SerializeToString())
    assert refused.value.field == field


def test_policy_documents_are_bounded_and_whole() -> None:
    """A document that is too long, no protobuf, or has unknown fields is refused."""
    good = encode_policy(POLICY)
    for document in (bytes(limits.POLICY_BYTES_MAX + 1), b"\xff\xff", good + b"\xf8\x06\x01", good + good):
        with pytest.raises(Malformed):
            decode_policy(document)


# What the API shares ------------------------------------------------------------------------------------------------


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


def test_envelopes_survive_within_bounds() -> None:
    """An envelope comes back as it was; none without signatures, with too many, or with a bad key id is taken."""
    assert envelope_from_proto(envelope_to_proto(ENVELOPE)) == ENVELOPE
    signature = ENVELOPE.signatures[0]
    for signatures in ((), (signature,) * 33, (replace(signature, keyid="0A" * 32),), (replace(signature, sig=b""),)):
        with pytest.raises(Malformed):
            envelope_from_proto(envelope_to_proto(replace(ENVELOPE, signatures=signatures)))
