"""The ledger of protos/README.md, made from fixed keys and times: three entries, a checkpoint, a proof.

``python -m tests.docs.example`` prints every text of it, for whoever has to bring the document up to date.
"""

import hashlib
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.approvals import (
    PAYLOAD_TYPE,
    Action,
    Envelope,
    EnvelopeSignature,
    Member,
    Statement,
    keyid_of,
    pre_authentication_encoding,
)
from keyvault.core.commands import object_id_of
from keyvault.core.events import Event, Genesis, KeyCreated, TermStarted
from keyvault.core.ids import EnclaveName, Epoch, KeyId, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.keys import KeyAlgorithm, KeyProvenance
from keyvault.core.policy import Policy
from keyvault.core.state import enclave_id_of
from keyvault.ledger import checkpoint, note, proof
from keyvault.ledger.codec import encode, encode_policy, request_key, statement_key
from keyvault.ledger.merkle import leaf_hash, node_hash

AT = UnixMillis(1_790_000_000_000)
LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
MEMBER_KEY = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
KEY = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
POLICY = Policy(version=1, rules=(), limits=())
_HEX_COLUMNS = 96


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


MEMBER_SPKI = MEMBER_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

GENESIS = Genesis(
    at=AT,
    epoch=Epoch(0),
    enclave=EnclaveName("hot"),
    log_public_key=raw(LOG_KEY),
    import_public_key=b"",
    members=(Member(name=MemberName("alice"), roles=frozenset({"admin"}), public_keys=(MEMBER_SPKI,)),),
    admin_threshold=1,
    policy=POLICY,
    policy_document=encode_policy(POLICY),
    nonce=b"\4" * 16,
)
STATEMENT = Statement(
    action=Action.KEY_CREATE,
    enclave=EnclaveName("hot"),
    enclave_id=enclave_id_of(GENESIS).hex(),
    policy_version=1,
    requester=MemberName("alice"),
    parameters=(("algorithm", "ED25519"), ("key", "binance-ed")),
    nonce="05" * 16,
    expires_at=UnixMillis(AT + 600_000),
)
PAE = pre_authentication_encoding(PAYLOAD_TYPE, STATEMENT.encode())
ENVELOPE = Envelope(
    payload=STATEMENT.encode(),
    payload_type=PAYLOAD_TYPE,
    signatures=(EnvelopeSignature(keyid=keyid_of(MEMBER_SPKI), sig=MEMBER_KEY.sign(PAE)),),
)
EVENTS: tuple[Event, ...] = (
    GENESIS,
    TermStarted(at=UnixMillis(AT + 1_000), epoch=Epoch(2), holder="0a" * 16, software="0.1.0"),
    KeyCreated(
        at=UnixMillis(AT + 2_000),
        epoch=Epoch(2),
        key=KeyId("binance-ed"),
        version=1,
        algorithm=KeyAlgorithm.ED25519,
        provenance=KeyProvenance.GENERATED,
        public_key=raw(KEY),
        token_object_id=object_id_of(ENVELOPE.payload),
        authorization=ENVELOPE,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The same ledger as bytes."""

    entries: tuple[bytes, ...]
    root: bytes
    key: note.Verifier
    note: bytes
    proof: bytes


def example() -> Example:
    """Return the ledger; Ed25519 signatures are deterministic, so it is the same each time."""
    entries = tuple(map(encode, EVENTS))
    first, second, third = map(leaf_hash, entries)
    root = node_hash(node_hash(first, second), third)
    key = note.verifier(checkpoint.origin(GENESIS.enclave, first), raw(LOG_KEY))
    text = checkpoint.signing_text(key.name, len(entries), root)
    signed = checkpoint.assemble(text, key, LOG_KEY.sign(text))
    return Example(
        entries=entries, root=root, key=key, note=signed, proof=proof.format_proof(1, (first, third), signed)
    )


def texts() -> Mapping[str, str]:
    """Return everything that protos/README.md shows, as it must stand there."""
    made = example()
    bot, request = Principal("spiffe://keyvault.local/bot/demo"), RequestId("0190b2c4-7d1e-7abc-8def-0123456789ab")
    return {
        "entry 0": _lines(made.entries[0]),
        "entry 1": _lines(made.entries[1]),
        "entry 2": _lines(made.entries[2]),
        "leaf 0": leaf_hash(made.entries[0]).hex(),
        "leaf 1": leaf_hash(made.entries[1]).hex(),
        "leaf 2": leaf_hash(made.entries[2]).hex(),
        "root": made.root.hex(),
        "vkey": made.key.vkey,
        "checkpoint": made.note.decode(),
        "proof": made.proof.decode(),
        "statement": STATEMENT.encode().decode(),
        "pae": PAE.split(b"{")[0].decode().rstrip(),
        "keyid": keyid_of(MEMBER_SPKI),
        "sig": ENVELOPE.signatures[0].sig.hex(),
        "enclave id": enclave_id_of(GENESIS).hex(),
        "object id": object_id_of(ENVELOPE.payload).hex(),
        "statement key": statement_key(ENVELOPE.payload).hex(),
        "request key": request_key(bot, request).hex(),
        "policy document": encode_policy(POLICY).hex(),
        "policy sha256": hashlib.sha256(encode_policy(POLICY)).hexdigest(),
    }


def _lines(data: bytes) -> str:
    return "\n".join(textwrap.wrap(data.hex(), _HEX_COLUMNS))


if __name__ == "__main__":
    for _name, _text in texts().items():
        print(f"--- {_name}\n{_text}")  # noqa: T201  this is what it is for
