"""The fold: what follows, and what a replica must not believe (I2, I4)."""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core.apply import apply
from keyvault.core.charter import Role
from keyvault.core.commands import object_id_of
from keyvault.core.decide import Authorised, decide_signature
from keyvault.core.errors import Corrupt, Malformed, NotFound, Reason, Refused
from keyvault.core.events import (
    ChangeRefused,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.ids import Epoch, KeyId, Principal
from keyvault.core.intent import Effect, Operation
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyProvenance, KeyState
from keyvault.core.limits_check import quotas
from keyvault.core.policy import ANY, Limit
from keyvault.core.proposals import Outcome
from keyvault.core.state import State
from keyvault.core.statements import Action
from keyvault.core.windows import Reservations
from keyvault.intents import describe
from keyvault.ledger.codec_policy import encode_policy
from tests.core.governed import PUBLIC_KEY, Governed, is_open
from tests.worlds import (
    BOT,
    NOW,
    OTHER_BOT,
    Person,
    allow_digest,
    charter,
    digest_request,
    escalate_digest,
    genesis,
    key_parameters,
    people,
    policy,
)

FEW = Limit(id="few", keys=ANY, window_ms=60_000, count_max=2)
WRAPPED = b"w" * 424
VERSION = {"key": "signer", "version": "1"}


def _world() -> Governed:
    return Governed(*people("alice", "bob"), rules=policy(allow_digest(), limits=(FEW,)))


# Signatures and limits --------------------------------------------------------------------------------------------


def test_replaying_the_facts_gives_the_same_state() -> None:
    """I2: the fold of the ledger is the state that decided."""
    world = _world()
    world.key()
    for request_id in ("a", "b", "c"):
        world.sign(request_id)
    again = world.replayed()
    assert again == world.state
    used = quotas(again.policy, again.windows, Reservations(), KeyId("signer"), BOT, NOW)
    assert [each.used for each in used if each.limit == "few"] == [2]


def test_a_limit_refuses_the_request_after_the_last_one() -> None:
    """The third signature in a window of two is refused with the limit's name."""
    world = _world()
    world.key()
    assert isinstance(world.sign("a"), SignatureIssued)
    assert isinstance(world.sign("b"), SignatureIssued)
    third = world.sign("c")
    assert isinstance(third, SignatureRefused)
    assert (third.reason, third.rules) == (Reason.LIMIT_EXCEEDED, ("few",))


def test_what_is_decided_but_not_durable_counts() -> None:
    """Reservations are added to the windows, so overlapping decisions cannot spend a limit twice."""
    world = _world()
    world.key()
    reservations = Reservations()
    for request_id in ("a", "b"):
        decision = decide_signature(world.state, reservations, digest_request(request_id), NOW, describe)
        assert isinstance(decision, Authorised)
        reservations.reserve(decision.charge)
    decision = decide_signature(world.state, reservations, digest_request("x"), NOW, describe)
    assert isinstance(decision, SignatureRefused)
    assert decision.reason is Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    ("key", "principal", "reason"),
    [
        ("nobody", BOT, Reason.KEY_NOT_FOUND),
        ("signer/versions/2", BOT, Reason.KEY_NOT_FOUND),
        ("signer", OTHER_BOT, Reason.NO_RULE_ALLOWS),
    ],
)
def test_a_no_has_its_reason(key: str, principal: Principal, reason: Reason) -> None:
    """I8: what no rule allows is refused, with a reason from the closed list."""
    world = _world()
    world.key()
    decision = world.sign("r", key=key, principal=principal)
    assert isinstance(decision, SignatureRefused)
    assert decision.reason is reason
    assert decision.explanation


@pytest.mark.parametrize("key", ["signer", "signer/versions/1"])
def test_a_disabled_key_signs_nothing_until_it_is_enabled(key: str) -> None:
    """Disable is effective on the next decision, enable brings the key back; by its name or by its version."""
    world = _world()
    world.key()
    world.propose(Action.KEY_DISABLE, VERSION)
    refused = world.sign("a", key=key)
    assert isinstance(refused, SignatureRefused)
    assert refused.reason is Reason.KEY_NOT_ACTIVE
    enabling = world.propose(Action.KEY_ENABLE, VERSION)
    assert is_open(enabling)
    world.cast(enabling, "bob")
    assert isinstance(world.sign("b", key=key), SignatureIssued)


