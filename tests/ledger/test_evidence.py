"""A bundle of evidence convinces somebody who has nothing but the log's key."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keyvault.core.approvals import Voice, pre_authentication_encoding
from keyvault.core.charter import Role
from keyvault.core.due import due_rotations
from keyvault.core.errors import Corrupt, Malformed, NotFound
from keyvault.core.events import (
    KeyCreated,
    KeyDestroyed,
    ProposalMade,
    SignatureEscalated,
)
from keyvault.core.ids import KeyId
from keyvault.core.keys import KeyState
from keyvault.core.policy import ANY, Policy
from keyvault.core.statements import Action, proposal_id_of
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import check_evidence
from keyvault.ledger.evidence_words import NOT_SHOWN, evidence_text
from keyvault.ledger.gather import evidence_of
from tests.ledger.bundles import begun, shown
from tests.ledger.ledgers import DAY_MS, RULE, ed25519_key, hmac_key, rulers, sample, secp256k1_key
from tests.worlds import Person, key_parameters, spki

GOOD = sample(4)


def _places(data: bytes) -> list[int]:
    return [each["index"] for each in json.loads(data)["entries"]]


def test_a_key_s_creation_is_shown() -> None:
    """The bundle has the genesis, the term, the proposal, the ballot and the fact, and says who did what, when."""
    ledger = begun()
    ledger.create_key("other", secp256k1_key())
    index = ledger.create_key("k1", secp256k1_key())
    data, found = shown(ledger, index)
    assert _places(data) == [0, 1, index - 2, index - 1, index]
    account = found.account
    assert isinstance(account.subject, KeyCreated)
    assert account.case.statement.summary().startswith("Create key k1 (SECP256K1) in enclave hot: it is ACTIVE at once")
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
    ledger = begun()
    dave = Person("dave", frozenset({Role.APPROVER}))
    everybody = (ledger.alice, ledger.bob, ledger.carol)
    first = ledger.change_charter(
        rulers(*everybody, dave, version=2, change="2 of admins", glass="3 of admins"), ledger.bob, dave
    )
    second = ledger.change_charter(rulers(ledger.alice, ledger.bob, dave, version=3), dave, ledger.bob)
    ledger.publish_policy()
    third = ledger.change_charter(rulers(ledger.alice, dave, replace(ledger.carol, name="eve"), version=4), dave)
    index = ledger.change(Action.KEY_CREATE, key_parameters("k1"), approvers=(dave,), made=secp256k1_key())
    _, found = shown(ledger, index)
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
    ledger = begun()
    glass = ledger.break_glass(rulers(ledger.bob, ledger.carol, version=2, glass=""))
    index = ledger.change(
        Action.KEY_CREATE, key_parameters("k1"), person=ledger.bob, approvers=(ledger.carol,), made=secp256k1_key()
    )
    _, found = shown(ledger, glass)
    assert "what      BREAK GLASS: charter version 2 is in force." in evidence_text(found)
    _, found = shown(ledger, index)
    text = evidence_text(found)
    assert "charter   version 2 by BREAK GLASS at" in text
    assert "reason given: keys were lost" in text
    done = found.account.charters[0].done
    assert done is not None
    assert (done.delay_ms, done.at - done.approved_at) == (DAY_MS, DAY_MS + 1)


def test_an_approved_signature_is_shown() -> None:
    """The signature verifies under the key of the entry that made it, and the request is the one that was approved."""
    ledger = begun()
    made = ledger.create_key("vault", secp256k1_key())
    ledger.create_key("k1", secp256k1_key())
    ledger.add(ledger.issued("k1"))
    index = ledger.sign_approved()
    data, found = shown(ledger, index)
    assert _places(data) == [0, 1, made - 2, made - 1, made, index - 3, index - 2, index - 1, index]
    assert found.account.signature_verified is True
    done = found.account.case.done
    assert done is not None
    assert [each.approvers for each in done.demands] == [("bob", "carol")]
    assert "signed request" in evidence_text(found)


def test_a_bundle_takes_what_the_life_of_a_key_takes() -> None:
    """Enabled, rotated (also by the enclave itself), disabled, kept from destruction and destroyed: all is shown."""
    ledger = begun()
    ledger.create_key("k1", secp256k1_key(), initial="PRE_ACTIVE")
    enabled = ledger.set_key_state("k1", KeyState.ACTIVE)
    rotated = ledger.rotate_key("k1", secp256k1_key())
    ledger.change(Action.KEY_DESTROY, {"key": "k1", "version": "1", "after_days": "30"})
    kept = ledger.change(Action.KEY_KEEP, {"key": "k1", "version": "1"})
    ledger.start_term()
    gone = ledger.destroy_key("k1")
    for index in (enabled, rotated, kept, gone - 1):
        assert shown(ledger, index)[1].account.index == index
    _, found = shown(ledger, gone)
    assert isinstance(ledger.events[gone], KeyDestroyed)
    assert "Key k1 version 1 was destroyed." in evidence_text(found)


def test_a_rotation_that_fell_due_is_shown() -> None:
    """What the enclave proposed by itself is said to be asked for by no member, and a member's approval is shown."""
    ledger = begun()
    parameters = key_parameters("k1", cryptoperiod_days=30, rotation="propose")
    ledger.change(Action.KEY_CREATE, parameters, made=secp256k1_key())
    ledger.waited_ms += 29 * DAY_MS
    said = due_rotations(ledger.state, ledger.at)[KeyId("k1")]
    ledger.add(ProposalMade(at=ledger.at, epoch=ledger.epoch, statement=said.encode(), signature=None))
    proposal = proposal_id_of(said.encode())
    ledger.vote(proposal, ledger.alice)
    _, found = shown(ledger, ledger.carry_out(proposal, secp256k1_key()))
    assert "asked     by service:rotation" in evidence_text(found)
    assert [each.member for each in found.account.case.said] == ["alice"]


