"""A bundle of evidence convinces somebody who has nothing but the log's key, and only of what is so."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.approvals import Voice, pre_authentication_encoding
from keyvault.core.charter import Role
from keyvault.core.errors import Corrupt, Malformed, NotFound
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    KeyCreated,
    KeyDestroyed,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
)
from keyvault.core.governance import due_rotations
from keyvault.core.ids import KeyId, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.keys import KeyState, Signature
from keyvault.core.policy import ANY, Policy
from keyvault.core.statements import Action, proposal_id_of
from keyvault.ledger.__main__ import main
from keyvault.ledger.archive import export, open_archive
from keyvault.ledger.codec import encode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import TYPE, Evidence, check_evidence
from keyvault.ledger.evidence_words import NOT_SHOWN, evidence_text
from keyvault.ledger.gather import evidence_of
from keyvault.ledger.merkle import leaf_hash
from keyvault.ledger.signatures import SECP256K1_ORDER
from keyvault.store.sqlite import open_store
from tests.ledger.ledgers import DAY_MS, RULE, Ledger, ed25519_key, hmac_key, rulers, sample, secp256k1_key
from tests.worlds import Person, key_parameters, spki

ROOT = Path(__file__).parents[2]
GOOD = sample(4)


def _begun() -> Ledger:
    ledger = Ledger()
    ledger.start()
    return ledger


def _shown(ledger: Ledger, index: int) -> tuple[bytes, Evidence]:
    """Sign a checkpoint, bundle the evidence, and check it as somebody else would."""
    ledger.sign_checkpoint()
    data, _ = evidence_of(ledger, index=index, key=ledger.key)
    return data, check_evidence(data, ledger.key)


def _places(data: bytes) -> list[int]:
    return [each["index"] for each in json.loads(data)["entries"]]


# What is shown ----------------------------------------------------------------------------------------------------


def test_a_key_s_creation_is_shown() -> None:
    """The bundle has the genesis, the term, the proposal, the ballot and the fact, and says who did what, when."""
    ledger = _begun()
    ledger.create_key("other", secp256k1_key())
    index = ledger.create_key("k1", secp256k1_key())
    data, found = _shown(ledger, index)
    assert _places(data) == [0, 1, index - 2, index - 1, index]
    account = found.account
    assert isinstance(account.subject, KeyCreated)
    assert account.case.statement.summary().startswith("Create key k1 (SECP256K1, ACTIVE,")
    assert [(each.member, each.voice, each.index) for each in account.case.said] == [
        ("alice", Voice.REQUEST, index - 2),
        ("bob", Voice.APPROVE, index - 1),
    ]
    done = account.case.done
    assert done is not None
    assert [(each.quorum, each.charter_version, each.approvers) for each in done.demands] == [
        ("1 of admins", 1, ("bob",))
    ]
    assert (account.charter.version, account.charters) == (1, ())
    assert (found.checkpoint.size, found.checkpoint.root) == (ledger.head.size, ledger.head.root)
    text = evidence_text(found)
    for words in ("Key k1 version 1 (SECP256K1) was generated; it is ACTIVE.", "bob approved at", NOT_SHOWN):
        assert words in text


def test_whatever_members_decided_is_shown() -> None:
    """Every entry of a genuine ledger that is about a proposal has a bundle that checks; no other entry has one."""
    size = GOOD.checkpoints[-1][0]
    shown = 0
    for index, event in enumerate(GOOD.events[:size]):
        about = isinstance(event, ProposalMade | SignatureEscalated) or bool(getattr(event, "proposal", b""))
        if about:
            data, found = evidence_of(GOOD, index=index)
            assert check_evidence(data, GOOD.key).account == found.account
            assert (found.account.index, found.account.subject) == (index, event)
            shown += 1
        else:
            with pytest.raises(Malformed, match="is about no proposal"):
                evidence_of(GOOD, index=index)
    assert shown == 38


def test_a_chain_of_charters_is_shown() -> None:
    """Three changes of members, each approved under the old charter and the new; the last members approve a key."""
    ledger = _begun()
    dave = Person("dave", frozenset({Role.APPROVER}))
    everybody = (ledger.alice, ledger.bob, ledger.carol)
    first = ledger.change_charter(
        rulers(*everybody, dave, version=2, change="2 of admins", glass="3 of admins"), ledger.bob, dave
    )
    second = ledger.change_charter(rulers(ledger.alice, ledger.bob, dave, version=3), dave, ledger.bob)
    ledger.publish_policy()
    third = ledger.change_charter(rulers(ledger.alice, dave, replace(ledger.carol, name="eve"), version=4), dave)
    index = ledger.change(Action.KEY_CREATE, key_parameters("k1"), approvers=(dave,), made=secp256k1_key())
    _, found = _shown(ledger, index)
    account = found.account
    assert (account.charter, account.charter_sha256) == (ledger.state.rulers.charter, ledger.state.charter_sha256)
    dones = [case.done for case in account.charters]
    assert [done.index for done in dones if done] == [first, second, third]
    assert [[(each.charter_version, each.approvers) for each in done.demands] for done in dones if done] == [
        [(1, ("bob",)), (2, ("bob", "dave"))],
        [(2, ("bob", "dave")), (3, ("bob", "dave"))],
        [(3, ("dave",)), (4, ("dave",))],
    ]
    assert [each.member for each in account.case.said] == ["alice", "dave"]
    assert "version 4" in evidence_text(found)


def test_broken_glass_is_shown_loudly() -> None:
    """Breaking the glass is said in capitals, with its reason and its delay, wherever it is part of the chain."""
    ledger = _begun()
    glass = ledger.break_glass(rulers(ledger.bob, ledger.carol, version=2, glass=""))
    index = ledger.change(
        Action.KEY_CREATE, key_parameters("k1"), person=ledger.bob, approvers=(ledger.carol,), made=secp256k1_key()
    )
    _, found = _shown(ledger, glass)
    assert "what      BREAK GLASS: charter version 2 is in force." in evidence_text(found)
    _, found = _shown(ledger, index)
    text = evidence_text(found)
    assert "charter   version 2 by BREAK GLASS at" in text
    assert "reason given: keys were lost" in text
    done = found.account.charters[0].done
    assert done is not None
    assert (done.delay_ms, done.at - done.approved_at) == (DAY_MS, DAY_MS + 1)


def test_an_approved_signature_is_shown() -> None:
    """The signature verifies under the key of the entry that made it, and the request is the one that was approved."""
    ledger = _begun()
    made = ledger.create_key("vault", secp256k1_key())
    ledger.create_key("k1", secp256k1_key())
    ledger.add(ledger.issued("k1"))
    index = ledger.sign_approved()
    data, found = _shown(ledger, index)
    assert _places(data) == [0, 1, made - 2, made - 1, made, index - 3, index - 2, index - 1, index]
    assert found.account.signature_verified is True
    done = found.account.case.done
    assert done is not None
    assert [each.approvers for each in done.demands] == [("bob", "carol")]
    assert "signed request" in evidence_text(found)


def test_a_bundle_takes_what_the_life_of_a_key_takes() -> None:
    """Enabled, rotated (also by the enclave itself), disabled, kept from destruction and destroyed: all is shown."""
    ledger = _begun()
    ledger.create_key("k1", secp256k1_key(), initial="PRE_ACTIVE")
    enabled = ledger.set_key_state("k1", KeyState.ACTIVE)
    rotated = ledger.rotate_key("k1", secp256k1_key())
    ledger.change(Action.KEY_DESTROY, {"key": "k1", "version": "1", "after_days": "30"})
    kept = ledger.change(Action.KEY_KEEP, {"key": "k1", "version": "1"})
    ledger.start_term()
    gone = ledger.destroy_key("k1")
    for index in (enabled, rotated, kept, gone - 1):
        assert _shown(ledger, index)[1].account.index == index
    _, found = _shown(ledger, gone)
    assert isinstance(ledger.events[gone], KeyDestroyed)
    assert "Key k1 version 1 was destroyed." in evidence_text(found)


def test_a_rotation_that_fell_due_is_shown() -> None:
    """What the enclave proposed by itself is said to be asked for by no member, and a member's approval is shown."""
    ledger = _begun()
    parameters = key_parameters("k1", cryptoperiod_days=30, rotation="propose")
    ledger.change(Action.KEY_CREATE, parameters, made=secp256k1_key())
    ledger.waited_ms += 29 * DAY_MS
    said = due_rotations(ledger.state, ledger.at)[KeyId("k1")]
    ledger.add(ProposalMade(at=ledger.at, epoch=ledger.epoch, statement=said.encode(), signature=None))
    proposal = proposal_id_of(said.encode())
    ledger.vote(proposal, ledger.alice)
    _, found = _shown(ledger, ledger.carry_out(proposal, secp256k1_key()))
    assert "asked     by service:rotation" in evidence_text(found)
    assert [each.member for each in found.account.case.said] == ["alice"]


