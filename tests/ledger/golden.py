"""One event of every kind, with fixed values, and where its golden bytes are.

``python -m tests.ledger.golden`` writes the vectors that are missing. It never touches one that is there: bytes that
were shipped once are in ledgers, so a build that would write them otherwise is wrong, not the vector. The vectors in
``unreleased`` are of a form that no release ever wrote, and must stay refused.
"""

import hashlib
from pathlib import Path

from keyvault.core.approvals import EnvelopeSignature, Voice, keyid_of
from keyvault.core.errors import Reason
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PolicyPublished,
    ProposalMade,
    TermStarted,
)
from keyvault.core.ids import (
    EnclaveName,
    Epoch,
    KeyId,
    MemberName,
    Principal,
    UnixMillis,
)
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState
from keyvault.core.marks import Mark
from keyvault.core.statements import (
    ROTATION_SERVICE,
    Action,
    FreezeScope,
)
from keyvault.ledger.codec import encode, encode_charter, encode_policy
from keyvault.v1 import event_pb2
from tests.ledger.golden_documents import ALICE, WHOLE_POLICY
from tests.ledger.golden_documents import BOB as BOB
from tests.ledger.golden_documents import CHARTER as CHARTER
from tests.ledger.golden_documents import POLICY as POLICY
from tests.ledger.golden_pair import PAIRS
from tests.ledger.golden_signatures import (
    AT,
    CHARTER_SHA256,
    PROPOSAL,
    SIGNATURES,
    statement_of,
)
from tests.ledger.golden_tokens import TOKENS

VECTORS = Path(__file__).parent / "vectors"
UNRELEASED = VECTORS / "unreleased"
SIGNED = EnvelopeSignature(keyid=keyid_of(ALICE), sig=b"s" * 64)
WRAPPED = b"w" * 424


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _proposed(statement: bytes, **attached: object) -> ProposalMade:
    return ProposalMade(at=AT, epoch=Epoch(3), statement=statement, signature=SIGNED, **attached)  # type: ignore[arg-type]  # fields by name


