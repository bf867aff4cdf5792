"""Proposals: what waits for members, who said what, and when it is enough.

Laws:

1. A proposal is named by the hash of its statement. What members sign is this statement and nothing else.
2. Approvals are counted against the charter in force now, not that of the day they were given: who was removed, or
   whose key was, does not count, and what the key said stays void when it comes back: the same words under the same
   key are the same signature. A new charter needs the threshold of the old set *and* of the new one (the rule of TUF,
   section 5.3.4, for its root).
3. A person counts once. Who asked does not count, nor does who rejected or took an approval back; both are final.
4. One veto ends a proposal. A later one for the same thing says that it was vetoed before.
5. The delay runs from the moment at which the quorum was complete; if it falls apart, the delay begins anew.
6. A proposal ends: carried out, vetoed, expired, or void because the policy changed, its request was refused or the
   ledger began a new incarnation. It never begins again. A signature that was approved in time may be under way when
   the time is over: only facts that are alone in the ledger's order end what is approved.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappop, heappush
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import AT_ONCE, Charter, Duty, Rulers, change_delay_ms
from keyvault.core.errors import NotFound, Reason, Refused
from keyvault.core.events import SignatureRequest
from keyvault.core.ids import EnclaveName, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect
from keyvault.core.policy import Policy
from keyvault.core.quorum import Quorum, is_met, quorum_text
from keyvault.core.statements import Action, Statement, subject_of

_T = TypeVar("_T")


class Outcome(StrEnum):
    """How a proposal stands."""

    OPEN = "OPEN"
    EXECUTED = "EXECUTED"
    VETOED = "VETOED"
    EXPIRED = "EXPIRED"
    VOID = "VOID"
    """What it was made under, policy, charter or incarnation, is no more; or its request was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A member's word, where it stands in the ledger, and its signature."""

    member: MemberName
    voice: Voice
    at: UnixMillis
    index: int
    signature: EnvelopeSignature


@dataclass(slots=True, kw_only=True)
class Proposal:
    """One proposal as the ledger has it.

    ``duty`` is None for a signature: the rules that escalated it name its ``quorums``. ``ballots`` by keyid, the last
    word of each key; ``voided`` are keys whose approval ended with their member's right to give it. ``approved_at``:
    since when the quorum is complete without a break.
    """

    id: bytes
    statement: Statement
    statement_bytes: bytes
    signature: EnvelopeSignature | None
    made_at: UnixMillis
    index: int
    duty: Duty | None
    quorums: tuple[Quorum, ...] = ()
    document: bytes = b""
    policy: Policy | None = None
    charter: Charter | None = None
    wrapped_secret: bytes = b""
    request: SignatureRequest | None = None
    slot: str | None = None
    signing_input: bytes = b""
    effects: tuple[Effect, ...] = ()
    completeness: Completeness = Completeness.FULL
    vetoed_before: bytes = b""
    ballots: dict[str, Ballot] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)
    approved_at: UnixMillis | None = None
    outcome: Outcome = Outcome.OPEN
    closed_index: int | None = None

    def aside(self) -> "Proposal":
        """Return the same, with ballots of its own."""
        return replace(self, ballots=dict(self.ballots), voided=set(self.voided))

    @property
    def asked_by(self) -> tuple[Principal, RequestId] | None:
        """Which request this is about, if it is about one."""
        return None if self.request is None else (self.request.principal, self.request.request_id)

    def delay_ms(self, rulers: Rulers) -> int:
        """Return how long it waits after its quorum was complete."""
        if self.duty is None:
            return 0
        if self.charter is not None:
            return change_delay_ms(rulers, self.charter, self.duty)
        return rulers.threshold(self.duty).delay_ms

    def demands(self, rulers: Rulers) -> tuple[tuple[Quorum, Rulers], ...]:
        """Return each quorum that must be complete, with those who can complete it. Raises Refused if nobody can."""
        if self.duty is None:
            return tuple((quorum, rulers) for quorum in self.quorums)
        demands = ((rulers.threshold(self.duty).quorum, rulers),)
        if self.charter is None:
            return demands
        new = Rulers(self.charter)
        return (*demands, (new.threshold(Duty.CHARTER).quorum, new))

    def approvers(self, rulers: Rulers) -> frozenset[MemberName]:
        """Return the members of this charter whose yes counts."""
        names = {
            ballot.member
            for keyid, ballot in self.ballots.items()
            if ballot.voice is Voice.APPROVE and _is_key_of(rulers, keyid, ballot.member)
        }
        if self.duty in AT_ONCE:
            names |= self._asker_at_once(rulers)
        else:
            names -= self.askers(rulers)
        return frozenset(names - self.withdrawn())

    def _asker_at_once(self, rulers: Rulers) -> frozenset[MemberName]:
        asker = MemberName(self.statement.requester)
        counts = self.signature is not None and _is_key_of(rulers, self.signature.keyid, asker)
        return frozenset({asker} if counts else ())

    def withdrawn(self) -> frozenset[MemberName]:
        """Return the members who rejected it or took their approval back."""
        noes = (Voice.REJECT, Voice.REVOKE)
        return frozenset(ballot.member for ballot in self.ballots.values() if ballot.voice in noes)

    def askers(self, rulers: Rulers) -> frozenset[MemberName]:
        """Return the members who do not count because they asked, under their own name or a certificate's."""
        if self.request is None:
            return frozenset({MemberName(self.statement.requester)})
        asked_by = self.request.principal
        return frozenset(member.name for member in rulers.charter.members if asked_by in member.principals)

    def is_approved(self, rulers: Rulers) -> bool:
        """Return whether every quorum is complete."""
        return all(is_met(quorum, who.groups, self.approvers(who)) for quorum, who in self.demands(rulers))

    def quorum_text(self, rulers: Rulers) -> str:
        """Return what it needs, in words."""
        texts = dict.fromkeys(quorum_text(quorum) for quorum, _ in self.demands(rulers))
        return "; and ".join(texts)