def test_imports_freezes_and_ceremonies_are_shown() -> None:
    """A wrapped secret, a freeze by one member, its lifting, and a step of a ceremony each have a bundle."""
    ledger = _begun()
    imported = ledger.create_key("h1", hmac_key())
    ledger.create_key("k1", ed25519_key())
    frozen, thawed = ledger.freeze(), ledger.thaw()
    ledger.freeze("venue", "binance")
    step = ledger.change(Action.CEREMONY_STEP, {"ceremony": "root", "step": "1", "record_sha256": "ab" * 32})
    for index in (imported, frozen, thawed, step):
        _shown(ledger, index)
    _, found = _shown(ledger, frozen)
    assert [(each.member, each.voice) for each in found.account.case.said] == [("alice", Voice.REQUEST)]


def test_words_of_no_are_shown() -> None:
    """A veto, a rejection and a revocation are told as what they are; nothing is said to be done."""
    ledger = _begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    ledger.vote(proposal, ledger.carol, Voice.REJECT)
    _, found = _shown(ledger, ledger.vote(proposal, ledger.bob, Voice.VETO))
    text = evidence_text(found)
    assert "carol rejected it" in text
    assert "bob VETOED it" in text
    assert "not carried out up to this entry" in text
    assert found.account.case.done is None


