"""Tokens that join, and the copies of keys: what follows from the ledger, and what does not."""

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.charter import Duty, Threshold
from keyvault.core.errors import Corrupt, Malformed, Reason, Refused
from keyvault.core.events import KeyCreated, KeyProved, KeySealed, TokenJoined, TokenLeft
from keyvault.core.execution import KeyToMake, carry_out
from keyvault.core.ids import Epoch, KeyId, Principal
from keyvault.core.keys import SealedRoots, Signature
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.statements import Action, check_parameters
from keyvault.core.token_changes import proved, sealed
from tests.core.governed import WRAPPED_WRAPPING_KEY, Governed
from tests.worlds import charter, key_parameters, people

KV1, KV2 = (Principal(f"spiffe://test.local/node/kv-{number}") for number in (1, 2))
ROOTS = SealedRoots(wrapping_key_check=b"c" * 32, log_key=b"l" * 40, log_key_plaintext=True, import_key=b"i" * 1_800)
PROOF = Signature(value=b"s" * 64, recovery_id=0)
SIGNER = KeyId("signer")


def _transport_key(bits: int = 3_072) -> bytes:
    key = rsa.generate_private_key(65_537, bits).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


TRANSPORT_KEY, OTHER_KEY = _transport_key(), _transport_key()


def moving(thresholds: dict[Duty, str | Threshold] | None = None, roots: SealedRoots | None = ROOTS) -> Governed:
    """Return an enclave of alice, bob and carol whose keys move."""
    persons = people("alice", "bob", "carol")
    return Governed(*persons, rulers=charter(*persons, thresholds=thresholds), roots=roots)


def asked(world: Governed, node: str = KV1, key: bytes = TRANSPORT_KEY, **more: str) -> Proposal:
    parameters = {
        "node": node,
        "transport_key_sha256": hashlib.sha256(key).hexdigest(),
        "strategy": "kwp",
        "reason": "second site",
    } | more
    return world.ask_for(world.said(Action.TOKEN_JOIN, parameters), document=key)


def joined(world: Governed, node: str = KV1, key: bytes = TRANSPORT_KEY) -> Proposal:
    return world.cast(asked(world, node, key), "bob")


def left(world: Governed, node: str = KV1) -> Proposal:
    return world.cast(world.propose(Action.TOKEN_LEAVE, {"node": node, "reason": "gone"}), "bob")


def prove(world: Governed, node: Principal = KV1) -> None:
    world.add(proved(world.state, node, SIGNER, 1, PROOF, world.now))


def seal(world: Governed, **changes: object) -> KeySealed:
    """Return the fact that seals the newest key, with something changed."""
    created = next(event for event in reversed(world.events) if isinstance(event, KeyCreated))
    fact = KeySealed(
        at=created.at, epoch=created.epoch, key=created.key, version=1, blob=b"b" * 72, identity=b"", plaintext=False
    )
    return replace(fact, **changes)  # type: ignore[arg-type]  # fields by name


def test_a_token_joins_by_a_quorum() -> None:
    """One asks and another approves; the fact has the key that they named, and the wrapping key of the genesis."""
    world = moving()
    proposal = asked(world)
    assert proposal.outcome is Outcome.OPEN
    assert world.state.tokens.joined == {}
    world.cast(proposal, "bob")
    fact = world.events[-1]
    assert isinstance(fact, TokenJoined)
    assert (fact.node, fact.transport_public_key, fact.wrapping_key_check) == (KV1, TRANSPORT_KEY, b"c" * 32)
    assert world.state.tokens.joined[KV1].wrapped_key == WRAPPED_WRAPPING_KEY
    assert world.replayed() == world.state


def test_members_read_what_it_gives_away() -> None:
    """The plain words that are signed say which node gets the power to open every key, and that it is for ever."""
    words = asked(moving()).statement.summary()
    assert words.startswith(f"GIVE THE TOKEN OF NODE {KV1} THE POWER TO OPEN EVERY KEY of enclave hot")
    assert hashlib.sha256(TRANSPORT_KEY).hexdigest() in words
    assert "Nothing takes that back" in words


def test_no_fact_joins_a_token_that_was_not_approved() -> None:
    """Too few approvals, another transport key, another node or another wrapping key: no replica believes it."""
    world = moving()
    proposal = asked(world)
    forged = TokenJoined(
        at=world.now,
        epoch=world.state.epoch,
        node=KV1,
        transport_public_key=TRANSPORT_KEY,
        wrapped_key=WRAPPED_WRAPPING_KEY,
        wrapping_key_check=ROOTS.wrapping_key_check,
        proposal=proposal.id,
        charter_sha256=world.state.charter_sha256,
    )
    world.refuses(forged, Reason.NEEDS_APPROVAL)
    approved = world.approve_only(proposal, "bob")
    assert approved == replace(forged, at=approved.at)
    assert isinstance(approved, TokenJoined)
    for changes in (
        {"transport_public_key": OTHER_KEY},
        {"node": KV2},
        {"wrapping_key_check": b"d" * 32},
        {"wrapped_key": b"w" * 383},
    ):
        world.refuses(replace(approved, **changes), Reason.STATE_MISMATCH)
    world.add(approved)