EVENTS: dict[str, Event] = {
    "genesis": Genesis(
        at=AT,
        epoch=Epoch(0),
        enclave=EnclaveName("hot"),
        log_public_key=b"L" * 32,
        import_public_key=b"I" * 40,
        charter=CHARTER,
        charter_document=encode_charter(CHARTER),
        policy=POLICY,
        policy_document=encode_policy(POLICY),
        nonce=b"n" * 16,
    ),
    "term-started": TermStarted(at=AT, epoch=Epoch(2**40), holder="node-1", software="keyvault 0.1.0"),
    "term-started-empty": TermStarted(at=UnixMillis(0), epoch=Epoch(0), holder="", software=""),
    "proposal-made": _proposed(
        statement_of(
            Action.KEY_CREATE,
            key="eth-mm-1",
            algorithm="SECP256K1",
            initial="ACTIVE",
            cryptoperiod_days="365",
            rotation="propose",
        )
    ),
    "proposal-made-policy": _proposed(
        statement_of(
            Action.POLICY_PUBLISH, policy_sha256=_sha256(encode_policy(POLICY)), version="1", replay_sha256="none"
        ),
        document=encode_policy(POLICY),
        policy=POLICY,
    ),
    "proposal-made-policy-whole": _proposed(
        statement_of(
            Action.POLICY_PUBLISH,
            policy_sha256=_sha256(encode_policy(WHOLE_POLICY)),
            version="2",
            replay_sha256="0c" * 32,
        ),
        document=encode_policy(WHOLE_POLICY),
        policy=WHOLE_POLICY,
    ),
    "proposal-made-charter": _proposed(
        statement_of(
            Action.BREAK_GLASS,
            charter_sha256=_sha256(encode_charter(CHARTER)),
            version="1",
            reason="dave and alice lost their keys",
        ),
        document=encode_charter(CHARTER),
        charter=CHARTER,
    ),
    "proposal-made-import": _proposed(
        statement_of(
            Action.KEY_IMPORT,
            key="binance-1",
            algorithm="HMAC_SHA256",
            initial="PRE_ACTIVE",
            cryptoperiod_days="0",
            rotation="warn",
            wrapped_sha256=_sha256(WRAPPED),
        ),
        wrapped_secret=WRAPPED,
    ),
    "proposal-made-import-sha512": _proposed(
        statement_of(
            Action.KEY_IMPORT,
            key="kraken-1",
            algorithm="HMAC_SHA512",
            initial="ACTIVE",
            cryptoperiod_days="0",
            rotation="warn",
            wrapped_sha256=_sha256(WRAPPED),
        ),
        wrapped_secret=WRAPPED,
    ),
    "proposal-made-rotation": ProposalMade(
        at=AT,
        epoch=Epoch(3),
        statement=statement_of(
            Action.KEY_ROTATE, ROTATION_SERVICE, key="eth-mm-1", version="2", initial="ACTIVE", wrapped_sha256=""
        ),
        signature=None,
    ),
    "ballot-cast": BallotCast(
        at=AT,
        epoch=Epoch(3),
        proposal=PROPOSAL,
        member=MemberName("dave"),
        voice=Voice.APPROVE,
        signature=EnvelopeSignature(keyid="0b" * 32, sig=b"t" * 70),
    ),
    "ballot-cast-veto": BallotCast(
        at=AT, epoch=Epoch(3), proposal=PROPOSAL, member=MemberName("alice"), voice=Voice.VETO, signature=SIGNED
    ),
    "change-refused": ChangeRefused(
        at=AT,
        epoch=Epoch(3),
        principal=Principal("spiffe://firm.example/admin/desk"),
        subject="approve",
        proposal=PROPOSAL,
        reason=Reason.VETOED,
        explanation="proposal 717171717171 was vetoed; that is final",
    ),
    "change-refused-unknown": ChangeRefused(
        at=AT,
        epoch=Epoch(3),
        principal=Principal("spiffe://firm.example/approver/dave"),
        subject="key.create",
        proposal=b"",
        reason=Reason.NOT_AUTHORIZED,
        explanation="mallory is not a member of charter version 1",
    ),
    "key-created": KeyCreated(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=2,
        algorithm=KeyAlgorithm.SECP256K1,
        provenance=KeyProvenance.GENERATED,
        state=KeyState.PRE_ACTIVE,
        public_key=b"\x04" + b"K" * 64,
        token_object_id=b"o" * 20,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "key-created-imported": KeyCreated(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("kraken-1"),
        version=1,
        algorithm=KeyAlgorithm.HMAC_SHA512,
        provenance=KeyProvenance.IMPORTED,
        state=KeyState.ACTIVE,
        public_key=b"",
        token_object_id=b"o" * 20,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "key-state-changed": KeyStateChanged(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=1,
        state=KeyState.DISABLED,
        destroy_at=None,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "key-destruction-scheduled": KeyStateChanged(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=1,
        state=KeyState.DESTRUCTION_SCHEDULED,
        destroy_at=UnixMillis(AT + 30 * 86_400_000),
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "key-destroyed": KeyDestroyed(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=1,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "policy-published": PolicyPublished(
        at=AT, epoch=Epoch(1), version=7, proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
    "charter-changed": CharterChanged(
        at=AT, epoch=Epoch(1), version=2, break_glass=False, proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
    "charter-changed-break-glass": CharterChanged(
        at=AT, epoch=Epoch(1), version=3, break_glass=True, proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
    "frozen": FreezeChanged(
        at=AT,
        epoch=Epoch(1),
        scope=FreezeScope.ENCLAVE,
        name="",
        frozen=True,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "thawed": FreezeChanged(
        at=AT,
        epoch=Epoch(1),
        scope=FreezeScope.VENUE,
        name="binance",
        frozen=False,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "ceremony-step-recorded": CeremonyStepRecorded(
        at=AT, epoch=Epoch(1), proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
    "proposal-made-quarantine": _proposed(
        statement_of(
            Action.LEAVE_QUARANTINE,
            incarnation="2",
            position="40",
            lost_incarnation="1",
            lost_epoch="7",
            lost_position="57",
            lost_root="0c" * 32,
            reason="the disk of the server and its mirror are gone",
        )
    ),
    "incarnation-started": IncarnationStarted(
        at=AT,
        epoch=Epoch(8),
        incarnation=2,
        position=40,
        lost=Mark(incarnation=1, epoch=Epoch(7), size=57, root=b"\x0c" * 32),
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    **SIGNATURES,
    **TOKENS,
    **PAIRS,
}


def vector(name: str) -> bytes:
    """Return the golden bytes of this name."""
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


def changed(name: str, **fields: object) -> bytes:
    """Return the vector with fields of its fact set, protobuf's way."""
    message = event_pb2.Event.FromString(vector(name))
    fact = getattr(message, message.WhichOneof("fact") or "")
    for path, value in fields.items():
        *parents, last = path.split("__")
        target = fact
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return message.SerializeToString(deterministic=True)


def write_missing() -> None:
    """Write the vectors that are not there."""
    VECTORS.mkdir(exist_ok=True)
    for name, event in EVENTS.items():
        path = VECTORS / f"{name}.hex"
        if not path.exists():
            text = encode(event).hex()
            path.write_text("".join(f"{text[i : i + 96]}\n" for i in range(0, len(text), 96)))


if __name__ == "__main__":
    write_missing()