def test_a_proposal_is_found_by_its_name() -> None:
    """The whole name, its beginning, or a resource name lead to the last entry about the proposal."""
    ledger = _begun()
    index = ledger.create_key("k1", secp256k1_key())
    ledger.sign_checkpoint()
    name = ledger.events[index].proposal.hex()  # type: ignore[union-attr]  # a KeyCreated
    for named in (name, name[:8], f"enclaves/hot/proposals/{name}"):
        assert evidence_of(ledger, proposal=named)[1].account.index == index
    for wrong in (name[:7], "xyz", name + "00", ""):
        with pytest.raises(Malformed, match="hex digits"):
            evidence_of(ledger, proposal=wrong)
    with pytest.raises(NotFound, match="no proposals"):
        evidence_of(ledger, proposal="0" * 64 if name[0] != "0" else "1" * 64)


def test_a_bundle_needs_a_checkpoint_that_covers_its_entry() -> None:
    """Without a checkpoint, or beyond the newest, there is nothing to show anything by."""
    ledger = _begun()
    index = ledger.create_key("k1", secp256k1_key())
    with pytest.raises(NotFound, match="no checkpoint"):
        evidence_of(ledger, index=index)
    ledger.sign_checkpoint()
    later = ledger.freeze()
    with pytest.raises(NotFound, match="not covered yet"):
        evidence_of(ledger, index=later)
    with pytest.raises(Malformed, match="is about no proposal"):
        evidence_of(ledger, index=0)
    with pytest.raises(Unproven):
        evidence_of(ledger, index=index, key=GOOD.key)


def test_proofs_reach_over_thousands_of_entries() -> None:
    """In a ledger of many tiles the proofs of the first and the last entry hold."""
    ledger = _begun()
    ledger.create_key("k1", secp256k1_key())
    while len(ledger.entries) < 1_500:
        ledger.add(ledger.refused())
    index = ledger.set_key_state("k1", KeyState.DISABLED)
    data, found = _shown(ledger, index)
    assert _places(data) == [0, 1, 2, 3, 4, index - 1, index]
    assert found.checkpoint.size == index + 1