def test_imports_freezes_and_ceremonies_are_shown() -> None:
    """A wrapped secret, a freeze by one member, its lifting, and a step of a ceremony each have a bundle."""
    ledger = begun()
    imported = ledger.create_key("h1", hmac_key())
    ledger.create_key("k1", ed25519_key())
    frozen, thawed = ledger.freeze(), ledger.thaw()
    ledger.freeze("venue", "binance")
    step = ledger.change(Action.CEREMONY_STEP, {"ceremony": "root", "step": "1", "record_sha256": "ab" * 32})
    for index in (imported, frozen, thawed, step):
        shown(ledger, index)
    _, found = shown(ledger, frozen)
    assert [(each.member, each.voice) for each in found.account.case.said] == [("alice", Voice.REQUEST)]


def test_words_of_no_are_shown() -> None:
    """A veto, a rejection and a revocation are told as what they are; nothing is said to be done."""
    ledger = begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    ledger.vote(proposal, ledger.carol, Voice.REJECT)
    _, found = shown(ledger, ledger.vote(proposal, ledger.bob, Voice.VETO))
    text = evidence_text(found)
    assert "carol rejected it" in text
    assert "bob VETOED it" in text
    assert "not carried out up to this entry" in text
    assert found.account.case.done is None


def test_a_proposal_is_found_by_its_name() -> None:
    """The whole name, its beginning, or a resource name lead to the last entry about the proposal."""
    ledger = begun()
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
    ledger = begun()
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
    ledger = begun()
    ledger.create_key("k1", secp256k1_key())
    while len(ledger.entries) < 1_500:
        ledger.add(ledger.refused())
    index = ledger.set_key_state("k1", KeyState.DISABLED)
    data, found = shown(ledger, index)
    assert _places(data) == [0, 1, 2, 3, 4, index - 1, index]
    assert found.checkpoint.size == index + 1


def test_a_ledger_with_a_gap_gives_no_evidence() -> None:
    """Where entries are missing nothing is bundled: the ledger is to be verified first."""
    ledger = begun()
    index = ledger.create_key("k1", secp256k1_key())
    ledger.sign_checkpoint()
    del ledger.entries[-1]
    with pytest.raises(Corrupt, match="verify it first"):
        evidence_of(ledger, index=index - 1)


# DSSE -------------------------------------------------------------------------------------------------------------


def test_any_dsse_tool_can_verify_the_envelopes() -> None:
    """By nothing but the JSON and the DSSE specification every word verifies, and the statement can be read."""
    ledger = begun()
    index = ledger.change(
        Action.KEY_CREATE, key_parameters("k1"), approvers=(ledger.carol,), made=secp256k1_key()
    )  # carol has a P-256 key
    data, _ = shown(ledger, index)
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


def test_policies_on_the_way_are_part_of_the_bundle() -> None:
    """A policy that was loosened, after its delay, is shown, and a signature that only it escalates can be."""
    ledger = begun()
    ledger.create_key("k1", secp256k1_key())
    index = ledger.publish_policy(replace(RULE, principals=ANY))
    _, found = shown(ledger, index)
    done = found.account.case.done
    assert done is not None
    assert done.delay_ms > 0
    assert isinstance(ledger.state.policy, Policy)
    assert spki(ledger.bob.key) == found.account.case.said[1].public_key
