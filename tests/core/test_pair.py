"""Pairs: who may lead, who names the leader, and what may be said while a node only stands."""

from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import Duty
from keyvault.core.decide import refused_change
from keyvault.core.errors import Corrupt, Malformed, NotFound, Reason, Refused
from keyvault.core.events import Event, PairSet, SignatureIssued, TermStarted
from keyvault.core.ids import NOBODY, Epoch, Principal
from keyvault.core.pair import Pair
from keyvault.core.pair_changes import is_unproven
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.statements import Action, check_parameters
from keyvault.ledger.account import replay
from keyvault.ledger.codec import encode
from tests.core.governed import DAY_MS, HOUR_MS, Governed
from tests.core.statement_parameters import PARAMETERS
from tests.worlds import ADMIN, charter, key_parameters, people

A, B, C, D = (Principal(f"spiffe://test.local/node/kv-{name}") for name in "abcd")


def begun(here: Governed, node: Principal, *, stands: bool = False) -> Event:
    """Begin a term on this node."""
    return here.add(term(here, node, stands=stands))


def term(here: Governed, node: Principal, *, stands: bool = False) -> TermStarted:
    epoch = Epoch(here.state.epoch + 1)
    return TermStarted(at=here.now, epoch=epoch, holder="h", software="s", node=node, stands=stands)


def asked(here: Governed, **wanted: str) -> Proposal:
    """Let alice propose who leads, with words that are true now where ``wanted`` has no others."""
    state = here.state
    words = {
        "followers": "none",
        "epoch": str(state.epoch),
        "stands": "yes" if state.stands else "no",
        "position": str(state.decided if state.stands else 0),
        "decided_at_ms": str(state.decided_at if state.stands else 0),
        "reason": "a test",
    }
    return here.propose(Action.PAIR_SET, words | wanted)


def named(here: Governed, leader: Principal, *followers: Principal) -> PairSet:
    """Name the leader with the yes of bob and carol."""
    proposal = asked(here, leader=leader, followers=" ".join(followers) or "none")
    here.cast(proposal, "bob")
    here.cast(proposal, "carol")
    assert proposal.outcome is Outcome.EXECUTED
    fact = here.events[-1]
    assert isinstance(fact, PairSet)
    return fact


def pair_of(here: Governed) -> tuple[Principal, tuple[Principal, ...]] | None:
    """Return who leads and who follows."""
    pair = here.state.pair
    return None if pair is None else (pair.leader, pair.followers)


def alone() -> Governed:
    """Return an enclave with a key on node A, whose members named nobody."""
    persons = people("alice", "bob", "carol", "dave")
    here = Governed(*persons, rulers=charter(*persons, thresholds={Duty.CHARTER: "2 of admins"}))
    here.key()
    begun(here, A)
    here.sign("first")
    return here


def paired() -> Governed:
    """Return an enclave that A leads, with B and C behind it."""
    here = alone()
    named(here, A, B, C)
    here.sign("second")
    return here


def standing() -> Governed:
    """Return one in which B has stood up."""
    here = paired()
    begun(here, B, stands=True)
    return here


# Naming ---------------------------------------------------------------------------------------------------------


def test_members_name_the_pair_by_a_quorum() -> None:
    """One yes of two changes nothing; the second makes it so, and the words said what it means."""
    here = alone()
    proposal = asked(here, leader=A, followers=B)
    assert proposal.statement.summary() == (
        f"NAME THE LEADER of enclave hot after epoch 2: {A} signs, and gives out nothing before {B} has it."
        " Reason: a test"
    )
    assert here.cast(proposal, "bob").outcome is Outcome.OPEN
    assert here.replayed().pair is None
    assert here.cast(proposal, "carol").outcome is Outcome.EXECUTED
    assert here.state.pair == Pair(leader=A, followers=(B,), index=len(here.events) - 1)
    assert here.replayed() == here.state
    assert isinstance(here.sign("signs-on"), SignatureIssued)