def test_two_of_three_means_two() -> None:
    """A charter that wants two persons to join a token is not content with one besides the asker."""
    world = moving({Duty.TOKEN_JOIN: "2 of admins"})
    proposal = world.cast(asked(world), "bob")
    assert proposal.outcome is Outcome.OPEN
    assert world.cast(proposal, "carol").outcome is Outcome.EXECUTED


@pytest.mark.parametrize(
    ("node", "key", "words"),
    [
        (KV1, b"no key", "SubjectPublicKeyInfo"),
        (KV1, _transport_key(2_048), "3072"),
        ("spiffe://test.local/bot/maker", TRANSPORT_KEY, "node"),
        ("spiffe://nowhere", TRANSPORT_KEY, "spiffe"),
    ],
)
def test_what_cannot_join_is_not_asked(node: str, key: bytes, words: str) -> None:
    """A key that is none, a short one, and who is no node are refused before anybody is asked."""
    with pytest.raises((Refused, Malformed), match=words):
        asked(moving(), node, key)


def test_another_key_than_named_is_not_taken() -> None:
    """The attached key must be the one whose hash members sign."""
    with pytest.raises(Refused) as refused:
        asked(moving(), transport_key_sha256="00" * 32)
    assert refused.value.reason is Reason.STATEMENT_MISMATCH


def test_where_keys_stay_no_token_joins() -> None:
    """An enclave whose genesis seals nothing never gets another token."""
    with pytest.raises(Refused, match="its genesis says so, for ever"):
        asked(moving(roots=None))


def test_a_token_joins_once_and_another_one_takes_its_place() -> None:
    """The same key again, and for another node, is refused; a new key replaces the token, and its proofs are gone."""
    world = moving()
    world.key()
    world.add(seal(world))
    joined(world)
    prove(world)
    for node in (KV1, KV2):
        with pytest.raises(Refused, match="joined"):
            asked(world, node)
    joined(world, key=OTHER_KEY)
    assert world.state.tokens.proved_by(SIGNER, 1) == ()
    assert world.state.tokens.joined[KV1].transport_public_key == OTHER_KEY


def test_leaving_is_by_the_same_quorum_and_takes_nothing_back() -> None:
    """A token is struck off with what it proved; the words say that it keeps its power. It may join again."""
    world = moving()
    world.key()
    joined(world)
    prove(world)
    proposal = left(world)
    assert "IT KEEPS THE POWER" in proposal.statement.summary()
    assert isinstance(world.events[-1], TokenLeft)
    assert (world.state.tokens.joined, world.state.tokens.proved_by(SIGNER, 1)) == ({}, ())
    with pytest.raises(Refused, match="no token"):
        world.propose(Action.TOKEN_LEAVE, {"node": KV1, "reason": "gone"})
    joined(world)
    assert world.replayed() == world.state


def test_a_token_join_needs_as_many_persons_as_the_charter() -> None:
    """Whoever joins a token has every key, so it cannot be easier than to change who rules."""
    with pytest.raises(Corrupt, match="token-join must need as many persons"):
        moving({Duty.CHARTER: "2 of admins", Duty.TOKEN_JOIN: "1 of admins"})


# Copies of keys -----------------------------------------------------------------------------------------------------


def test_a_version_is_sealed_once() -> None:
    """The fact names a version that there is, in a form that a token gives; a second one is not believed."""
    world = moving()
    world.key()
    for changes in (
        {"key": KeyId("nothing")},
        {"version": 2},
        {"blob": b"b" * 39},
        {"blob": b"b" * 257},
        {"identity": b"k" * 32},
        {"plaintext": True},
    ):
        expected = Reason.KEY_NOT_FOUND if changes.keys() & {"key", "version"} else Reason.STATE_MISMATCH
        world.refuses(seal(world, **changes), expected)
    world.add(seal(world))
    world.refuses(seal(world, blob=b"c" * 72), Reason.STATE_MISMATCH)
    assert world.state.tokens.sealed[SIGNER, 1].blob == b"b" * 72


def test_where_keys_stay_nothing_is_sealed() -> None:
    """A sealed key in an enclave whose keys stay follows from nothing."""
    world = moving(roots=None)
    world.key()
    world.refuses(seal(world), Reason.STATE_MISMATCH)


