"""One event of every kind, with fixed values, and where its golden bytes are.

``python -m tests.ledger.golden`` writes the vectors that are missing. It never touches one that is there: bytes that
were shipped once are in ledgers, so a build that would write them otherwise is wrong, not the vector.
"""

from pathlib import Path

from keyvault.core.approvals import PAYLOAD_TYPE, Envelope, EnvelopeSignature, Member
from keyvault.core.errors import Reason
from keyvault.core.events import (
    Event,
    Genesis,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
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
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.ledger.codec import encode, encode_policy

VECTORS = Path(__file__).parent / "vectors"
AT = UnixMillis(1_790_000_000_123)
POLICY = Policy(
    version=1,
    rules=(
        Rule(
            id="pay",
            verdict=Verdict.ALLOW,
            keys=frozenset({"eth-mm-1", "eth-mm-2"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.TYPED_DATA}),
            operations=frozenset({Operation.TRANSFER, Operation.CALL}),
            chains=frozenset({1, 2**64 + 1}),
            destinations=frozenset({"0x" + "ab" * 20}),
            selectors=frozenset({"0xa9059cbb"}),
            primary_types=ANY,
            amount_max=10**18,
            fee_max=0,
        ),
        Rule(id="never", verdict=Verdict.DENY, venues=frozenset({"binance"}), amount_max=ANY, chains=ANY),
    ),
    limits=(
        Limit(id="per-hour", keys=ANY, window_ms=3_600_000, count_max=100, amount_max=10**20, chain_id=1),
        Limit(id="count", keys=frozenset({"eth-mm-1"}), window_ms=1_000, count_max=0),
    ),
)
ENVELOPE = Envelope(
    payload=b'{"type":"keyvault/statement/v1"}',
    payload_type=PAYLOAD_TYPE,
    signatures=(EnvelopeSignature(keyid="0a" * 32, sig=b"s" * 64), EnvelopeSignature(keyid="0b" * 32, sig=b"t" * 70)),
)


def _request(payload: Payload) -> SignatureRequest:
    return SignatureRequest(
        request_id=RequestId("0190b2c4-7d1e-7abc-8def-0123456789ab"),
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
        members=(
            Member(
                name=MemberName("alice"), roles=frozenset({"admin", "approver"}), public_keys=(b"A" * 44, b"a" * 91)
            ),
            Member(name=MemberName("bob"), roles=frozenset(), public_keys=(b"B" * 44,)),
        ),
        admin_threshold=1,
        policy=POLICY,
        policy_document=encode_policy(POLICY),
        nonce=b"n" * 16,
    ),
    "term-started": TermStarted(at=AT, epoch=Epoch(2**40), holder="node-1", software="keyvault 0.1.0"),
    "term-started-empty": TermStarted(at=UnixMillis(0), epoch=Epoch(0), holder="", software=""),
    "key-created": KeyCreated(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=1,
        algorithm=KeyAlgorithm.SECP256K1,
        provenance=KeyProvenance.GENERATED,
        public_key=b"\x04" + b"K" * 64,
        token_object_id=b"o" * 20,
        authorization=ENVELOPE,
    ),
    "key-state-changed": KeyStateChanged(
        at=AT,
        epoch=Epoch(1),
        key=KeyId("eth-mm-1"),
        version=1,
        state=KeyState.DISABLED,
        authorization=ENVELOPE,
    ),
    "policy-published": PolicyPublished(
        at=AT, epoch=Epoch(1), policy=POLICY, document=encode_policy(POLICY), authorization=ENVELOPE
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
}


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