def _is_key_of(rulers: Rulers, keyid: str, name: MemberName) -> bool:
    found = rulers.by_keyid.get(keyid)
    return found is not None and found[0].name == name and found[0].has_voice


class Proposals:
    """All that wait, and the last ones that ended; a projection of the ledger."""

    __slots__ = ("_expiries", "by_request", "by_requester", "by_subject", "closed", "open", "ready", "vetoes")

    def __init__(self) -> None:
        self.open: dict[bytes, Proposal] = {}
        self.closed: dict[bytes, Proposal] = {}
        self.by_request: dict[tuple[Principal, RequestId], bytes] = {}
        self.by_requester: dict[str, int] = {}
        self.ready: dict[bytes, None] = {}
        """Approved, and carried out by the enclave itself as soon as their delay is over."""
        self.by_subject: dict[bytes, set[bytes]] = {}
        """The open proposals that ask for the same thing."""
        self.vetoes: dict[bytes, bytes] = {}
        self._expiries: list[tuple[UnixMillis, bytes]] = []

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proposals):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__ if name != "_expiries")

    __hash__ = None  # type: ignore[assignment]  # mutable

    def aside(self) -> "Proposals":
        """Return the same, for facts that may come: what is done to it is not done to this."""
        other = Proposals()
        for name in ("by_request", "by_requester", "ready", "vetoes"):
            setattr(other, name, dict(getattr(self, name)))
        for name in ("open", "closed"):
            setattr(other, name, {key: each.aside() for key, each in getattr(self, name).items()})
        other.by_subject = {subject: set(names) for subject, names in self.by_subject.items()}
        other._expiries = list(self._expiries)
        return other

    def find(self, proposal: bytes) -> Proposal:
        """Return the proposal, open or among the last that ended; raise NotFound."""
        found = self.open.get(proposal) or self.closed.get(proposal)
        if found is None:
            raise NotFound(f"there is no open proposal {proposal.hex()}, and none among those that ended lately")
        return found

    def of_request(self, principal: Principal, request_id: RequestId) -> Proposal | None:
        """Return the open proposal about this request."""
        known = self.by_request.get((principal, request_id))
        return None if known is None else self.open[known]

    def count_open(self, now: UnixMillis, requester: str | None = None) -> int:
        """Return how many, of this asker or of all, are open and not past their time."""
        return sum(
            each.statement.expires_at > now and requester in (None, each.statement.requester)
            for each in self.open.values()
        )

    def asks_for(self, subject: bytes, now: UnixMillis) -> bool:
        """Return whether an open proposal, not past its time, asks for this."""
        return any(self.open[name].statement.expires_at > now for name in self.by_subject.get(subject, ()))

    def add(self, proposal: Proposal) -> None:
        """Take in a new proposal."""
        subject = subject_of(proposal.statement)
        proposal.vetoed_before = self.vetoes.get(subject, b"")
        self.open[proposal.id] = proposal
        self.by_subject.setdefault(subject, set()).add(proposal.id)
        if proposal.asked_by is not None:
            self.by_request[proposal.asked_by] = proposal.id
        requester = proposal.statement.requester
        self.by_requester[requester] = self.by_requester.get(requester, 0) + 1
        heappush(self._expiries, (proposal.statement.expires_at, proposal.id))

    def weigh(self, proposal: Proposal, rulers: Rulers, at: UnixMillis) -> None:
        """Note whether the quorum is complete now, and since when."""
        try:
            approved = proposal.is_approved(rulers)
        except Refused:  # the charter in force lets nobody do this any more
            approved = False
        if not approved:
            proposal.approved_at = None
            self.ready.pop(proposal.id, None)
        elif proposal.approved_at is None:
            proposal.approved_at = at
            if proposal.statement.action is not Action.SIGN:
                self.ready[proposal.id] = None

    def close(self, proposal: Proposal, outcome: Outcome, index: int) -> None:
        """End a proposal."""
        del self.open[proposal.id]
        self.ready.pop(proposal.id, None)
        if proposal.asked_by is not None:
            del self.by_request[proposal.asked_by]
        subject = subject_of(proposal.statement)
        self.by_subject[subject].discard(proposal.id)
        if not self.by_subject[subject]:
            del self.by_subject[subject]
        _count_down(self.by_requester, proposal.statement.requester)
        proposal.outcome, proposal.closed_index = outcome, index
        proposal.document, proposal.wrapped_secret = b"", b""
        proposal.policy = proposal.charter = None
        _remember(self.closed, proposal.id, proposal, limits.CLOSED_PROPOSALS_REMEMBERED)
        if outcome is Outcome.VETOED:
            _remember(self.vetoes, subject, proposal.id, limits.VETOES_REMEMBERED)

    def expire(self, now: UnixMillis, index: int, *, alone: bool) -> None:
        """End the proposals whose time is over; unless the fact is ``alone``, only those that nobody can be signing."""
        kept: list[tuple[UnixMillis, bytes]] = []
        while self._expiries and self._expiries[0][0] <= now:
            expiry = heappop(self._expiries)
            proposal = self.open.get(expiry[1])
            if proposal is None:
                continue
            if alone or proposal.approved_at is None:
                self.close(proposal, Outcome.EXPIRED, index)
            else:
                kept.append(expiry)
        for expiry in kept:
            heappush(self._expiries, expiry)

    def void(self, policy_version: int, index: int, *, besides: Proposal) -> None:
        """End the proposals that were made under another policy, besides the one that changes it."""
        for proposal in tuple(self.open.values()):
            if proposal.statement.policy_version != policy_version and proposal is not besides:
                self.close(proposal, Outcome.VOID, index)

    def void_charters(self, index: int, *, besides: Proposal) -> None:
        """End the proposals of charters, which were to follow another one, besides the one that changes it."""
        for proposal in tuple(self.open.values()):
            if proposal.charter is not None and proposal is not besides:
                self.close(proposal, Outcome.VOID, index)

    def void_all(self, index: int, *, besides: Proposal) -> None:
        """End all proposals besides the one that begins a new incarnation: what the old one approved is void."""
        for proposal in tuple(self.open.values()):
            if proposal is not besides:
                self.close(proposal, Outcome.VOID, index)

    def recount(self, rulers: Rulers, at: UnixMillis) -> None:
        """Drop what removed members and removed keys said, and weigh everything anew."""
        for proposal in self.open.values():
            stale = [k for k, ballot in proposal.ballots.items() if not _is_key_of(rulers, k, ballot.member)]
            for keyid in stale:
                if proposal.ballots[keyid].voice is Voice.APPROVE:
                    del proposal.ballots[keyid]
                    proposal.voided.add(keyid)
            self.weigh(proposal, rulers, at)