def test_a_ledger_with_a_gap_gives_no_evidence() -> None:
    """Where entries are missing nothing is bundled: the ledger is to be verified first."""
    ledger = _begun()
    index = ledger.create_key("k1", secp256k1_key())
    ledger.sign_checkpoint()
    del ledger.entries[-1]
    with pytest.raises(Corrupt, match="verify it first"):
        evidence_of(ledger, index=index - 1)


# DSSE -------------------------------------------------------------------------------------------------------------


def test_any_dsse_tool_can_verify_the_envelopes() -> None:
    """By nothing but the JSON and the DSSE specification every word verifies, and the statement can be read."""
    ledger = _begun()
    index = ledger.change(
        Action.KEY_CREATE, key_parameters("k1"), approvers=(ledger.carol,), made=secp256k1_key()
    )  # carol has a P-256 key
    data, _ = _shown(ledger, index)
    envelopes = json.loads(data)["envelopes"]
    assert [(each["member"], each["voice"], each["index"]) for each in envelopes] == [
        ("alice", "request", index - 2),
        ("carol", "approve", index - 1),
    ]
    for each in envelopes:
        envelope = each["envelope"]
        payload = base64.b64decode(envelope["payload"])
        assert json.loads(payload)["parameters"]["key"] == "k1"
        assert envelope["payloadType"] == f"application/vnd.keyvault.{each['voice']}+json"
        (signature,) = envelope["signatures"]
        signed = b"DSSEv1 %d %s %d %s" % (
            len(envelope["payloadType"]),
            envelope["payloadType"].encode(),
            len(payload),
            payload,
        )
        assert signed == pre_authentication_encoding(envelope["payloadType"], payload)
        key = load_pem_public_key(each["public_key_pem"].encode())
        sig = base64.b64decode(signature["sig"])
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(sig, signed, ec.ECDSA(SHA256()))
        else:
            assert isinstance(key, ed25519.Ed25519PublicKey)
            key.verify(sig, signed)


# What is not taken ------------------------------------------------------------------------------------------------


def _case() -> tuple[Ledger, bytes, int]:
    """Return a ledger with a changed charter, a key that two proposals are about, and the bundle of the second."""
    ledger = _begun()
    ledger.change_charter(rulers(ledger.alice, ledger.bob, ledger.carol, version=2))
    ledger.create_key("k1", secp256k1_key())
    ledger.sign_checkpoint()
    index = ledger.set_key_state("k1", KeyState.DISABLED)
    index = ledger.change(Action.KEY_ENABLE, {"key": "k1", "version": "1"}, approvers=(ledger.carol,))
    ledger.freeze()
    ledger.propose(Action.KEY_DESTROY, {"key": "k1", "version": "1", "after_days": "7"})
    ledger.sign_checkpoint()
    data, _ = evidence_of(ledger, index=index)
    return ledger, data, index


CASE, BUNDLE, INDEX = _case()


