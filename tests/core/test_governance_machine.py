"""Anything may happen in any order: members, groups, proposals, ballots, policies, requests, and a clock that jumps.

Named invariants, each checked at every fact against ``governance_oracle``, which counts by itself:

- nothing is carried out below its threshold, by its requester alone, after a veto, after its expiry, under a changed
  policy, twice, or before its delay is over
- a replica believes a forged fact exactly if its leader could have decided it then
- a person counts once; what a key said counts once, and never again after its member was removed
- replaying the facts gives the same state, and every fact survives its encoding
"""

import hashlib
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyvault.core import execution
from keyvault.core.apply import apply
from keyvault.core.approvals import Voice, keyid_of
from keyvault.core.charter import Charter, Group, Role
from keyvault.core.errors import Corrupt, KeyvaultError, Refused
from keyvault.core.events import BallotCast, Change, CharterChanged, Event, SignatureEscalated, SignatureIssued
from keyvault.core.execution import KeyToMake
from keyvault.core.ids import GroupName, MemberName, UnixMillis
from keyvault.core.keys import KeyState, Signature
from keyvault.core.policy import Policy
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.state import State, not_before, split_key_name
from keyvault.core.statements import Action
from keyvault.core.token_changes import TokenToJoin
from tests.core.governance_charters import LABELS, NAMES, PEOPLE, admin, charters, plain_charter
from tests.core.governance_oracle import Oracle
from tests.core.governed import DAY_MS, HOUR_MS, PUBLIC_KEY, WRAPPED_WRAPPING_KEY, Governed
from tests.worlds import BOT, Person, allow_digest, escalate_digest, key_parameters, policy, spki

POLICIES = (
    policy(escalate_digest("1 of admins")),
    policy(escalate_digest("2 of admins")),
    policy(escalate_digest("1 of risk"), escalate_digest("1 of admins", rule_id="too")),
    policy(allow_digest()),
    policy(),
)
TIMES = st.sampled_from([0, 1, HOUR_MS, 5 * HOUR_MS, DAY_MS - 1, DAY_MS])

people = st.sampled_from(sorted(PEOPLE))
words = st.sampled_from([Voice.APPROVE, Voice.APPROVE, Voice.APPROVE, Voice.REJECT, Voice.REVOKE, Voice.VETO])
nth = st.integers(0, 30)


class Watched(Governed):
    """A world whose every fact goes by the oracle."""

    def __init__(self, rulers: Charter, rules: Policy) -> None:
        self.oracle = Oracle()
        super().__init__(*(PEOPLE[name, "first"] for name in NAMES), rulers=rulers, rules=rules)

    def add(self, event: Event) -> Event:
        """Append a fact, and tell the oracle."""
        super().add(event)
        self.oracle.saw(event)
        return event