def test_a_signature_that_the_rules_of_its_moment_forbid_is_corrupt() -> None:
    """By a disabled or unknown key, under a policy that was not in force, or while frozen: nobody wrote that."""
    world = _world()
    world.key()
    issued = world.sign("a")
    assert isinstance(issued, SignatureIssued)
    assert "policy version 2" in world.refuses(replace(issued, policy_version=2), Reason.STATE_MISMATCH)
    world.refuses(replace(issued, policy_sha256=bytes(32)), Reason.STATE_MISMATCH)
    world.refuses(replace(issued, key_version=2), Reason.KEY_NOT_FOUND)
    frozen = world.propose(Action.FREEZE, {"scope": "principal", "name": BOT})
    assert frozen.outcome is Outcome.EXECUTED
    world.refuses(issued, Reason.FROZEN)
    world.propose(Action.FREEZE, {"scope": "venue", "name": "binance"})
    order = Effect(operation=Operation.ORDER, venue="binance")
    elsewhere = replace(issued.request, principal=OTHER_BOT)
    assert "binance" in world.refuses(replace(issued, request=elsewhere, effects=(order,)), Reason.FROZEN)
    world.propose(Action.KEY_DISABLE, VERSION)
    world.refuses(issued, Reason.KEY_NOT_ACTIVE)


# Places -----------------------------------------------------------------------------------------------------------


def test_facts_out_of_place_stop_the_replica() -> None:
    """Genesis twice, a fact before the term, an older epoch, an epoch of nobody: all corrupt."""
    world = _world()
    world.key()
    created = world.events[-1]
    assert isinstance(created, KeyCreated)
    world.refuses(genesis(*people("alice", "bob")), Reason.STATE_MISMATCH)
    world.refuses(TermStarted(at=NOW, epoch=Epoch(1), holder="h", software="s"), Reason.STATE_MISMATCH)
    refused = world.sign("r", key="nobody")
    assert isinstance(refused, SignatureRefused)
    world.refuses(replace(refused, epoch=Epoch(2)), Reason.STATE_MISMATCH)
    fresh = State.empty()
    with pytest.raises(Corrupt):
        apply(fresh, 0, created)
    apply(fresh, 0, genesis(*people("alice", "bob")))
    with pytest.raises(Corrupt, match="entry 1"):
        apply(fresh, 1, replace(created, epoch=Epoch(0)))


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": b"n" * 15},
        {"log_public_key": b"L" * 33},
        {"policy": policy(version=2), "policy_document": encode_policy(policy(version=2))},
        {"charter": charter(*people("alice", "bob"), version=2)},
        {"policy": policy(escalate_digest("1 of nobody"))},
        {"policy": policy(escalate_digest("3 of admins"))},
    ],
)
def test_a_genesis_that_is_not_whole_is_no_genesis(change: dict[str, object]) -> None:
    """Version 1 of policy and charter, a nonce, an Ed25519 log key, and quorums that its members can meet."""
    with pytest.raises(Corrupt, match="entry 0"):
        apply(State.empty(), 0, replace(genesis(*people("alice", "bob")), **change))  # type: ignore[arg-type]  # test glue


def test_one_key_under_two_names_is_refused_at_genesis() -> None:
    """A person who stands twice in the member list does not become two."""
    alice = Person("alice")
    with pytest.raises(Corrupt, match="under two names"):
        apply(State.empty(), 0, genesis(alice, Person("bob", key=alice.key)))


# Changes ----------------------------------------------------------------------------------------------------------