def _written(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _entry(ledger: Ledger, index: int) -> dict[str, object]:
    """Return an entry of the ledger with its genuine proof under the newest checkpoint."""
    size, _ = ledger.checkpoints[-1]
    proof = ledger.tree.inclusion_proof(
        index, size, lambda block: [leaf_hash(body) for body in ledger.entries[block * 256 : block * 256 + 256]]
    )
    return {
        "index": index,
        "entry": base64.b64encode(ledger.entries[index]).decode(),
        "proof": [base64.b64encode(each).decode() for each in proof],
    }


def _made_up(ledger: Ledger, *indices: int) -> bytes:
    """Return a bundle of these entries as a liar with the log key would write it."""
    ledger.sign_checkpoint()
    return _written(
        {
            "type": TYPE,
            "enclave": "hot",
            "subject": indices[-1],
            "checkpoint": ledger.checkpoints[-1][1].decode(),
            "entries": [_entry(ledger, index) for index in indices],
            "envelopes": [],
        }
    )


def _without(document: dict[str, list[dict[str, object]]], *places: int) -> None:
    document["entries"] = [each for number, each in enumerate(document["entries"]) if number not in places]


def _body_of(number: int, body: bytes) -> Callable[[dict[str, list[dict[str, object]]]], None]:
    def change(document: dict[str, list[dict[str, object]]]) -> None:
        document["entries"][number]["entry"] = base64.b64encode(body).decode()

    return change


def _put(name: str, value: object) -> Callable[[dict[str, object]], None]:
    def change(document: dict[str, object]) -> None:
        document[name] = value

    return change


# Places in the bundle: 0 genesis, 1 term, 2-4 charter, 5-7 creation, 8-9 disabled, 10 proposal, 11 ballot, 12 enabled.
TAMPERINGS: dict[str, tuple[Callable[..., None], str]] = {
    "a ballot is left out": (lambda d: _without(d, 11), "needs 1 of admins; approved so far by nobody"),
    "the proposal is left out": (lambda d: _without(d, 10, 11), "there is no open proposal"),
    "the charter's change is left out": (lambda d: _without(d, 2, 3, 4), "not what the members approved"),
    "the charter's change without its ballot": (lambda d: _without(d, 3), "needs 1 of admins"),
    "the charter's change alone": (lambda d: _without(d, 2, 3), "there is no open proposal"),
    "the key's making is left out": (lambda d: _without(d, 5, 6, 7), "has no key k1"),
    "a change of the key is left out": (lambda d: _without(d, 8, 9), "does not apply to it"),
    "the term is left out": (lambda d: _without(d, 1), "the term is 0"),
    "the genesis is left out": (lambda d: _without(d, 0), "entry 0"),
    "the event is left out": (lambda d: _without(d, 12), "says something else"),
    "another ballot's bytes": (_body_of(11, CASE.entries[3]), "is not shown to be in the ledger"),
    "another proposal's ballot": (
        lambda d: d["entries"].__setitem__(11, _entry(CASE, 6)),
        "in the order of the ledger",
    ),
    "a ballot that somebody signed since": (
        _body_of(
            11,
            encode(
                replace(
                    next(e for e in CASE.events[::-1] if isinstance(e, BallotCast)),
                    member=CASE.bob.member.name,
                    signature=CASE.bob.say(Voice.APPROVE, b"{}"),
                )
            ),
        ),
        "is not shown to be in the ledger",
    ),
    "another event": (_body_of(12, CASE.entries[9]), "is not shown to be in the ledger"),
    "another genesis": (_body_of(0, GOOD.entries[0]), "entry 0 gives the log key"),
    "another place": (lambda d: d["entries"][12].update(index=INDEX + 1), "is not shown to be in the ledger"),
    "a proof that is too short": (lambda d: d["entries"][12]["proof"].pop(), "is not shown to be in the ledger"),
    "an older checkpoint": (_put("checkpoint", CASE.checkpoints[0][1].decode()), "is not shown to be in the ledger"),
    "another log's checkpoint": (_put("checkpoint", GOOD.checkpoints[-1][1].decode()), "has no signature of"),
    "a fact after the event": (lambda d: d["entries"].append(_entry(CASE, INDEX + 2)), "does not follow"),
    "another enclave's name": (_put("enclave", "cold"), "says something else"),
    "another subject": (_put("subject", INDEX - 1), "says something else"),
    "no envelopes": (_put("envelopes", []), "says something else"),
    "another member's envelope": (lambda d: d["envelopes"][-1].update(member="bob"), "says something else"),
    "another key's envelope": (
        lambda d: d["envelopes"][-1].update(public_key_pem=d["envelopes"][0]["public_key_pem"]),
        "says something else",
    ),
    "a remark": (_put("note", "all is well"), "says something else"),
    "another type": (_put("type", "keyvault/evidence/v2"), "its type is not"),
    "no entries": (_put("entries", []), "must be there"),
}


@pytest.mark.parametrize(("change", "words"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_a_bundle_that_was_changed_is_refused(change: Callable[..., None], words: str) -> None:
    """Whatever is left out, swapped, taken from elsewhere or written in, the bundle is refused in words."""
    document = json.loads(BUNDLE)
    assert _written(document) == BUNDLE
    assert len(document["entries"]) == 13
    change(document)
    with pytest.raises((Malformed, Unproven)) as refused:
        check_evidence(_written(document), CASE.key)
    assert words in str(refused.value)


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    """One bit anywhere in the file: refused, and never by a crash."""
    changed = bytearray(BUNDLE)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Malformed, Unproven)):
        check_evidence(bytes(changed), CASE.key)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"type":"keyvault/evidence/v1"}',
        b" " + BUNDLE,
        BUNDLE + b"\n",
        BUNDLE.replace(b'"subject":', b'"subject":1,"subject":'),
        json.dumps({"type": TYPE, "entries": [None], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": True}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": -1, "entry": "", "proof": []}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": 5, "proof": []}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": [5]}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": {}}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": []}], "checkpoint": 5}).encode(),
        json.dumps(
            {"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": [""] * 64}], "checkpoint": ""}
        ).encode(),
        b'{"type":"keyvault/evidence/v1","checkpoint":"\\ud800","entries":[{"index":0,"entry":"","proof":[]}]}',
    ],
)
def test_what_is_no_bundle_is_malformed(data: bytes) -> None:
    """Noise, nesting, numbers, other types, two forms of the same: refused in words, never by a crash."""
    with pytest.raises((Malformed, Unproven)):
        check_evidence(data, CASE.key)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "entries", "index", "entry", "proof", "checkpoint", "envelopes"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_refused(value: object) -> None:
    """Whatever JSON holds, also in the places of what is right, is refused and never crashes."""
    for document in (value, {"type": TYPE, "entries": value}, json.loads(BUNDLE) | {"entries": [value]}):
        with pytest.raises((Malformed, Unproven)):
            check_evidence(_written(document), CASE.key)