def test_a_charter_that_does_not_speak_of_pairs_asks_for_its_strictest_quorum() -> None:
    """Or an enclave whose charter is older than pairs could not be led by anybody else when its machine burns."""
    rulers = alone().state.rulers
    assert Duty.PAIR not in rulers.thresholds
    assert rulers.threshold(Duty.PAIR) == replace(rulers.threshold(Duty.CHARTER), duty=Duty.PAIR)
    persons = people("alice", "bob", "carol", "dave")
    with pytest.raises(Corrupt, match="pair must need as many persons as charter, so at least 2"):
        Governed(*persons, rulers=charter(*persons, thresholds={Duty.CHARTER: "2 of admins", Duty.PAIR: "1 of admins"}))


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"epoch": "1"}, "the statement is for epoch 1, the ledger is in epoch 2"),
        ({"epoch": "3"}, "the statement is for epoch 3"),
        ({"leader": B, "followers": A}, f"{B} cannot lead now: only {A} can"),
        ({"stands": "yes"}, "the statement says otherwise whether the node stands"),
    ],
)
def test_who_is_alone_names_itself_first(other: dict[str, str], complaint: str) -> None:
    """Another machine may have nothing of the ledger; it leads once it was a follower."""
    with pytest.raises(Refused, match=complaint) as refused:
        asked(alone(), **({"leader": A, "followers": B} | other))
    assert refused.value.reason is Reason.STATE_MISMATCH


def test_only_nodes_that_have_everything_can_be_named() -> None:
    """A leader of a pair may be its leader or a follower, nobody else; the same again is nothing."""
    here = paired()
    with pytest.raises(Refused, match="cannot lead now"):
        asked(here, leader="spiffe://test.local/node/kv-d", followers=A)
    with pytest.raises(Refused, match="it is so already"):
        asked(here, leader=A, followers=f"{B} {C}")
    with pytest.raises(Refused, match="must stay until another leads"):
        asked(here, leader=B, followers=C)
    assert named(here, A).followers == ()
    with pytest.raises(Refused, match=f"{B} cannot lead now"):
        asked(here, leader=B, followers=A)


@pytest.mark.parametrize(
    "other",
    [
        {"leader": "spiffe://t/bot/kv-1"},
        {"followers": "spiffe://t/bot/kv-2"},
        {"followers": "spiffe://t/node/kv-1"},
        {"followers": "spiffe://t/node/kv-2 spiffe://t/node/kv-2"},
        {"followers": "spiffe://t/node/kv-2 spiffe://t/node/kv-3 spiffe://t/node/kv-4"},
        {"followers": ""},
        {"epoch": "0"},
        {"stands": "maybe"},
        {"stands": "no"},
        {"decided_at_ms": "999999999999999"},
    ],
)
def test_a_statement_that_nobody_could_mean_is_malformed(other: dict[str, str]) -> None:
    """Nodes that are no nodes, twice the same, too many; a place in the ledger where no node stands."""
    check_parameters(Action.PAIR_SET, PARAMETERS[Action.PAIR_SET])
    with pytest.raises(Malformed):
        check_parameters(Action.PAIR_SET, PARAMETERS[Action.PAIR_SET] | other)


# Leading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [B, C, NOBODY, Principal("spiffe://test.local/node/kv-d")])
def test_only_the_named_leader_begins_a_term(node: Principal) -> None:
    """A follower, a stranger, and a server whose configuration names no node: nobody believes their term."""
    here = paired()
    assert "members named" in here.refuses(term(here, node), Reason.STATE_MISMATCH)
    begun(here, A)
    assert isinstance(here.sign("third"), SignatureIssued)


def test_who_had_to_have_the_word_is_remembered() -> None:
    """The nodes of the pair before, for a leader that does not know whether they have it; none where a node stood."""
    here = paired()
    named(here, A, B)
    assert here.state.pair == Pair(leader=A, followers=(B,), index=len(here.events) - 1, before=(A, B, C))
    begun(here, B, stands=True)
    named(here, B, A)
    assert here.state.pair == Pair(leader=B, followers=(A,), index=len(here.events) - 1)