def test_a_seed_is_sealed_only_where_members_allowed_it() -> None:
    """The words that they sign say that it is in clear; the next version of the key goes the same way."""
    world = moving()
    plain = key_parameters("sol-1") | {"algorithm": "ED25519"}
    for name, allowed in (("sol-1", {"plaintext_transport": "allowed"}), ("sol-2", {})):
        proposal = world.propose(Action.KEY_CREATE, plain | {"key": name} | allowed)
        assert ("IN CLEAR" in proposal.statement.summary()) is bool(allowed)
        world.add(_ed25519(world, proposal))
        fact = seal(world, blob=b"b" * 40, plaintext=True)
        if allowed:
            world.add(fact)
        else:
            world.refuses(fact, Reason.STATE_MISMATCH)
    rotation = {"key": "sol-1", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}
    proposal = world.propose(Action.KEY_ROTATE, rotation)
    created = _ed25519(world, proposal)
    world.add(created)
    world.add(sealed(created, b"b" * 40, b"", in_clear=True))


def _ed25519(world: Governed, proposal: Proposal) -> KeyCreated:
    """Let bob approve it; return the fact that makes the key."""
    world.approve_only(proposal, "bob")
    plan = carry_out(world.state, proposal.id, world.now)
    assert isinstance(plan, KeyToMake)
    return plan.created(b"e" * 32)


def test_plaintext_is_for_ed25519_in_an_enclave_whose_keys_move() -> None:
    """Anywhere else there is nothing that it could be for; another word than allowed is no word."""
    allowed = {"plaintext_transport": "allowed"}
    with pytest.raises(Refused, match="wrapped as they are"):
        moving().propose(Action.KEY_CREATE, key_parameters() | allowed)
    with pytest.raises(Refused, match="stay in one token"):
        moving(roots=None).propose(Action.KEY_CREATE, key_parameters() | {"algorithm": "ED25519"} | allowed)
    with pytest.raises(Malformed):
        check_parameters(Action.KEY_CREATE, key_parameters() | {"plaintext_transport": "yes"})


def test_a_proof_is_about_a_token_that_has_joined() -> None:
    """A node without a token, a version that is not there, a token that is not the node's: not believed. Once each."""
    world = moving()
    world.key()
    fact = KeyProved(at=world.now, epoch=Epoch(1), token=b"t" * 32, node=KV1, key=SIGNER, version=1, signature=PROOF)
    world.refuses(fact, Reason.STATE_MISMATCH)
    token = joined(world).id
    world.refuses(fact, Reason.STATE_MISMATCH)
    world.refuses(replace(fact, token=token, node=KV2), Reason.STATE_MISMATCH)
    world.refuses(replace(fact, token=token, version=2), Reason.KEY_NOT_FOUND)
    world.add(replace(fact, token=token))
    world.refuses(replace(fact, token=token), Reason.STATE_MISMATCH)


def test_a_key_has_a_spare_when_all_tokens_proved_it() -> None:
    """With one token there is none; with two it takes both."""
    world = moving()
    world.key()
    joined(world)
    prove(world)
    assert not world.state.tokens.has_spare(SIGNER, 1)
    joined(world, KV2, OTHER_KEY)
    assert not world.state.tokens.has_spare(SIGNER, 1)
    prove(world, KV2)
    assert world.state.tokens.has_spare(SIGNER, 1)
    assert world.state.tokens.proved_by(SIGNER, 1) == (KV1, KV2)
    assert world.replayed() == world.state


def test_the_challenge_is_that_of_one_token() -> None:
    """What one token signed to show that it has a key shows nothing of another token."""
    world = moving()
    joined(world)
    joined(world, KV2, OTHER_KEY)
    challenges = {token.challenge for token in world.state.tokens.joined.values()}
    assert len(challenges) == 2


def test_a_destroyed_version_has_no_copies() -> None:
    """With the destruction go its blob and its proofs, as far as the state knows; the ledger keeps the entry."""
    world = moving()
    world.key()
    world.add(seal(world))
    joined(world)
    prove(world)
    destroy = {"key": "signer", "version": "1", "after_days": "7"}
    world.cast(world.propose(Action.KEY_DESTROY, destroy), "bob")
    world.at += 8 * 86_400_000
    world.look()
    assert (SIGNER, 1) not in world.state.tokens.sealed
    assert world.state.tokens.proved_by(SIGNER, 1) == ()
    with pytest.raises(Refused, match="destroyed"):
        proved(world.state, KV1, SIGNER, 1, PROOF, world.now)


@pytest.mark.parametrize("changes", [{"log_key": b"l" * 39}, {"import_key": b"i" * 1_699}])
def test_a_genesis_seals_what_a_token_gives(changes: dict[str, bytes]) -> None:
    """Blobs of another size are none."""
    with pytest.raises(Corrupt, match="in a form that no token gives"):
        moving(roots=replace(ROOTS, **changes))  # type: ignore[arg-type]  # fields by name