def test_bundles_are_bounded() -> None:
    """More bytes or more entries than a bundle can have are not looked at."""
    with pytest.raises(Malformed, match="longer than"):
        check_evidence(bytes(limits.EVIDENCE_BYTES_MAX + 1), CASE.key)
    many = {"type": TYPE, "checkpoint": "", "entries": [0] * (limits.EVIDENCE_ENTRIES_MAX + 1)}
    with pytest.raises(Malformed, match="at most"):
        check_evidence(_written(many), CASE.key)


# Those who have the log key ---------------------------------------------------------------------------------------


def test_whoever_has_the_log_key_cannot_put_a_member_in() -> None:
    """A charter with the attacker's own member, signed by nobody who may, is no link of the chain."""
    mallory = Person("mallory")
    for asker in (mallory, None):
        ledger = _begun()
        new = rulers(ledger.alice, ledger.bob, ledger.carol, mallory, version=2)
        parameters, attached = ledger.charter_parameters(new)
        made = ledger.proposed(Action.CHARTER_CHANGE, parameters, None, **attached)
        if asker is not None:
            made = replace(made, signature=asker.say(Voice.REQUEST, made.statement))
        first = ledger.force(made)
        proposal = proposal_id_of(made.statement)
        ballot = BallotCast(
            at=made.at,
            epoch=ledger.epoch,
            proposal=proposal,
            member=mallory.member.name,
            voice=Voice.APPROVE,
            signature=mallory.say(Voice.APPROVE, made.statement),
        )
        second = ledger.force(ballot)
        third = ledger.force(
            CharterChanged(
                at=made.at,
                epoch=ledger.epoch,
                version=2,
                break_glass=False,
                proposal=proposal,
                charter_sha256=ledger.state.charter_sha256,
            )
        )
        with pytest.raises(Unproven) as refused:
            check_evidence(_made_up(ledger, 0, 1, first, second, third), ledger.key)
        assert ("is not a member's in charter version 1" if asker else "needs 1 of admins") in str(refused.value)
        with pytest.raises(Unproven):
            evidence_of(ledger, index=third)


