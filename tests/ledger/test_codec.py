"""Events and policies as bytes: golden, exact, and strict with what comes from elsewhere."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.errors import Corrupt, Malformed, Reason
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    Governance,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
)
from keyvault.core.ids import Epoch, GroupName, KeyId, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import Verdict
from keyvault.core.quorum import Of
from keyvault.core.statements import Action, FreezeScope, Statement, proposal_id_of
from keyvault.ledger.codec import decode, decode_charter, encode, encode_charter, key_of, request_key, request_key_of
from keyvault.ledger.codec_charter import DUTIES, ROLES
from keyvault.ledger.codec_policy import encode_policy
from keyvault.ledger.wire import (
    fill_payload,
    member_signature_from_proto,
    member_signature_to_proto,
    payload_from_proto,
)
from keyvault.v1 import charter_pb2, event_pb2, policy_pb2, types_pb2
from tests.ledger.golden import (
    BOB,
    BOT_REQUEST_ID,
    CHARTER,
    EVENTS,
    POLICY,
    PROPOSAL,
    SIGNED,
    UNRELEASED,
    VECTORS,
    WRAPPED,
)
from tests.worlds import Person, spki

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
    principal=st.from_regex(
        r"spiffe://[a-z0-9.-]{1,20}/(bot|admin|approver)/[a-z][a-z0-9._-]{0,20}", fullmatch=True
    ).map(Principal),
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
DECODED = {
    "signing_input": st.binary(max_size=200),
    "effects": st.lists(EFFECTS, max_size=3).map(tuple),
    "completeness": st.sampled_from(Completeness),
}
HASHES = st.binary(min_size=32, max_size=32)
ANSWERS = (
    st.builds(
        SignatureIssued,
        **DECIDED,
        **DECODED,
        key_version=st.integers(0, 2**32 - 1),
        signature=st.builds(
            Signature,
            value=st.binary(min_size=64, max_size=64) | st.binary(min_size=32, max_size=32),
            recovery_id=st.sampled_from([None, 0, 1]),
        ),
        proposal=st.just(b"") | HASHES,
        charter_sha256=st.just(b"") | HASHES,
    )
    | st.builds(SignatureRefused, **DECIDED, reason=st.sampled_from(Reason), explanation=TEXT)
    | st.builds(SignatureEscalated, **DECIDED, **DECODED, statement=st.binary(max_size=200))
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
SIGNATURES = st.builds(
    EnvelopeSignature,
    keyid=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    sig=st.binary(min_size=1, max_size=limits.MEMBER_SIGNATURE_BYTES_MAX),
)
STATEMENTS = st.builds(
    lambda key, version, requester, nonce, expires_at: Statement(
        action=Action.KEY_ENABLE,
        enclave=EVENTS["genesis"].enclave,  # type: ignore[union-attr]  # it is one
        enclave_id="ab" * 32,
        policy_version=version,
        requester=requester,
        parameters=(("key", key), ("version", str(version))),
        nonce=nonce.hex(),
        expires_at=UnixMillis(expires_at),
    ).encode(),
    NAMES,
    st.integers(1, 999_999_999),
    NAMES,
    st.binary(min_size=1, max_size=32),
    st.integers(0, 2**63 - 1),
)
STAMPED = {"at": DECIDED["at"], "epoch": DECIDED["epoch"]}
DONE = {**STAMPED, "proposal": HASHES, "charter_sha256": HASHES}
VERSIONS = st.integers(0, 2**32 - 1)
KEYED = {**DONE, "key": NAMES.map(KeyId), "version": VERSIONS}
GOVERNANCE = st.one_of(
    st.builds(ProposalMade, **STAMPED, statement=STATEMENTS, signature=st.none() | SIGNATURES),
    st.builds(
        BallotCast,
        **STAMPED,
        proposal=HASHES,
        member=NAMES.map(MemberName),
        voice=st.sampled_from([voice for voice in Voice if voice is not Voice.REQUEST]),
        signature=SIGNATURES,
    ),
    st.builds(
        ChangeRefused,
        **STAMPED,
        principal=st.just(Principal("spiffe://t/approver/dave")),
        subject=TEXT,
        proposal=st.just(b"") | HASHES,
        reason=st.sampled_from(Reason),
        explanation=TEXT,
    ),
    st.builds(
        KeyCreated,
        **KEYED,
        algorithm=st.sampled_from(KeyAlgorithm),
        provenance=st.sampled_from(KeyProvenance),
        state=st.sampled_from([KeyState.ACTIVE, KeyState.PRE_ACTIVE]),
        public_key=st.binary(max_size=70),
        token_object_id=st.binary(max_size=64),
    ),
    st.builds(
        KeyStateChanged,
        **KEYED,
        state=st.sampled_from(KeyState),
        destroy_at=st.none() | st.integers(0, 2**63 - 1).map(UnixMillis),
    ),
    st.builds(KeyDestroyed, **KEYED),
    st.builds(PolicyPublished, **DONE, version=VERSIONS),
    st.builds(CharterChanged, **DONE, version=VERSIONS, break_glass=st.booleans()),
    st.builds(FreezeChanged, **DONE, scope=st.sampled_from(FreezeScope), name=TEXT, frozen=st.booleans()),
    st.builds(CeremonyStepRecorded, **DONE),
)
ED25519_KEYS = st.binary(min_size=32, max_size=32).map(lambda raw: bytes.fromhex("302a300506032b6570032100") + raw)


@st.composite
def charters(draw: st.DrawFn) -> Charter:
    """Give charters that can be written; whether they can rule is another question."""
    names = [MemberName(name) for name in draw(st.lists(NAMES, unique=True, max_size=5))]
    members = tuple(
        Member(
            name=name,
            roles=draw(st.frozensets(st.sampled_from(Role))),
            public_keys=tuple(draw(st.lists(ED25519_KEYS | st.just(BOB), max_size=3))),
            principals=draw(st.frozensets(REQUESTS.map(lambda each: each.principal), max_size=2)),
        )
        for name in names
    )
    groups = tuple(
        Group(
            name=GroupName(name), members=draw(st.frozensets(st.sampled_from(names)) if names else st.just(frozenset()))
        )
        for name in draw(st.lists(NAMES, max_size=3))
    )
    thresholds = tuple(
        Threshold(
            duty=duty, quorum=Of(draw(st.integers(1, 9)), GroupName("risk")), delay_ms=draw(st.integers(0, 2**62))
        )
        for duty in draw(st.lists(st.sampled_from(Duty), max_size=4))
    )
    return Charter(version=draw(st.integers(1, 2**32 - 1)), members=members, groups=groups, thresholds=thresholds)


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
    assert {path.stem for path in VECTORS.glob("*.hex")} == set(EVENTS)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("key-created", "unknown fact: this build is too old, or the ledger is from before there were proposals"),
        ("key-state-changed", "which was never released"),
        ("policy-published", "which was never released"),
        ("genesis", "Event: has a field that this build does not know"),
    ],
)
def test_the_form_before_there_were_proposals_is_refused(name: str, complaint: str) -> None:
    """What was written before any release is not taken for something else: the error says what it is."""
    with pytest.raises(Corrupt) as refused:
        decode(bytes.fromhex((UNRELEASED / f"{name}.hex").read_text()))
    assert complaint in str(refused.value)


@given(ANSWERS | GOVERNANCE)
def test_any_fact_survives(event: Governance | SignatureIssued | SignatureRefused | SignatureEscalated) -> None:
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
    (Voice, types_pb2.Voice, "VOICE_"),
    (FreezeScope, types_pb2.FreezeScope, "FREEZE_SCOPE_"),
    (Role, charter_pb2.Role, "ROLE_"),
    (Duty, charter_pb2.Duty, "DUTY_"),
])  # fmt: skip
def test_enums_are_the_same_on_both_sides(enum_and_numbers: tuple[type[StrEnum], EnumTypeWrapper, str]) -> None:
    """Every word has a number and every number but the unspecified one has a word."""
    words, numbers, prefix = enum_and_numbers
    assert {prefix + "UNSPECIFIED", *(prefix + word.name for word in words)} == set(numbers.keys())


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
        ("change-refused", {"reason": 20}, "reason"),
        ("change-refused", {"proposal": b"x"}, "proposal"),
        ("proposal-made", {"statement": b""}, "statement"),
        ("proposal-made", {"statement": b"x" * 8_193}, "statement: longer"),
        ("proposal-made", {"wrapped_secret": b"x" * 585}, "wrapped_secret: longer"),
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
    changed = change(proposed.statement)
    assert changed != proposed.statement
    with pytest.raises(Corrupt, match="statement"):
        decode(_changed("proposal-made", statement=changed))


# Charters ---------------------------------------------------------------------------------------------------------


@given(charters())
def test_any_charter_survives(charter: Charter) -> None:
    """A charter is written and read as the same, and only as the bytes that were written."""
    document = encode_charter(charter)
    assert decode_charter(document) == charter


def _charter(**fields: object) -> bytes:
    message = charter_pb2.Charter.FromString(encode_charter(CHARTER))
    for name, value in fields.items():
        *parents, last = name.split("__")
        target: object = message
        for parent in parents:
            target = target[int(parent)] if parent.isdigit() else getattr(target, parent)  # type: ignore[index]
        if isinstance(value, list):
            del getattr(target, last)[:]
            getattr(target, last).extend(value)
        else:
            setattr(target, last, value)
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"version": 0}, "charter.version"),
        ({"members__0__roles": [2, 1]}, "one form"),
        ({"members__0__roles": [1, 1]}, "one form"),
        ({"members__0__roles": [0]}, "member.roles"),
        ({"members__0__name": "Alice"}, "member"),
        ({"members__0__principals": ["alice"]}, "principal"),
        ({"members__0__principals": ["spiffe://a/bot/b", "spiffe://a/bot/a"]}, "one form"),
        ({"members__0__public_keys": [b"\x04" + b"x" * 64]}, "65 bytes"),
        ({"members__0__public_keys": [b"\x02" + b"\xff" * 32]}, "is no point of P-256"),
        ({"members__0__public_keys": [b"x" * 32] * 9}, "member.public_keys: 9"),
        ({"groups__0__members": [2, 0]}, "one form"),
        ({"groups__0__members": [0, 0]}, "one form"),
        ({"groups__0__members": [3]}, "names a member that is not there"),
        ({"groups__0__name": ""}, "group"),
        ({"thresholds__0__quorum": "1 of risk and  1 of owners"}, "one form"),
        ({"thresholds__0__quorum": "(1 of risk)"}, "one form"),
        ({"thresholds__0__quorum": ""}, "quorum"),
        ({"thresholds__0__duty": 0}, "threshold.duty"),
        ({"thresholds__0__duty": 99}, "threshold.duty"),
    ],
)
def test_a_charter_has_one_form(fields: dict[str, object], complaint: str) -> None:
    """Two charters that say the same are the same bytes; what cannot be understood is named."""
    with pytest.raises(Malformed) as refused:
        decode_charter(_charter(**fields))
    assert complaint in str(refused.value)
    with pytest.raises(Corrupt):
        decode(_changed("genesis", charter=_charter(**fields)))


def test_charter_documents_are_bounded_and_whole() -> None:
    """A document that is too long, no protobuf, or has unknown fields is refused; too long a charter is not written."""
    good = encode_charter(CHARTER)
    for document in (bytes(limits.CHARTER_BYTES_MAX + 1), b"\xff\xff", good + b"\xf8\x06\x01", good + good):
        with pytest.raises(Malformed):
            decode_charter(document)
    stranger = Group(name=GroupName("g"), members=frozenset({MemberName("nobody")}))
    with pytest.raises(Malformed, match="nobody stands in a group"):
        encode_charter(replace(CHARTER, groups=(stranger,)))
    crowd = tuple(
        Member(name=MemberName(f"member-{number:050}"), roles=frozenset({Role.ADMIN}), public_keys=(BOB,))
        for number in range(1000)
    )
    with pytest.raises(Malformed, match="is the most"):
        encode_charter(Charter(version=1, members=crowd, groups=(), thresholds=()))


def test_a_thousand_members_fit_into_one_entry() -> None:
    """A charter of a thousand members, with short names and one key each, is proposed in one entry."""
    person = Person("m")
    members = tuple(
        Member(name=MemberName(f"m{number}"), roles=frozenset({Role.APPROVER}), public_keys=(spki(person.key),))
        for number in range(1000)
    )
    everybody = Group(name=GroupName("all"), members=frozenset(member.name for member in members))
    large = Charter(version=2, members=members, groups=(everybody,), thresholds=CHARTER.thresholds)
    document = encode_charter(large)
    proposed = EVENTS["proposal-made-charter"]
    assert isinstance(proposed, ProposalMade)
    body = encode(replace(proposed, document=document, charter=large))
    assert len(body) <= limits.ENTRY_BYTES_MAX


def test_words_of_charters_have_numbers() -> None:
    """Every role and duty can be written."""
    assert set(ROLES.numbers) == set(Role)
    assert set(DUTIES.numbers) == set(Duty)


# The request index ------------------------------------------------------------------------------------------------


def test_keys_of_the_request_index() -> None:
    """Each thing that may happen once has a key: an answer, a question, a proposal, a word, its end, a destruction."""
    principal = Principal("spiffe://firm.example/bot/maker-1")
    prefix = hashlib.sha256(principal.encode()).digest()[:8]
    assert request_key(principal, RequestId("abc")) == prefix + b"abc"
    assert request_key(principal, RequestId("abc")) < request_key(principal, RequestId("abd"))
    request = prefix + BOT_REQUEST_ID.encode()
    for name, event in EVENTS.items():
        assert key_of(event) == _expected_key(name, event, request), name
        assert request_key_of(event) == (request if name.startswith("signature") else None)


def _expected_key(name: str, event: Event, request: bytes) -> bytes | None:
    if name == "signature-escalated":
        return b"escl\0\0\0\0" + hashlib.sha256(request).digest()
    if name.startswith("signature"):
        return request
    if isinstance(event, ProposalMade):
        return b"prop\0\0\0\0" + hashlib.sha256(event.statement).digest()
    if isinstance(event, BallotCast):
        said = event.proposal + f"{event.voice.value}\0{event.signature.keyid}".encode()
        return b"ball\0\0\0\0" + hashlib.sha256(said).digest()
    if name == "key-destroyed":
        return b"dest\0\0\0\0" + PROPOSAL
    return None if name.startswith(("genesis", "term", "change-refused")) else b"exec\0\0\0\0" + PROPOSAL


@given(GOVERNANCE, GOVERNANCE)
def test_a_key_is_that_of_one_thing(one: Governance, other: Governance) -> None:
    """Two facts have the same key only if they are about the same proposal, in the same role."""
    if key_of(one) is None or key_of(one) != key_of(other):
        return
    about = [proposal_id_of(e.statement) if isinstance(e, ProposalMade) else e.proposal for e in (one, other)]
    assert about[0] == about[1]
    assert isinstance(one, KeyDestroyed) == isinstance(other, KeyDestroyed)
    assert isinstance(one, BallotCast) == isinstance(other, BallotCast)


def test_a_key_says_each_word_once() -> None:
    """The same member key may approve and revoke one proposal, but neither twice; another key has its own word."""
    cast = EVENTS["ballot-cast"]
    assert isinstance(cast, BallotCast)
    again = replace(cast, signature=replace(cast.signature, sig=b"another"), at=UnixMillis(1))
    others = [
        replace(cast, voice=Voice.REVOKE),
        replace(cast, signature=SIGNED),
        replace(cast, proposal=b"r" * 32),
    ]
    assert key_of(again) == key_of(cast)
    assert len({key_of(each) for each in (cast, *others)}) == 4


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
