"""One event of every kind, with fixed values, and where its golden bytes are.

``python -m tests.ledger.golden`` writes the vectors that are missing. It never touches one that is there: bytes that
were shipped once are in ledgers, so a build that would write them otherwise is wrong, not the vector. The vectors in
``unreleased`` are of a form that no release ever wrote, and must stay refused.
"""

import hashlib
from dataclasses import replace
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
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.ids import (
    EnclaveName,
    Epoch,
    KeyId,
    MemberName,
    Principal,
    RequestId,
    UnixMillis,
)
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind, Stamp
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.statements import (
    ROTATION_SERVICE,
    Action,
    FreezeScope,
    Statement,
    facts_sha256,
    payload_sha256,
    words_sha256,
)
from keyvault.ledger.codec import encode, encode_charter, encode_policy
from keyvault.v1 import event_pb2
from tests.ledger.golden_documents import ALICE, WHOLE_POLICY
from tests.ledger.golden_documents import BOB as BOB
from tests.ledger.golden_documents import CHARTER as CHARTER
from tests.ledger.golden_documents import POLICY as POLICY

VECTORS = Path(__file__).parent / "vectors"
UNRELEASED = VECTORS / "unreleased"
AT = UnixMillis(1_790_000_000_123)
SIGNED = EnvelopeSignature(keyid=keyid_of(ALICE), sig=b"s" * 64)
PROPOSAL, CHARTER_SHA256 = b"q" * 32, b"c" * 32
WRAPPED = b"w" * 424
BOT_REQUEST_ID = RequestId("0190b2c4-7d1e-7abc-8def-0123456789ab")
OPAQUE = (Effect(operation=Operation.OPAQUE),)


def _statement(action: Action, requester: str = "alice", **parameters: str) -> bytes:
    return Statement(
        action=action,
        enclave=EnclaveName("hot"),
        enclave_id="ab" * 32,
        policy_version=2,
        requester=requester,
        parameters=tuple(sorted(parameters.items())),
        nonce="00ff",
        expires_at=UnixMillis(AT + 86_400_000),
    ).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _proposed(statement: bytes, **attached: object) -> ProposalMade:
    return ProposalMade(at=AT, epoch=Epoch(3), statement=statement, signature=SIGNED, **attached)  # type: ignore[arg-type]  # fields by name


def _request(payload: Payload) -> SignatureRequest:
    return SignatureRequest(
        request_id=BOT_REQUEST_ID,
        principal=Principal("spiffe://firm.example/bot/maker-1"),
        key="eth-mm-1/versions/1",
        payload=payload,
    )