def _forged_key(world: Governed, proposal: bytes) -> KeyCreated:
    return KeyCreated(
        at=world.now,
        epoch=world.state.epoch,
        key=KeyId("signer"),
        version=1,
        algorithm=KeyAlgorithm.SECP256K1,
        provenance=KeyProvenance.GENERATED,
        state=KeyState.ACTIVE,
        public_key=PUBLIC_KEY,
        token_object_id=object_id_of(proposal),
        proposal=proposal,
        charter_sha256=world.state.charter_sha256,
    )


def test_a_change_without_enough_members_is_not_believed() -> None:
    """I4: a change needs a proposal, and others than its asker; followers count as the leader did."""
    everybody = [*people("alice", "bob", "carol"), Person("erin", roles=frozenset({Role.AUDITOR}))]
    world = Governed(*everybody)
    world.refuses(_forged_key(world, b"?" * 32), NotFound)
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    world.refuses(_forged_key(world, proposal.id), Reason.NEEDS_APPROVAL)
    for person in ("alice", "erin", Person("bob")):
        with pytest.raises(Refused) as refused:
            world.cast(proposal, person)
        assert refused.value.reason is Reason.NOT_AUTHORIZED
        assert isinstance(world.events[-1], ChangeRefused)
        world.refuses(_forged_key(world, proposal.id), Reason.NEEDS_APPROVAL)
    assert world.state.keys == {}
    assert world.cast(proposal, "carol").outcome is Outcome.EXECUTED


def test_what_carries_out_a_proposal_is_what_was_approved_to_the_last_field() -> None:
    """Another key, algorithm, object, state, charter or kind of change under an approved proposal is corrupt."""
    world = _world()
    world.propose(Action.KEY_CREATE, key_parameters("first"))
    world.key("other")
    proposal = world.propose(Action.KEY_CREATE, key_parameters(), expires_at=world.at + 1_000)
    approved = world.approve_only(proposal, "bob")
    for field in (
        {"key": KeyId("second")},
        {"version": 2},
        {"algorithm": KeyAlgorithm.P256},
        {"provenance": KeyProvenance.IMPORTED},
        {"state": KeyState.PRE_ACTIVE},
        {"token_object_id": b"x" * 20},
        {"charter_sha256": b"x" * 32},
        {"public_key": PUBLIC_KEY[1:]},
    ):
        world.refuses(replace(approved, **field), Reason.STATE_MISMATCH)
    disabled = KeyStateChanged(
        at=world.now,
        epoch=world.state.epoch,
        key=KeyId("other"),
        version=1,
        state=KeyState.DISABLED,
        destroy_at=None,
        proposal=proposal.id,
        charter_sha256=world.state.charter_sha256,
    )
    world.refuses(disabled, Reason.STATE_MISMATCH)
    world.add(approved)
    world.refuses(approved, Reason.ALREADY_DECIDED)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"expires_at": NOW}, Reason.STATEMENT_EXPIRED),
        ({"expires_at": NOW + 8 * 24 * 3600 * 1000}, Reason.STATEMENT_EXPIRED),
        ({"enclave_id": "00" * 32}, Reason.STATEMENT_MISMATCH),
        ({"policy_version": 7}, Reason.POLICY_CHANGED),
    ],
)
def test_a_statement_is_good_for_here_and_now_only(said: dict[str, object], reason: Reason) -> None:
    """Expired, too long-lived, for another enclave or another policy version: refused, and nothing is disabled."""
    world = _world()
    world.key()
    with pytest.raises(Refused) as refused:
        world.propose(Action.KEY_DISABLE, VERSION, **said)  # type: ignore[arg-type]  # test glue
    assert refused.value.reason is reason
    last = world.events[-1]
    assert isinstance(last, ChangeRefused)
    assert (last.reason, last.subject) == (reason, "key.disable")
    assert world.state.keys[KeyId("signer")].versions[1].state is KeyState.ACTIVE