def test_a_ballot_after_the_event_does_not_count() -> None:
    """A key that was made first and approved afterwards is not shown to be approved, in whatever order."""
    ledger = _begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    early = KeyCreated(
        at=ledger.at,
        epoch=ledger.epoch,
        key=KeyId("k1"),
        version=1,
        algorithm=secp256k1_key().algorithm,
        provenance=GOOD_CREATED.provenance,
        state=KeyState.ACTIVE,
        public_key=secp256k1_key().public_key,
        token_object_id=bytes(20),
        proposal=proposal,
        charter_sha256=ledger.state.charter_sha256,
    )
    index = ledger.force(early)
    after = ledger.vote(proposal)
    for places in ((0, 1, index - 1, index), (0, 1, index - 1, index, after), (0, 1, index - 1, after, index)):
        with pytest.raises((Malformed, Unproven)):
            check_evidence(_made_up(ledger, *places), ledger.key)


GOOD_CREATED = next(event for event in GOOD.events if isinstance(event, KeyCreated))


def _high(signature: Signature) -> Signature:
    """Return the other form of the same signature."""
    high = SECP256K1_ORDER - int.from_bytes(signature.value[32:], "big")
    value = signature.value[:32] + high.to_bytes(32, "big")
    return Signature(value=value, recovery_id=1 - (signature.recovery_id or 0))


def _asked(ledger: Ledger) -> SignatureIssued:
    """Let members be asked about a signature and approve it; return it."""
    ledger.create_key("vault", secp256k1_key())
    escalation = ledger.escalated()
    ledger.add(escalation)
    for person in (ledger.bob, ledger.carol):
        ledger.vote(proposal_id_of(escalation.statement), person)
    return ledger.approved_signature(escalation)


LIES: dict[str, tuple[Callable[[SignatureIssued], SignatureIssued], str]] = {
    "by another rule": (lambda signed: replace(signed, rules=("another",)), "the entry says by another"),
    "of another request": (
        lambda signed: replace(signed, request=replace(signed.request, request_id=RequestId("another"))),
        "not the one that members approved",
    ),
    "of another input": (lambda signed: replace(signed, signing_input=bytes(32)), "not the one that members approved"),
    "less complete": (
        lambda signed: replace(signed, completeness=Completeness.PARTIAL),
        "not the one that members approved",
    ),
    "that does not verify": (
        lambda signed: replace(signed, signature=Signature(value=b"\1" * 64, recovery_id=0)),
        "the signature",
    ),
    "in its other form": (lambda signed: replace(signed, signature=_high(signed.signature)), "s not low"),
    "by another charter": (lambda signed: replace(signed, charter_sha256=bytes(32)), "not the one that members"),
    "by another policy": (lambda signed: replace(signed, policy_sha256=bytes(32)), "in force"),
    "before its quorum": (lambda signed: replace(signed, at=UnixMillis(signed.at - 2)), "is carried out at"),
    "after its end": (lambda signed: replace(signed, at=UnixMillis(signed.at + 2 * DAY_MS)), "expired at"),
    "of no proposal": (lambda signed: replace(signed, proposal=b""), "is about nothing that members decide"),
    "of an unknown proposal": (lambda signed: replace(signed, proposal=bytes(32)), "there is no open proposal"),
}


@pytest.mark.parametrize(("change", "words"), LIES.values(), ids=LIES.keys())
def test_a_signature_other_than_the_approved_one_is_refused(
    change: Callable[[SignatureIssued], SignatureIssued], words: str
) -> None:
    """A log that signs for another request, input, key, time or policy than members approved shows nothing."""
    ledger = _begun()
    index = ledger.force(change(_asked(ledger)))
    with pytest.raises(Unproven) as refused:
        check_evidence(_made_up(ledger, *range(index + 1)), ledger.key)
    assert words in str(refused.value)


def test_a_request_other_than_the_stated_one_is_refused() -> None:
    """Members are shown hashes of payload and facts: an entry with other facts than the statement's does not follow."""
    changes: tuple[dict[str, object], ...] = (
        {"signing_input": bytes(32)},
        {"effects": (Effect(operation=Operation.OPAQUE, venue="binance"),)},
        {"completeness": Completeness.FULL},
        {"rules": ()},
        {"request": GOOD.refused().request},
    )
    for change in changes:
        ledger = _begun()
        ledger.create_key("vault", secp256k1_key())
        index = ledger.force(replace(ledger.escalated(), **change))  # type: ignore[arg-type]  # by name
        with pytest.raises(Unproven, match="entry 5"):
            check_evidence(_made_up(ledger, 0, 1, 2, 3, 4, index), ledger.key)


