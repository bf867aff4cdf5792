"""Golden events of signatures: issued, refused, escalated."""

from dataclasses import replace

from keyvault.core.errors import Reason
from keyvault.core.events import Event, SignatureEscalated, SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import EnclaveName, Epoch, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind, Stamp
from keyvault.core.keys import Signature
from keyvault.core.statements import Action, Statement, facts_sha256, payload_sha256, words_sha256

AT = UnixMillis(1_790_000_000_123)
BOT_REQUEST_ID = RequestId("0190b2c4-7d1e-7abc-8def-0123456789ab")
OPAQUE = (Effect(operation=Operation.OPAQUE),)
PROPOSAL, CHARTER_SHA256 = b"q" * 32, b"c" * 32


def statement_of(action: Action, requester: str = "alice", **parameters: str) -> bytes:
    """Return the statement of an action with these parameters."""
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


SIGNATURES: dict[str, Event] = {
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
        statement=statement_of(
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
