"""A ledger in memory that grows only by facts that follow; the core's own world, without engine, store or token."""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core.apply import apply
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter
from keyvault.core.decide import Authorised, Waiting, decide_ballot, decide_proposal, decide_signature, refused_change
from keyvault.core.due import destroyed as destroyed_fact
from keyvault.core.due import due_destructions, due_proposals
from keyvault.core.errors import Corrupt, Malformed, NotFound, Reason, Refused
from keyvault.core.events import Change, Event, SignatureEscalated, SignatureIssued, SignatureRefused, TermStarted
from keyvault.core.execution import KeyToMake, carry_out
from keyvault.core.ids import Epoch, Principal, UnixMillis
from keyvault.core.keys import SealedRoots, Signature
from keyvault.core.policy import Policy
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.state import State, not_before
from keyvault.core.statements import Action, Statement
from keyvault.core.token_changes import TokenToJoin
from keyvault.core.windows import Reservations
from keyvault.intents import describe
from keyvault.ledger import codec
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from tests.worlds import (
    ADMIN,
    BOT,
    NOW,
    Person,
    allow_digest,
    ballot,
    digest_request,
    genesis,
    key_parameters,
    policy,
    propose,
    statement,
)

WRAPPED_WRAPPING_KEY = b"w" * 384
PUBLIC_KEY = b"\x04" + b"p" * 64
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Governed:
    """An enclave's facts, its state, and what time it is."""

    def __init__(
        self,
        *persons: Person,
        rulers: Charter | None = None,
        rules: Policy | None = None,
        roots: SealedRoots | None = None,
    ) -> None:
        self.people = {person.name: person for person in persons}
        self.state = State.empty()
        self.events: list[Event] = []
        self.at = int(NOW)
        first = genesis(*persons, rules=rules or policy(allow_digest()), rulers=rulers)
        self.add(replace(first, sealed=roots))
        self.add(TermStarted(at=NOW, epoch=Epoch(1), holder="h", software="s"))

    @property
    def now(self) -> UnixMillis:
        """The time that the leader's clock shows."""
        return UnixMillis(self.at)

    def add(self, event: Event) -> Event:
        """Append a fact, as the bytes that it is in a ledger."""
        assert codec.decode(codec.encode(event)) == event
        apply(self.state, len(self.events), event)
        self.events.append(event)
        return event

    def refuses(self, event: Event, reason: Reason | type[Exception]) -> str:
        """Assert that no replica believes the fact next, for this reason, and that nothing changed; return why."""
        with pytest.raises(Corrupt) as corrupt:
            apply(self.state, len(self.events), event)
        cause = corrupt.value.__cause__
        found = cause.reason if isinstance(cause, Refused) else type(cause)
        assert found == reason, f"{found}: {cause}"
        assert self.replayed() == self.state
        return str(cause)

    def replayed(self) -> State:
        """Return the fold of all facts from the beginning."""
        state = State.empty()
        for index, event in enumerate(self.events):
            apply(state, index, event)
        return state

    def said(self, action: Action, parameters: dict[str, str], *, by: str = "alice", **more: object) -> Statement:
        """Return a statement that somebody could make now, good for a day unless told otherwise."""
        words: dict[str, object] = {"nonce": f"{len(self.events):04x}", "expires_at": self.at + DAY_MS} | more
        return statement(self.state, action, parameters, requester=by, **words)  # type: ignore[arg-type]  # test glue

    def ask_for(self, said: Statement, *, by: str | None = None, **attached: object) -> Proposal:
        """Record that somebody asks for a change, and carry it out if it is time; a no is recorded and raised."""
        person = self.people[by or said.requester]
        try:
            made = decide_proposal(self.state, propose(said, person, **attached), self.now)
        except Refused as refused:
            self.add(refused_change(self.state, ADMIN, said.action, b"", refused, self.now))
            raise
        self.add(made)
        return self._carried(made.statement)

    def propose(self, action: Action, parameters: dict[str, str], *, by: str = "alice", **more: object) -> Proposal:
        """Make a statement and ask for it."""
        return self.ask_for(self.said(action, parameters, by=by, **more))

    def propose_charter(self, charter: Charter, *, action: Action = Action.CHARTER_CHANGE, **more: object) -> Proposal:
        """Ask for another charter."""
        document = encode_charter(charter)
        parameters = {"charter_sha256": hashlib.sha256(document).hexdigest(), "version": str(charter.version)}
        if action is Action.BREAK_GLASS:
            parameters["reason"] = "a test"
        said = self.said(action, parameters, **more)  # type: ignore[arg-type]  # test glue
        return self.ask_for(said, charter=charter, document=document)

    def propose_policy(self, rules: Policy, **more: object) -> Proposal:
        """Ask for another policy."""
        document = encode_policy(rules)
        parameters = {
            "policy_sha256": hashlib.sha256(document).hexdigest(),
            "version": str(rules.version),
            "replay_sha256": "none",
        }
        said = self.said(Action.POLICY_PUBLISH, parameters, **more)  # type: ignore[arg-type]  # test glue
        return self.ask_for(said, policy=rules, document=document)

    def cast(self, proposal: Proposal, by: str | Person, voice: Voice = Voice.APPROVE) -> Proposal:
        """Record what a member says, and carry the proposal out if it is time; a no is recorded and raised."""
        person = by if isinstance(by, Person) else self.people[by]
        try:
            event = decide_ballot(self.state, ballot(proposal.statement_bytes, person, voice), self.now)
        except Refused as refused:
            self.add(refused_change(self.state, ADMIN, voice, proposal.id, refused, self.now))
            raise
        self.add(event)
        return self._carried(proposal.statement_bytes)

    def approve_only(self, proposal: Proposal, by: str) -> Change:
        """Let a member approve, and return the fact that carries it out: what a leader that crashes leaves undone."""
        self.add(decide_ballot(self.state, ballot(proposal.statement_bytes, self.people[by]), self.now))
        return self.carry_out(proposal)

    def key(self, name: str = "signer", **more: str) -> Proposal:
        """Let alice ask for a key and bob approve it."""
        proposal = self.propose(Action.KEY_CREATE, key_parameters(name) | more)
        return self.cast(proposal, "bob")

    def decide(
        self, request_id: str, *, digest: bytes = b"d" * 32, principal: Principal = BOT, key: str = "signer"
    ) -> SignatureIssued | SignatureRefused | SignatureEscalated | Waiting:
        """Return what is decided about a request, signed with zeros if it is a yes."""
        command = digest_request(request_id, digest=digest, principal=principal, key=key)
        decision = decide_signature(self.state, Reservations(), command, self.now, describe)
        if isinstance(decision, Authorised):
            return decision.issued(self.state, Signature(value=bytes(64), recovery_id=0))
        return decision

    def sign(
        self, request_id: str, *, digest: bytes = b"d" * 32, principal: Principal = BOT, key: str = "signer"
    ) -> SignatureIssued | SignatureRefused | SignatureEscalated | Waiting:
        """Decide a request and record its fact."""
        decision = self.decide(request_id, digest=digest, principal=principal, key=key)
        if not isinstance(decision, Waiting):
            self.add(decision)
        return decision

    def escalated(self, request_id: str, **more: bytes) -> Proposal:
        """Let the bot ask for what needs approval; return what members are asked."""
        event = self.sign(request_id, digest=more.get("digest", b"d" * 32))
        assert isinstance(event, SignatureEscalated)
        proposal = self.state.proposals.of_request(event.request.principal, event.request.request_id)
        assert proposal is not None
        return proposal

    def look(self) -> None:
        """Carry out what fell due, as the enclave does."""
        now = not_before(self.state, self.now)
        for name in due_proposals(self.state, now):
            self._carry_out(name)
        for key in due_destructions(self.state, now):
            self.add(destroyed_fact(self.state, key.key, key.version, now))

    def carry_out(self, proposal: Proposal) -> Change:
        """Return the fact that carries the proposal out now; raises Refused."""
        plan = carry_out(self.state, proposal.id, not_before(self.state, self.now))
        if isinstance(plan, TokenToJoin):
            return plan.joined(WRAPPED_WRAPPING_KEY)
        return plan.created(PUBLIC_KEY) if isinstance(plan, KeyToMake) else plan

    def _carried(self, payload: bytes) -> Proposal:
        proposal = self.state.proposals.find(hashlib.sha256(payload).digest())
        if proposal.id in self.state.proposals.ready:
            self._carry_out(proposal.id)
        return proposal

    def _carry_out(self, name: bytes) -> None:
        try:
            event = self.carry_out(self.state.proposals.find(name))
        except (Refused, NotFound, Malformed):
            return
        self.add(event)


def is_open(proposal: Proposal) -> bool:
    """Say whether the proposal still waits."""
    return proposal.outcome is Outcome.OPEN
