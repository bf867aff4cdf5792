"""Golden facts about tokens that join, and the keys that they get."""

from keyvault.core.approvals import EnvelopeSignature, keyid_of
from keyvault.core.events import Event, Genesis, KeyProved, KeySealed, ProposalMade, TokenJoined, TokenLeft
from keyvault.core.ids import EnclaveName, Epoch, KeyId, Principal
from keyvault.core.keys import SealedRoots, Signature
from keyvault.core.statements import Action
from keyvault.ledger.codec import encode_charter, encode_policy
from tests.ledger.golden_documents import ALICE, CHARTER, POLICY
from tests.ledger.golden_signatures import AT, CHARTER_SHA256, PROPOSAL, statement_of

NODE = Principal("spiffe://firm.example/node/kv-2")
SIGNED = EnvelopeSignature(keyid=keyid_of(ALICE), sig=b"s" * 64)

TOKENS: dict[str, Event] = {
    "genesis-kwp": Genesis(
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
        sealed=SealedRoots(
            wrapping_key_check=b"c" * 32, log_key=b"l" * 40, log_key_plaintext=True, import_key=b"i" * 1_800
        ),
    ),
    "proposal-made-in-clear": ProposalMade(
        at=AT,
        epoch=Epoch(3),
        statement=statement_of(
            Action.KEY_CREATE,
            key="sol-1",
            algorithm="ED25519",
            initial="ACTIVE",
            cryptoperiod_days="0",
            rotation="warn",
            plaintext_transport="allowed",
        ),
        signature=SIGNED,
    ),
    "proposal-made-join": ProposalMade(
        at=AT,
        epoch=Epoch(3),
        statement=statement_of(
            Action.TOKEN_JOIN, node=NODE, transport_key_sha256="0d" * 32, strategy="kwp", reason="second site"
        ),
        signature=SIGNED,
        document=b"T" * 422,
    ),
    "proposal-made-leave": ProposalMade(
        at=AT,
        epoch=Epoch(3),
        statement=statement_of(Action.TOKEN_LEAVE, node=NODE, reason="the machine is gone"),
        signature=SIGNED,
    ),
    "token-joined": TokenJoined(
        at=AT,
        epoch=Epoch(1),
        node=NODE,
        transport_public_key=b"T" * 422,
        wrapped_key=b"w" * 384,
        wrapping_key_check=b"c" * 32,
        proposal=PROPOSAL,
        charter_sha256=CHARTER_SHA256,
    ),
    "token-left": TokenLeft(at=AT, epoch=Epoch(1), node=NODE, proposal=PROPOSAL, charter_sha256=CHARTER_SHA256),
    "key-sealed": KeySealed(
        at=AT, epoch=Epoch(1), key=KeyId("eth-mm-1"), version=2, blob=b"b" * 72, identity=b"", plaintext=False
    ),
    "key-sealed-in-clear": KeySealed(
        at=AT, epoch=Epoch(1), key=KeyId("sol-1"), version=1, blob=b"b" * 40, identity=b"", plaintext=True
    ),
    "key-sealed-hmac": KeySealed(
        at=AT, epoch=Epoch(1), key=KeyId("kraken-1"), version=1, blob=b"b" * 72, identity=b"k" * 32, plaintext=False
    ),
    "key-proved": KeyProved(
        at=AT,
        epoch=Epoch(1),
        token=PROPOSAL,
        node=NODE,
        key=KeyId("eth-mm-1"),
        version=2,
        signature=Signature(value=b"s" * 64, recovery_id=1),
    ),
    "key-proved-hmac": KeyProved(
        at=AT,
        epoch=Epoch(1),
        token=PROPOSAL,
        node=NODE,
        key=KeyId("kraken-1"),
        version=1,
        signature=Signature(value=b"h" * 64),
    ),
}