class Machine(RuleBasedStateMachine):
    """Members who do what they like, and a leader who tries what it may not."""

    world: Watched

    @initialize(rulers=charters(), rules=st.sampled_from(POLICIES))
    def found(self, rulers: Charter, rules: Policy) -> None:
        """Found an enclave with a key."""
        try:
            self.world = Watched(rulers, rules)
        except Corrupt:  # a lawless charter founds nothing
            everybody = tuple(PEOPLE[name, "first"].member for name in NAMES)
            self.world = Watched(plain_charter(everybody), POLICIES[0])
        self._try(lambda: self.world.propose(Action.KEY_CREATE, key_parameters(), by=self._asker(0)))
        if self._all():
            self.everybody_approves(0)

    # What members do --------------------------------------------------------------------------------------------------

    @rule(by=nth, key=st.sampled_from(["signer", "other", "third"]), life=st.sampled_from([HOUR_MS, 3 * DAY_MS]))
    def asks_for_a_key(self, by: int, key: str, life: int) -> None:
        """Make a key."""
        until = self.world.at + life
        self._try(
            lambda: self.world.propose(Action.KEY_CREATE, key_parameters(key), by=self._asker(by), expires_at=until)
        )

    @rule(by=nth, action=st.sampled_from([Action.KEY_ENABLE, Action.KEY_DISABLE]))
    def asks_for_a_key_state(self, by: int, action: Action) -> None:
        """Enable or disable the key."""
        self._try(lambda: self.world.propose(action, {"key": "signer", "version": "1"}, by=self._asker(by)))

    @rule(by=nth, action=st.sampled_from([Action.FREEZE, Action.THAW]))
    def asks_for_a_freeze(self, by: int, action: Action) -> None:
        """Freeze or thaw everything."""
        self._try(lambda: self.world.propose(action, {"scope": "enclave", "name": ""}, by=self._asker(by)))

    @rule(by=nth, rules=st.sampled_from(POLICIES), skip=st.sampled_from([1, 1, 1, 2]))
    def asks_for_a_policy(self, by: int, rules: Policy, skip: int) -> None:
        """Publish a policy, mostly the next version."""
        wanted = replace(rules, version=self.world.state.policy.version + skip)
        self._try(lambda: self.world.propose_policy(wanted, by=self._asker(by)))

    @rule(
        by=nth,
        rulers=charters(),
        action=st.sampled_from([Action.CHARTER_CHANGE, Action.CHARTER_CHANGE, Action.BREAK_GLASS]),
    )
    def asks_for_a_charter(self, by: int, rulers: Charter, action: Action) -> None:
        """Replace the charter, in the ordinary way or by break-glass."""
        wanted = replace(rulers, version=self.world.state.rulers.charter.version + 1)
        until = self.world.at + 3 * DAY_MS
        self._try(lambda: self.world.propose_charter(wanted, action=action, by=self._asker(by), expires_at=until))

    @rule(name=st.sampled_from(NAMES), times=st.integers(1, 2))
    def member_goes_or_comes_back(self, name: str, times: int) -> None:
        """Let a member approve what waits, then take them out, and in again with all keys; or the other way round."""
        for proposal in list(self.world.state.proposals.open.values())[-3:]:
            self._say(proposal, PEOPLE[name, "first"], Voice.APPROVE)
        for _ in range(times):
            self._take_out_or_in(name)
            self.world.at += HOUR_MS
            self.world.look()

    def _take_out_or_in(self, name: str) -> None:
        present = self.world.state.rulers.charter
        members = tuple(member for member in present.members if member.name != name)
        if len(members) == len(present.members):
            members += (admin(name),)
        heard = frozenset(member.name for member in members if member.has_voice)
        groups = (
            Group(name=GroupName("admins"), members=heard),
            Group(name=GroupName("risk"), members=present.groups[1].members & heard or heard),
        )
        wanted = replace(present, version=present.version + 1, members=members, groups=groups)
        before = set(self.world.state.proposals.open)
        self._try(lambda: self.world.propose_charter(wanted, by=self._asker(0)))
        for made in set(self.world.state.proposals.open) - before:
            self._everybody_approves(self.world.state.proposals.open[made])

    @precondition(lambda self: self._all())
    @rule(which=nth, name=st.sampled_from(NAMES), then=words)
    def two_keys_speak(self, which: int, name: str, then: Voice) -> None:
        """Let one person approve under one key and say something under the other."""
        proposal, known = self._pick(which), self.world.state.rulers.by_keyid
        able = [each for each in NAMES if all(keyid_of(spki(PEOPLE[each, label].key)) in known for label in LABELS)]
        name = able[NAMES.index(name) % len(able)] if able else name
        self._say(proposal, PEOPLE[name, "first"], Voice.APPROVE)
        self._say(proposal, PEOPLE[name, "spare"], then)

    @precondition(lambda self: self._all())
    @rule(which=nth, who=people, voice=words)
    def says(self, which: int, who: tuple[str, str], voice: Voice) -> None:
        """Say something to a proposal, open or not."""
        self._say(self._pick(which), PEOPLE[who], voice)

    @precondition(lambda self: self._all())
    @rule(which=nth)
    def everybody_approves(self, which: int) -> None:
        """Let everybody approve, with all their keys, so that things happen."""
        self._everybody_approves(self._pick(which))

    def _everybody_approves(self, proposal: Proposal) -> None:
        known = set(self.world.state.rulers.by_keyid)
        for person in PEOPLE.values():
            if keyid_of(spki(person.key)) in known or proposal.charter is not None:
                self._say(proposal, person, Voice.APPROVE)

    # What bots do -----------------------------------------------------------------------------------------------------

    @rule(request_id=st.sampled_from(["r1", "r2", "r3", "r4"]))
    def asks_for_a_signature(self, request_id: str) -> None:
        """Ask, or ask again; a request that has its answer is not decided again (that is the engine's)."""
        if not self._is_answered(request_id):
            self._try(lambda: self.world.sign(request_id, digest=hashlib.sha256(request_id.encode()).digest()))

    # What the clock does ----------------------------------------------------------------------------------------------

    @rule(by=TIMES)
    def time_passes(self, by: int) -> None:
        """Let the clock go on, and the enclave look at what is due."""
        self.world.at += by
        self.world.look()

    @rule(by=TIMES)
    def clock_is_set_back(self, by: int) -> None:
        """Set the clock back; nobody is told."""
        self.world.at -= by
        self.world.look()

    # What a lying leader does -----------------------------------------------------------------------------------------

    @precondition(lambda self: self._all())
    @rule(which=nth, early=st.sampled_from([0, 0, 1, HOUR_MS, -HOUR_MS, -DAY_MS]))
    def leader_carries_out(self, which: int, early: int) -> None:
        """Write down that a proposal was carried out, whether or not it may be: followers agree with the oracle."""
        proposal = self._pick(which)
        at = UnixMillis(not_before(self.world.state, self.world.now) - early)
        event = self._forged(proposal, at)
        if event is None:
            return
        permitted = not self.world.oracle.execution(proposal.id, at)
        assert self._is_believed(event) is permitted, self.world.oracle.execution(proposal.id, at)
        if permitted and not isinstance(event, SignatureIssued):
            self.world.add(event)

    @precondition(lambda self: self._ballots())
    @rule(which=nth)
    def ballot_is_replayed(self, which: int) -> None:
        """Write an old ballot into the ledger again, dated now: nobody believes it."""
        ballots = self._ballots()
        old = ballots[which % len(ballots)]
        again = replace(old, at=not_before(self.world.state, self.world.now), epoch=self.world.state.epoch)
        assert not self._is_believed(again)

    @precondition(lambda self: self._all())
    @rule(which=nth, who=people, said=words, claimed=words)
    def ballot_is_forged(self, which: int, who: tuple[str, str], said: Voice, claimed: Voice) -> None:
        """Write down another word than was signed: nobody believes it."""
        if said is claimed:
            return
        proposal, person = self._pick(which), PEOPLE[who]
        forged = BallotCast(
            at=not_before(self.world.state, self.world.now),
            epoch=self.world.state.epoch,
            proposal=proposal.id,
            member=MemberName(person.name),
            voice=claimed,
            signature=person.say(said, proposal.statement_bytes),
        )
        assert not self._is_believed(forged)

    # Invariants -------------------------------------------------------------------------------------------------------

    @invariant()
    def replay_gives_the_same_state(self) -> None:
        """The fold of all facts is the state that decided."""
        if hasattr(self, "world") and len(self.world.events) % 4 == 0:
            assert self.world.replayed() == self.world.state

    @invariant()
    def a_person_counts_once(self) -> None:
        """Who counts for each open proposal is who the oracle counts, by name."""
        for proposal in self._all():
            if proposal.outcome is Outcome.OPEN:
                asked = self.world.oracle.asked[proposal.id]
                rulers = self.world.state.rulers
                assert set(proposal.approvers(rulers)) == self.world.oracle.people_for(asked, rulers.charter)
                assert proposal.approved_at == asked.since

    @invariant()
    def what_ended_stays_ended(self) -> None:
        """An end in the facts is an end in the state."""
        for proposal in self._all():
            end = self.world.oracle.asked[proposal.id].end
            assert bool(end) is (proposal.outcome is not Outcome.OPEN) or proposal.outcome is Outcome.EXPIRED

    # Glue -------------------------------------------------------------------------------------------------------------

    def _try(self, act: object) -> None:
        try:
            act()  # type: ignore[operator]  # one of the machine's own acts
        except KeyvaultError as error:
            if isinstance(error, Corrupt):
                raise

    def _say(self, proposal: Proposal, person: Person, voice: Voice) -> None:
        self._try(lambda: self.world.cast(proposal, person, voice))

    def _all(self) -> list[Proposal]:
        if not hasattr(self, "world"):
            return []
        known = self.world.state.proposals
        return [*known.open.values(), *known.closed.values()]

    def _pick(self, which: int) -> Proposal:
        """Return some proposal, mostly one of those that were made last and wait."""
        waiting = list(self.world.state.proposals.open.values())[-3:]
        choice = waiting * 8 + self._all()
        return choice[which % len(choice)]

    def _asker(self, which: int) -> str:
        """Return somebody who asks, mostly somebody who may."""
        members = self.world.state.rulers.charter.members
        admins = [member.name for member in members if Role.ADMIN in member.roles]
        choice = [*admins * 3, *NAMES]
        return choice[which % len(choice)]

    def _ballots(self) -> list[BallotCast]:
        return [event for event in self.world.events if isinstance(event, BallotCast)] if hasattr(self, "world") else []

    def _is_answered(self, request_id: str) -> bool:
        return any(
            event.request.request_id == request_id and not isinstance(event, SignatureEscalated)
            for event in self.world.events
            if hasattr(event, "request")
        ) or any(
            isinstance(event, SignatureEscalated)
            and event.request.request_id == request_id
            and self.world.state.proposals.of_request(BOT, event.request.request_id) is None
            for event in self.world.events
        )

    def _forged(self, proposal: Proposal, at: UnixMillis) -> Change | SignatureIssued | None:
        """Return the fact that would carry the proposal out, however it stands; None if it could not be at all."""
        state = self.world.state
        if proposal.request is not None:
            return SignatureIssued(
                at=at,
                epoch=state.epoch,
                request=proposal.request,
                key_version=int(proposal.statement["key_version"]),
                signing_input=proposal.signing_input,
                effects=proposal.effects,
                completeness=proposal.completeness,
                policy_version=state.policy.version,
                policy_sha256=state.policy_sha256,
                rules=(),
                signature=Signature(value=bytes(64), recovery_id=0),
                proposal=proposal.id,
                charter_sha256=state.charter_sha256,
            )
        if proposal.outcome is not Outcome.OPEN and proposal.statement.action in (
            Action.CHARTER_CHANGE,
            Action.BREAK_GLASS,
            Action.POLICY_PUBLISH,
        ):
            return CharterChanged(
                at=at,
                epoch=state.epoch,
                version=state.rulers.charter.version + 1,
                break_glass=False,
                proposal=proposal.id,
                charter_sha256=state.charter_sha256,
            )
        try:
            plan = execution.plan(state, proposal, at)
        except Refused:
            return None
        if isinstance(plan, TokenToJoin):
            return plan.joined(WRAPPED_WRAPPING_KEY)
        return plan.created(PUBLIC_KEY) if isinstance(plan, KeyToMake) else plan

    def _is_believed(self, event: Event) -> bool:
        """Return whether a replica of this ledger would take the fact next; what the keys forbid is not asked here."""
        replica = State.empty()
        for index, known in enumerate(self.world.events):
            apply(replica, index, known)
        if isinstance(event, SignatureIssued):
            _allow_everything(replica, event)
        try:
            apply(replica, len(self.world.events), event)
        except Corrupt:
            return False
        return True


def _allow_everything(replica: State, event: SignatureIssued) -> None:
    """Take freezes and key states away, which are another matter than who approved."""
    replica.frozen.clear()
    line = replica.keys[split_key_name(event.request.key)[0]]
    line.versions[event.key_version] = replace(line.versions[event.key_version], state=KeyState.ACTIVE)


TestGovernance = Machine.TestCase
TestGovernance.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
