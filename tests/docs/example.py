"""The ledger of protos/README.md, made from fixed keys and times: five entries, a checkpoint, a proof, evidence.

``python -m tests.docs.example`` prints every text of it, for whoever has to bring the document up to date.
"""

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.apply import apply, enclave_id_of
from keyvault.core.approvals import EnvelopeSignature, Voice, keyid_of, signed_bytes
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.events import BallotCast, Event, Genesis, KeyCreated, ProposalMade, TermStarted
from keyvault.core.execution import KeyToMake, carry_out
from keyvault.core.ids import EnclaveName, Epoch, GroupName, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.policy import Policy
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State
from keyvault.core.statements import Action, Statement, proposal_id_of
from keyvault.ledger import checkpoint, codec, note, proof
from keyvault.ledger.account import replay
from keyvault.ledger.evidence import Bundle, Proven, format_bundle
from keyvault.ledger.merkle import Tree, leaf_hash

AT = UnixMillis(1_790_000_000_000)
LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
ALICE_KEY = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
BOB_KEY = Ed25519PrivateKey.from_private_bytes(b"\6" * 32)
KEY = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
POLICY = Policy(version=1, rules=(), limits=())
_HEX_COLUMNS = 96


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def spki(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


OWNERS = parse_quorum("1 of owners")
CHARTER = Charter(
    version=1,
    members=(
        Member(name=MemberName("alice"), roles=frozenset({Role.ADMIN}), public_keys=(spki(ALICE_KEY),)),
        Member(name=MemberName("bob"), roles=frozenset({Role.APPROVER}), public_keys=(spki(BOB_KEY),)),
    ),
    groups=(Group(name=GroupName("owners"), members=frozenset({MemberName("alice"), MemberName("bob")})),),
    thresholds=tuple(Threshold(duty=duty, quorum=OWNERS) for duty in (Duty.CHARTER, Duty.KEY_CREATE, Duty.FREEZE)),
)
GENESIS = Genesis(
    at=AT,
    epoch=Epoch(0),
    enclave=EnclaveName("hot"),
    log_public_key=raw(LOG_KEY),
    import_public_key=b"",
    charter=CHARTER,
    charter_document=codec.encode_charter(CHARTER),
    policy=POLICY,
    policy_document=codec.encode_policy(POLICY),
    nonce=b"\4" * 16,
)
STATEMENT = Statement(
    action=Action.KEY_CREATE,
    enclave=EnclaveName("hot"),
    enclave_id=enclave_id_of(GENESIS).hex(),
    policy_version=1,
    requester="alice",
    parameters=(
        ("algorithm", "ED25519"),
        ("cryptoperiod_days", "365"),
        ("initial", "ACTIVE"),
        ("key", "binance-ed"),
        ("rotation", "warn"),
    ),
    nonce="05" * 16,
    expires_at=UnixMillis(AT + 86_400_000),
)
PROPOSAL = proposal_id_of(STATEMENT.encode())


def _say(key: Ed25519PrivateKey, voice: Voice) -> EnvelopeSignature:
    return EnvelopeSignature(keyid=keyid_of(spki(key)), sig=key.sign(signed_bytes(voice, STATEMENT.encode())))


def _events() -> tuple[Event, ...]:
    """Return the facts; the last is what the approved proposal comes to."""
    first: tuple[Event, ...] = (
        GENESIS,
        TermStarted(at=UnixMillis(AT + 1_000), epoch=Epoch(2), holder="0a" * 16, software="0.1.0"),
        ProposalMade(
            at=UnixMillis(AT + 2_000),
            epoch=Epoch(2),
            statement=STATEMENT.encode(),
            signature=_say(ALICE_KEY, Voice.REQUEST),
        ),
        BallotCast(
            at=UnixMillis(AT + 3_000),
            epoch=Epoch(2),
            proposal=PROPOSAL,
            member=MemberName("bob"),
            voice=Voice.APPROVE,
            signature=_say(BOB_KEY, Voice.APPROVE),
        ),
    )
    state = State.empty()
    for index, event in enumerate(first):
        apply(state, index, event)
    plan = carry_out(state, PROPOSAL, UnixMillis(AT + 4_000))
    assert isinstance(plan, KeyToMake)
    return (*first, plan.created(raw(KEY)))


EVENTS = _events()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The same ledger as bytes."""

    entries: tuple[bytes, ...]
    root: bytes
    key: note.Verifier
    note: bytes
    proof: bytes
    evidence: bytes


def example() -> Example:
    """Return the ledger; Ed25519 signatures are deterministic, so it is the same each time."""
    entries = tuple(map(codec.encode, EVENTS))
    leaves = tuple(map(leaf_hash, entries))
    tree = Tree.of(leaves)
    key = note.verifier(checkpoint.origin(GENESIS.enclave, leaves[0]), raw(LOG_KEY))
    text = checkpoint.signing_text(key.name, len(entries), tree.root())
    signed = checkpoint.assemble(text, key, LOG_KEY.sign(text))
    proofs = [tuple(tree.inclusion_proof(index, len(entries), lambda _: leaves)) for index in range(len(entries))]
    bundle = Bundle(
        note=signed,
        entries=tuple(
            Proven(index=index, body=body, proof=path)
            for index, (body, path) in enumerate(zip(entries, proofs, strict=True))
        ),
    )
    return Example(
        entries=entries,
        root=tree.root(),
        key=key,
        note=signed,
        proof=proof.format_proof(4, proofs[4], signed),
        evidence=format_bundle(bundle, replay(tuple(enumerate(entries)))),
    )


def texts() -> Mapping[str, str]:
    """Return everything that protos/README.md shows, as it must stand there."""
    made = example()
    bot, request = Principal("spiffe://keyvault.local/bot/demo"), RequestId("0190b2c4-7d1e-7abc-8def-0123456789ab")
    created, cast = EVENTS[4], EVENTS[3]
    assert isinstance(created, KeyCreated)
    assert isinstance(cast, BallotCast)
    return {
        **{f"entry {index}": _lines(body) for index, body in enumerate(made.entries)},
        **{f"leaf {index}": leaf_hash(body).hex() for index, body in enumerate(made.entries)},
        "root": made.root.hex(),
        "vkey": made.key.vkey,
        "checkpoint": made.note.decode(),
        "proof": made.proof.decode(),
        "charter": _lines(GENESIS.charter_document),
        "charter sha256": hashlib.sha256(GENESIS.charter_document).hexdigest(),
        "statement": STATEMENT.encode().decode(),
        "proposal": PROPOSAL.hex(),
        "pae": signed_bytes(Voice.APPROVE, STATEMENT.encode()).split(b"{")[0].decode().rstrip(),
        "keyid": cast.signature.keyid,
        "sig": cast.signature.sig.hex(),
        "enclave id": enclave_id_of(GENESIS).hex(),
        "object id": created.token_object_id.hex(),
        "request key": codec.request_key(bot, request).hex(),
        "proposal key": codec.proposal_key(PROPOSAL).hex(),
        "ballot key": codec.ballot_key(PROPOSAL, cast.voice, cast.signature.keyid).hex(),
        "execution key": codec.execution_key(PROPOSAL).hex(),
        "destruction key": (b"dest\0\0\0\0" + PROPOSAL).hex(),
        "escalation key": codec.escalation_key(bot, request).hex(),
        "policy document": POLICY_DOCUMENT.hex(),
        "policy sha256": hashlib.sha256(POLICY_DOCUMENT).hexdigest(),
        "evidence envelope": _short(json.loads(made.evidence)["envelopes"][1]),
        "evidence sha256": hashlib.sha256(made.evidence).hexdigest(),
        "evidence bytes": f"{len(made.evidence):,} bytes",
    }


POLICY_DOCUMENT = codec.encode_policy(POLICY)


def _short(item: dict[str, dict[str, str]]) -> str:
    """Return an envelope of the bundle with the statement, which stands elsewhere, cut."""
    item["envelope"]["payload"] = item["envelope"]["payload"][:16] + "..."
    return json.dumps(item, sort_keys=True, indent=1)


def _lines(data: bytes) -> str:
    return "\n".join(textwrap.wrap(data.hex(), _HEX_COLUMNS))


if __name__ == "__main__":
    for _name, _text in texts().items():
        print(f"--- {_name}\n{_text}")  # noqa: T201  this is what it is for