@pytest.mark.parametrize("leap", [limits.EPOCH_LEAP_MAX + 1, 10**15, 2**63 - 4])
def test_no_leader_uses_the_epochs_up(leap: int) -> None:
    """A term far ahead would leave nobody an epoch that a statement can name, or none at all."""
    here = paired()
    ahead = replace(term(here, A), epoch=Epoch(here.state.epoch + leap))
    assert "too far" in here.refuses(ahead, Reason.STATE_MISMATCH)


def test_after_another_was_named_the_term_is_over() -> None:
    """What the old leader still says is not believed; the new one's term is."""
    here = paired()
    named(here, B, A)
    late = here.decide("too-late")
    assert isinstance(late, SignatureIssued)
    assert "members named another leader" in here.refuses(late, Reason.STATE_MISMATCH)
    here.refuses(term(here, A), Reason.STATE_MISMATCH)
    begun(here, B)
    assert isinstance(here.sign("in-time"), SignatureIssued)
    assert here.replayed() == here.state


# Standing -------------------------------------------------------------------------------------------------------


def test_nobody_stands_where_there_is_no_pair() -> None:
    """A copy of the ledger is no place to go on from; nor is a server without a name."""
    here = alone()
    here.refuses(term(here, B, stands=True), Reason.STATE_MISMATCH)
    here.refuses(term(here, A, stands=True), Reason.STATE_MISMATCH)
    here = paired()
    here.refuses(term(here, NOBODY, stands=True), Reason.STATE_MISMATCH)


def test_whoever_nobody_waited_for_signs_nothing_before_members_gave_up_what_it_lacks() -> None:
    """All machines of the pair burnt and another has a copy: it stands, is named, and begins a new incarnation."""
    here = paired()
    begun(here, D, stands=True)
    assert is_unproven(here.state)
    named(here, D)
    waiting = here.decide("too-early")
    assert isinstance(waiting, SignatureIssued)
    assert "members must give up what it lacks" in here.refuses(waiting, Reason.STATE_MISMATCH)
    begun(here, D)
    named(here, D, B)
    assert is_unproven(here.state)
    here.refuses(replace(waiting, epoch=here.state.epoch), Reason.STATE_MISMATCH)
    proposal = here.propose(
        Action.LEAVE_QUARANTINE,
        {
            "incarnation": "2",
            "position": str(here.state.decided),
            "lost_incarnation": "1",
            "lost_epoch": "2",
            "lost_position": "12",
            "lost_root": "0c" * 32,
            "reason": "both machines burnt",
        },
    )
    here.cast(proposal, "bob")
    here.cast(proposal, "carol")
    assert (proposal.outcome, is_unproven(here.state)) == (Outcome.EXECUTED, False)
    assert isinstance(here.sign("now"), SignatureIssued)
    assert here.replayed() == here.state


def test_a_node_of_the_pair_gives_up_nothing() -> None:
    """It has all that was given out: whoever stands and is named signs at once."""
    here = standing()
    assert not is_unproven(here.state)
    named(here, B)
    assert isinstance(here.sign("now"), SignatureIssued)


def test_a_node_that_stands_decides_nothing() -> None:
    """No signature, no refusal, no other change, no other node's term, until members named it."""
    here = standing()
    decided = here.decide("now")
    assert "kv-b stands: nothing is decided" in here.refuses(decided, Reason.STATE_MISMATCH)  # type: ignore[arg-type]  # a signature or a refusal
    with pytest.raises(Refused, match="stands: nothing is decided"):
        here.propose(Action.KEY_CREATE, key_parameters("another"))
    for other in (term(here, A), term(here, B), term(here, C, stands=True)):
        assert "stands here" in here.refuses(other, Reason.STATE_MISMATCH)
    named(here, B)
    assert (pair_of(here), here.state.stands) == ((B, ()), False)
    assert isinstance(here.sign("now"), SignatureIssued)
    assert here.replayed() == here.state


def test_what_members_said_of_other_things_waits_while_a_node_stands() -> None:
    """A proposal from before is neither approved nor carried out meanwhile; afterwards it is."""
    here = paired()
    earlier = here.propose(Action.KEY_CREATE, key_parameters("another"))
    begun(here, B, stands=True)
    with pytest.raises(Refused, match="stands: nothing is decided"):
        here.cast(earlier, "bob")
    named(here, B, C)
    assert here.cast(earlier, "bob").outcome is Outcome.EXECUTED