def check_open(proposal: Proposal, now: UnixMillis) -> None:
    """Raise Refused unless the proposal is open at this time."""
    match proposal.outcome:
        case Outcome.VETOED:
            raise Refused(Reason.VETOED, f"proposal {short(proposal.id)} was vetoed; that is final")
        case Outcome.EXECUTED:
            raise Refused(Reason.ALREADY_DECIDED, f"proposal {short(proposal.id)} was carried out already")
        case Outcome.VOID:
            raise Refused(
                Reason.POLICY_CHANGED,
                f"proposal {short(proposal.id)} is void: the policy (version"
                f" {proposal.statement.policy_version}) or the charter for which it was made is not in force any more,"
                " the ledger began a new incarnation, or its request was refused",
            )
        case Outcome.OPEN | Outcome.EXPIRED:
            pass
    if proposal.outcome is Outcome.EXPIRED or now >= proposal.statement.expires_at:
        raise Refused(
            Reason.PROPOSAL_EXPIRED,
            f"proposal {short(proposal.id)} expired at {proposal.statement.expires_at} ms, and its approvals with it",
        )


def check_executable(proposal: Proposal, rulers: Rulers, policy_version: int, now: UnixMillis) -> None:
    """Raise Refused unless the proposal may be carried out now: open, same policy, quorum, delay."""
    check_open(proposal, now)
    if proposal.statement.policy_version != policy_version:
        raise Refused(
            Reason.POLICY_CHANGED,
            f"proposal {short(proposal.id)} was made under policy version {proposal.statement.policy_version}, now it"
            f" is {policy_version}",
        )
    if not proposal.is_approved(rulers) or proposal.approved_at is None:
        have = ", ".join(sorted(proposal.approvers(rulers))) or "nobody"
        raise Refused(
            Reason.NEEDS_APPROVAL,
            f"proposal {short(proposal.id)} needs {proposal.quorum_text(rulers)}; approved so far by {have}",
        )
    due = proposal.approved_at + proposal.delay_ms(rulers)
    if now < due:
        raise Refused(
            Reason.DELAYED, f"proposal {short(proposal.id)} is approved and is carried out at {due} ms, not before"
        )