def test_the_asker_s_own_yes_is_not_enough() -> None:
    """The asker's ballot is refused, whoever wrote it into the log."""
    ledger = _begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    statement = ledger.state.proposals.find(proposal).statement_bytes
    own = BallotCast(
        at=ledger.at,
        epoch=ledger.epoch,
        proposal=proposal,
        member=ledger.alice.member.name,
        voice=Voice.APPROVE,
        signature=ledger.alice.say(Voice.APPROVE, statement),
    )
    index = ledger.force(own)
    with pytest.raises(Unproven, match="asked for this"):
        check_evidence(_made_up(ledger, 0, 1, index - 1, index), ledger.key)


# Elsewhere --------------------------------------------------------------------------------------------------------


def _run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from keyvault.ledger.__main__ import main; status = main(sys.argv[1:]);"
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('keyvault.')})); sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=where,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_bundle_convinces_a_stranger(tmp_path: Path) -> None:
    """A fresh process in an empty folder, with the file, the key, and no more of keyvault than ledger and core."""
    (tmp_path / "bundle.json").write_bytes(BUNDLE)
    done = _run(tmp_path, "evidence", "bundle.json", "--log-vkey", CASE.key.vkey)
    assert done.returncode == 0, done.stderr
    assert "what      Key k1 version 1 is ACTIVE." in done.stdout
    assert "carol approved" in done.stdout
    assert done.stdout.splitlines()[-1] == "['core', 'ledger', 'v1']"
    (tmp_path / "bundle.json").write_bytes(BUNDLE.replace(b'"bob"', b'"eve"'))
    done = _run(tmp_path, "evidence", "bundle.json", "--log-vkey", CASE.key.vkey)
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG: the bundle says something else than its entries")


def test_the_program_says_what_it_cannot_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is none and a file that is not there end with 2; another log's key, or garbage, with 1."""
    (tmp_path / "bundle.json").write_bytes(BUNDLE)
    bundle = str(tmp_path / "bundle.json")
    assert main(["evidence", bundle, "--log-vkey", "nonsense"]) == 2
    assert main(["evidence", str(tmp_path / "none"), "--log-vkey", CASE.key.vkey]) == 2
    assert main(["evidence", bundle, "--log-vkey", GOOD.key.vkey]) == 1
    (tmp_path / "garbage").write_bytes(b"\0garbage")
    assert main(["evidence", str(tmp_path / "garbage"), "--log-vkey", CASE.key.vkey]) == 1
    capsys.readouterr()
    assert main(["evidence", bundle, "--log-vkey", CASE.key.vkey, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["index"], found["charter_version"]) == (True, INDEX, 2)
    assert [each["member"] for each in found["said"]] == ["alice", "carol"]
    assert found["not_shown"] == NOT_SHOWN


def test_a_database_and_its_export_give_the_same_bundle(tmp_path: Path) -> None:
    """Evidence from a store's file and from an export is the same to the byte."""
    with contextlib.closing(open_store(tmp_path / "ledger.db", create=True)) as store:
        CASE.write(store)
    with contextlib.closing(open_archive(tmp_path / "ledger.db")) as archive:
        export(archive, tmp_path / "tiles")
        data, _ = evidence_of(archive, index=INDEX)
    with contextlib.closing(open_archive(tmp_path / "tiles")) as archive:
        assert evidence_of(archive, index=INDEX)[0] == data == BUNDLE


def test_policies_on_the_way_are_part_of_the_bundle() -> None:
    """A policy that was loosened, after its delay, is shown, and a signature that only it escalates can be."""
    ledger = _begun()
    ledger.create_key("k1", secp256k1_key())
    index = ledger.publish_policy(replace(RULE, principals=ANY))
    _, found = _shown(ledger, index)
    done = found.account.case.done
    assert done is not None
    assert done.delay_ms > 0
    assert isinstance(ledger.state.policy, Policy)
    assert spki(ledger.bob.key) == found.account.case.said[1].public_key