def test_a_node_stands_again_after_a_crash() -> None:
    """In the next epoch, with what was approved for the last one void."""
    here = standing()
    earlier = asked(here, leader=B)
    here.cast(earlier, "bob")
    begun(here, B, stands=True)
    here.cast(earlier, "carol")
    assert earlier.outcome is Outcome.OPEN
    named(here, B)
    assert pair_of(here) == (B, ())


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"leader": C, "followers": "none"}, f"{C} cannot lead now: only {B} can"),
        ({"leader": A, "followers": B}, f"{A} cannot lead now"),
        ({"position": "3"}, "the statement names another"),
        ({"decided_at_ms": "1"}, "the statement names another"),
        ({"stands": "no", "position": "0", "decided_at_ms": "0"}, "says otherwise whether the node stands"),
    ],
)
def test_members_approve_one_node_at_one_place(other: dict[str, str], complaint: str) -> None:
    """Not another node than the one that stands, and not what it does not have: an old copy cannot pass for new."""
    with pytest.raises(Refused, match=complaint):
        asked(standing(), **({"leader": B} | other))


def test_the_words_say_what_may_be_lost_and_how_old_it_is() -> None:
    """Whoever approves at three in the morning reads the place and the time of the last decision."""
    here = paired()
    here.at += HOUR_MS
    begun(here, B, stands=True)
    summary = asked(here, leader=B).statement.summary()
    assert summary.startswith("WHAT OTHER MACHINES HAVE BEYOND THIS IS GIVEN UP FOR EVER:")
    assert (
        f"whose first {here.state.decided} entries decided all that it knows, the last of them at 2026-09-21" in summary
    )
    assert f"{B} signs, ALONE: what it signs is nowhere else." in summary


def test_no_replica_believes_a_pair_that_members_did_not_name() -> None:
    """Too few voices, another node, other followers, in no proposal's name: the fact is recomputed (I4)."""
    here = standing()
    proposal = asked(here, leader=B)
    fact = PairSet(
        at=here.now,
        epoch=here.state.epoch,
        leader=B,
        followers=(),
        proposal=proposal.id,
        charter_sha256=here.state.charter_sha256,
    )
    here.refuses(fact, Reason.NEEDS_APPROVAL)
    here.cast(proposal, "bob")
    here.refuses(fact, Reason.NEEDS_APPROVAL)
    done = here.approve_only(proposal, "carol")
    assert done == replace(fact, at=done.at)
    for lie in (replace(fact, leader=C), replace(fact, followers=(A,)), replace(fact, proposal=bytes(32))):
        here.refuses(lie, Reason.STATE_MISMATCH if lie.proposal == proposal.id else NotFound)
    here.add(done)


def test_a_veto_ends_it() -> None:
    """One member who knows that the other machine lives stops the promotion."""
    here = standing()
    proposal = asked(here, leader=B)
    assert here.cast(proposal, "dave", Voice.VETO).outcome is Outcome.VETOED
    assert here.state.stands


def test_evidence_of_what_was_decided_after_a_promotion_stands_by_itself() -> None:
    """Replayed without what lies between: the pair's own entries are among what it rests on."""
    here = standing()
    named(here, B, C)
    here.at += DAY_MS // 2
    begun(here, B)
    proposal = here.propose(Action.KEY_CREATE, key_parameters("another"))
    here.cast(proposal, "bob")
    left_out = {index for index, event in enumerate(here.events) if isinstance(event, SignatureIssued)}
    kept = [(index, encode(event)) for index, event in enumerate(here.events) if index not in left_out]
    assert replay(kept).case.id == proposal.id


def test_a_refusal_may_be_recorded_while_a_node_stands() -> None:
    """Evidence is never in the way."""
    here = standing()
    no = Refused(Reason.NOT_AUTHORIZED, "a test")
    here.add(refused_change(here.state, ADMIN, "pair.set", b"", no, here.now))
