"""Facts as Hypothesis makes them: whatever values the types allow."""

from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.errors import Reason
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    ChangeRefused,
    CharterChanged,
    FreezeChanged,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TokenJoined,
    TokenLeft,
)
from keyvault.core.ids import Epoch, GroupName, KeyId, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind, Stamp
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.marks import Mark
from keyvault.core.quorum import Of
from keyvault.core.statements import Action, FreezeScope, Statement
from keyvault.ledger.wire_payload import part_names
from tests.ledger.golden import (
    BOB,
    EVENTS,
)

IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIMES = st.integers(0, 2**63 - 1).map(UnixMillis)
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
    network=st.none() | TEXT,
    asset=st.none() | TEXT,
    decimals=st.none() | st.integers(0, 2**32 - 1),
    source=st.none() | TEXT,
    contract=st.none() | TEXT,
    type_hash=st.none() | TEXT,
    via=st.none() | TEXT,
    quantity=AMOUNTS,
    price=AMOUNTS,
    quote_quantity=AMOUNTS,
    time_in_force=st.none() | TEXT,
    received_asset=st.none() | TEXT,
    received_min=AMOUNTS,
    expires_at=st.none() | TIMES,
)
NUMBERS_AS_TEXT = st.integers(0, 2**32 - 1).map(lambda number: str(number).encode())
PARTS = {
    "psbt": st.binary(max_size=200),
    "action": st.binary(max_size=200),
    "expires_after_ms": st.just(b"") | st.integers(1, 2**63 - 1).map(lambda number: str(number).encode()),
    "sequence_number": NUMBERS_AS_TEXT,
    "input": NUMBERS_AS_TEXT,
}
"""Parts of a payload of several that are not any text, by their names."""


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    """Give payloads of every kind, each of its parts."""
    kind = draw(st.sampled_from(PayloadKind))
    if part_names(kind) == (kind.value,):
        return Payload(kind=kind, parts=(draw(st.binary(max_size=200)),))
    named = dict(PARTS)
    if kind is PayloadKind.HYPERLIQUID_ACTION:
        named["network"] = st.sampled_from([b"mainnet", b"testnet"])
    return Payload(kind=kind, parts=tuple(draw(named.get(name, TEXT.map(str.encode))) for name in part_names(kind)))


PAYLOADS = payloads()
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
    "expires_at": st.none() | st.integers(1, 2**63 - 1).map(UnixMillis),
    "known": st.integers(0, 2**63 - 1),
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
        stamp=st.none() | st.builds(Stamp, at=TIMES, nonce=st.integers(0, 2**63 - 1)),
        slot=st.none() | TEXT.filter(bool),
        shadows=st.lists(TEXT, max_size=3).map(tuple),
        usd=AMOUNTS,
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
NODES = st.sampled_from(["kv-1", "kv-2"]).map(lambda name: Principal(f"spiffe://t/node/{name}"))
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
    st.builds(
        IncarnationStarted,
        **DONE,
        incarnation=VERSIONS,
        position=st.integers(0, 2**63 - 1),
        lost=st.builds(
            Mark,
            incarnation=VERSIONS,
            epoch=STAMPED["epoch"],
            size=st.integers(0, 2**63 - 1),
            root=HASHES,
        ),
    ),
    st.builds(
        TokenJoined,
        **DONE,
        node=NODES,
        transport_public_key=st.binary(max_size=40),
        wrapped_key=st.binary(max_size=40),
        wrapping_key_check=HASHES,
    ),
    st.builds(TokenLeft, **DONE, node=NODES),
    st.builds(PairSet, **DONE, leader=NODES, followers=st.lists(NODES, max_size=2).map(tuple)),
)
_COPIED = {**STAMPED, "key": NAMES.map(KeyId), "version": VERSIONS}
COPIED = st.one_of(
    st.builds(
        KeySealed, **_COPIED, blob=st.binary(max_size=40), identity=st.binary(max_size=32), plaintext=st.booleans()
    ),
    st.builds(
        KeyProved,
        **_COPIED,
        token=HASHES,
        node=NODES,
        signature=st.builds(Signature, value=st.binary(min_size=64, max_size=64), recovery_id=st.none() | st.just(1)),
    ),
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