def check_voice(proposal: Proposal, member: MemberName, keyid: str, voice: Voice, rulers: Rulers) -> None:
    """Raise Refused unless this member may say this now; what was said before is known."""
    if voice is Voice.VETO:
        return
    if member in proposal.askers(rulers):
        raise Refused(Reason.NOT_AUTHORIZED, f"member {member} asked for this, so only their veto counts")
    if member in proposal.withdrawn():
        raise Refused(Reason.ALREADY_DECIDED, f"member {member} rejected this or took it back; that is final")
    if voice is Voice.APPROVE and keyid in proposal.voided:
        raise Refused(
            Reason.ALREADY_DECIDED,
            f"what key {keyid[:16]} approved is void since it was removed; only a new proposal can be approved anew",
        )
    approved = any(ballot.member == member and ballot.voice is Voice.APPROVE for ballot in proposal.ballots.values())
    if voice is Voice.APPROVE and keyid in proposal.ballots:
        raise Refused(Reason.ALREADY_DECIDED, f"member {member} approved this already")
    if voice is Voice.REJECT and approved:
        raise Refused(Reason.ALREADY_DECIDED, f"member {member} approved this; revoke takes it back")
    if voice is Voice.REVOKE and not approved:
        raise Refused(Reason.STATE_MISMATCH, f"member {member} has no approval to take back")


def proposal_name(enclave: EnclaveName, proposal: bytes) -> str:
    """Return ``enclaves/{enclave}/proposals/{64 hex digits}``."""
    return f"enclaves/{enclave}/proposals/{proposal.hex()}"


def short(proposal: bytes) -> str:
    """Return the first 12 hex digits of a proposal's name, for people."""
    return proposal.hex()[:12]


def _remember(table: dict[bytes, _T], key: bytes, value: _T, most: int) -> None:
    """Put in an entry; the oldest goes when there are too many."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


def _count_down(counts: dict[str, int], key: str) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