def _issued(payload: Payload, *effects: Effect, signature: Signature) -> SignatureIssued:
    return SignatureIssued(
        at=AT,
        epoch=Epoch(3),
        request=_request(payload),
        key_version=1,
        signing_input=b"d" * 32,
        effects=effects,
        completeness=Completeness.FULL,
        policy_version=2,
        policy_sha256=b"p" * 32,
        rules=("pay",) * len(effects),
        signature=signature,
    )


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
        _statement(
            Action.KEY_CREATE,
            key="eth-mm-1",
            algorithm="SECP256K1",
            initial="ACTIVE",
            cryptoperiod_days="365",
            rotation="propose",
        )
    ),
    "proposal-made-policy": _proposed(
        _statement(
            Action.POLICY_PUBLISH, policy_sha256=_sha256(encode_policy(POLICY)), version="1", replay_sha256="none"
        ),
        document=encode_policy(POLICY),
        policy=POLICY,
    ),
    "proposal-made-policy-whole": _proposed(
        _statement(
            Action.POLICY_PUBLISH,
            policy_sha256=_sha256(encode_policy(WHOLE_POLICY)),
            version="2",
            replay_sha256="0c" * 32,
        ),
        document=encode_policy(WHOLE_POLICY),
        policy=WHOLE_POLICY,
    ),
    "proposal-made-charter": _proposed(
        _statement(
            Action.BREAK_GLASS,
            charter_sha256=_sha256(encode_charter(CHARTER)),
            version="1",
            reason="dave and alice lost their keys",
        ),
        document=encode_charter(CHARTER),
        charter=CHARTER,
    ),
    "proposal-made-import": _proposed(
        _statement(
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
        _statement(
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
        statement=_statement(
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
    "signature-issued-evm": _issued(
        Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(b"\x02\xc0",)),
        Effect(
            operation=Operation.CALL,
            chain_id=1,
            destination="0x" + "ab" * 20,
            selector="0xa9059cbb",
            amount=0,
            fee_max=2**256,
        ),
        signature=Signature(value=b"r" * 64, recovery_id=0),
    ),
    "signature-issued-typed-data": _issued(
        Payload(kind=PayloadKind.TYPED_DATA, parts=(b"{}",)),
        Effect(operation=Operation.TYPED_DATA, chain_id=2**70, destination="0x" + "cd" * 20, primary_type="Order"),
        signature=Signature(value=b"r" * 64, recovery_id=1),
    ),
    "signature-issued-binance": _issued(
        Payload(kind=PayloadKind.BINANCE_REST, parts=(b"symbol=BTCUSDT&side=BUY", b"")),
        Effect(operation=Operation.ORDER, venue="binance", symbol="BTCUSDT", side="BUY"),
        signature=Signature(value=b"h" * 32),
    ),
    "signature-issued-digest": _issued(
        Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,)),
        Effect(operation=Operation.OPAQUE),
        signature=Signature(value=b"e" * 64),
    ),
    "signature-issued-swap": _issued(
        Payload(kind=PayloadKind.TYPED_DATA, parts=(b"{}",)),
        Effect(
            operation=Operation.ORDER,
            chain_id=1,
            venue="cow",
            destination="0x" + "cd" * 20,
            asset="0x" + "70" * 20,
            amount=3 * 10**18,
            decimals=18,
            source="0x" + "ef" * 20,
            contract="0x" + "ce" * 20,
            type_hash="0x" + "aa" * 32,
            primary_type="Order",
            via="safe 0x" + "5a" * 20,
            received_asset="0x" + "71" * 20,
            received_min=9_000 * 10**6,
            expires_at=UnixMillis(AT + 60_000),
        ),
        signature=Signature(value=b"r" * 64, recovery_id=1),
    ),
    "signature-issued-stamped": replace(
        _issued(
            Payload(kind=PayloadKind.BYBIT_REST, parts=(b"POST", b"/v5/order/create", b"", b"{}", b"desk-1")),
            Effect(
                operation=Operation.ORDER,
                venue="bybit",
                symbol="ETHUSDT",
                side="SELL",
                quantity=25 * 10**16,
                price=2_950_100_000_000_000_000_000,
                quote_quantity=0,
                time_in_force="GTC",
            ),
            signature=Signature(value=b"h" * 32),
        ),
        stamp=Stamp(at=AT, nonce=AT + 1),
        slot="bybit desk-1 o-1",
        expires_at=UnixMillis(AT + 5_000),
        shadows=("tighter",),
        usd=737_525_000,
        known=41,
    ),
    "signature-issued-network": _issued(
        Payload(kind=PayloadKind.BITCOIN_PSBT, parts=(b"psbt\xff", b"0", b"mainnet")),
        Effect(operation=Operation.TRANSFER, network="bitcoin", destination="bc1qhome", amount=10**8, fee_max=900),
        signature=Signature(value=b"r" * 64, recovery_id=0),
    ),
    "signature-refused": SignatureRefused(
        at=AT,
        epoch=Epoch(3),
        request=_request(Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,))),
        reason=Reason.LIMIT_EXCEEDED,
        explanation="limit per-hour has no room: 100 of 100 in 3600 s",
        policy_version=2,
        policy_sha256=b"p" * 32,
        rules=("per-hour",),
    ),
    "signature-issued-approved": replace(
        _issued(
            Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,)), *OPAQUE, signature=Signature(value=b"e" * 64)
        ),
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "signature-escalated": SignatureEscalated(
        at=AT,
        epoch=Epoch(3),
        request=_request(Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,))),
        signing_input=b"d" * 32,
        effects=OPAQUE,
        completeness=Completeness.OPAQUE,
        policy_version=2,
        policy_sha256=b"p" * 32,
        rules=("ask-risk", "ask-owners"),
        statement=_statement(
            Action.SIGN,
            "spiffe://firm.example/bot/maker-1",
            algorithm="SECP256K1",
            public_key="04" + "4b" * 64,
            facts_sha256=facts_sha256(OPAQUE, b"d" * 32, Completeness.OPAQUE),
            key="eth-mm-1",
            key_version="1",
            kind="raw-digest",
            payload_sha256=payload_sha256(Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,))),
            quorum="2 of risk; 1 of owners",
            request_id=BOT_REQUEST_ID,
            words_sha256=words_sha256("Does something at an unknown place that keyvault cannot read."),
        ),
        expires_at=UnixMillis(AT + 60_000),
        known=40,
    ),
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