def test_a_policy_must_be_the_next_version_and_the_bytes_that_were_signed() -> None:
    """Version N+1 exactly, and the statement names the document's hash."""
    world = _world()
    next_one = policy(version=2)
    for version in (1, 3):
        with pytest.raises(Refused) as refused:
            world.propose_policy(policy(version=version))
        assert refused.value.reason is Reason.STATE_MISMATCH
    parameters = {"policy_sha256": hashlib.sha256(encode_policy(next_one)).hexdigest(), "version": "2"}
    other = policy(allow_digest(), version=2)
    for attached in ({"policy": other, "document": encode_policy(other)}, {"policy": next_one}, {}):
        with pytest.raises(Refused) as refused:
            world.ask_for(world.said(Action.POLICY_PUBLISH, parameters), **attached)
        assert refused.value.reason is Reason.STATEMENT_MISMATCH
    wrong_number = parameters | {"version": "3"}
    with pytest.raises(Refused, match="does not follow"):
        world.ask_for(
            world.said(Action.POLICY_PUBLISH, wrong_number), policy=next_one, document=encode_policy(next_one)
        )
    assert world.propose_policy(next_one).outcome is Outcome.EXECUTED
    assert (world.state.policy, world.state.policy_document) == (next_one, encode_policy(next_one))
    published = world.events[-1]
    assert isinstance(published, PolicyPublished)


@pytest.mark.parametrize("algorithm", sorted(HMAC_ALGORITHMS))
def test_an_imported_secret_must_be_the_one_that_was_signed_for(algorithm: KeyAlgorithm) -> None:
    """The statement names the hash of the wrapped blob; another blob, or none, is refused; so the key is made of it."""
    world = _world()
    parameters = {
        "key": "venue",
        "algorithm": algorithm.value,
        "initial": "ACTIVE",
        "cryptoperiod_days": "0",
        "rotation": "warn",
        "wrapped_sha256": hashlib.sha256(WRAPPED).hexdigest(),
    }
    for blob in (b"v" * 424, b""):
        with pytest.raises(Refused) as refused:
            world.ask_for(world.said(Action.KEY_IMPORT, parameters), wrapped_secret=blob)
        assert refused.value.reason is Reason.STATEMENT_MISMATCH
    proposal = world.ask_for(world.said(Action.KEY_IMPORT, parameters), wrapped_secret=WRAPPED)
    assert proposal.wrapped_secret == WRAPPED
    assert is_open(proposal)
    made = world.approve_only(proposal, "bob")
    assert isinstance(made, KeyCreated)
    assert (made.algorithm, made.provenance) == (algorithm, KeyProvenance.IMPORTED)


def test_what_has_no_use_for_an_attachment_takes_none() -> None:
    """A document, policy, charter or secret beside a statement that names none is refused."""
    world = _world()
    for attached in (
        {"document": b"x"},
        {"policy": policy()},
        {"charter": charter(*people("alice", "bob"))},
        {"wrapped_secret": WRAPPED},
    ):
        with pytest.raises(Refused) as refused:
            world.ask_for(world.said(Action.KEY_CREATE, key_parameters()), **attached)
        assert refused.value.reason is Reason.STATEMENT_MISMATCH


def test_asymmetric_keys_are_never_imported_and_secrets_never_generated() -> None:
    """Creating an HMAC key or importing a curve key is malformed."""
    world = _world()
    for algorithm in HMAC_ALGORITHMS:
        with pytest.raises(Malformed, match="algorithm"):
            world.propose(Action.KEY_CREATE, key_parameters("venue", algorithm))
    with pytest.raises(Malformed, match="algorithm"):
        world.propose(Action.KEY_IMPORT, key_parameters("venue") | {"wrapped_sha256": "00" * 32})


def test_a_key_that_is_to_be_made_is_named_by_its_proposal() -> None:
    """The object in the token is found again after a crash: its name depends on the proposal and nothing else."""
    world = _world()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    approved = world.approve_only(proposal, "bob")
    assert isinstance(approved, KeyCreated)
    assert approved.token_object_id == object_id_of(proposal.id)
    world.at += 1_000
    again = world.carry_out(proposal)
    assert isinstance(again, KeyCreated)
    assert again.token_object_id == approved.token_object_id
