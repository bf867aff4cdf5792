"""Some entries of a ledger replayed on their own: who asked for what, who said what to it, and what came of it.

Laws:

1. The entries are folded by the same ``apply`` as the whole ledger. Nothing here judges an approval by itself.
2. So they must be enough for each other: genesis, the starts of the terms that they are of, every change of the charter
   and of the policy and every new incarnation before the last one, each with its proposal and its ballots, and what the
   last one is about.
   ``gather`` finds them. What is missing shows as an entry that does not follow. Signatures before the last entry are
   history only: which destinations were known, and what was signed for which slot. Nothing else is believed of them, so
   nothing else has to be there for them.
3. The last entry is what the account is about: it carries out a proposal, is one, or is a word about one.
4. What was left out on purpose and would have said no (a veto, a rejection, a freeze) does not show. It takes the whole
   ledger to see that; but whoever leaves it out needs a log that signed the last entry in spite of it, and then the
   audit of the whole ledger names that entry.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from keyvault.core.apply import apply
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter, Rulers
from keyvault.core.errors import Corrupt, Malformed, Refused
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
    TokenJoined,
    TokenLeft,
)
from keyvault.core.ids import EnclaveName, MemberName, UnixMillis
from keyvault.core.proposals import Proposal
from keyvault.core.quorum import quorum_text
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.statements import Statement, decode_statement, proposal_id_of
from keyvault.ledger.codec import decode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.judge import dated_back, misjudged
from keyvault.ledger.signatures import verify_signature

_CHANGES = (
    KeyCreated,
    KeyStateChanged,
    KeyDestroyed,
    PolicyPublished,
    CharterChanged,
    FreezeChanged,
    CeremonyStepRecorded,
    IncarnationStarted,
    TokenJoined,
    TokenLeft,
    PairSet,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A member's word in entry ``index``, and the key (SubjectPublicKeyInfo, DER) that verifies it."""

    index: int
    at: UnixMillis
    member: MemberName
    voice: Voice
    signature: EnvelopeSignature
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A quorum that was complete, by whom, under which version of the charter."""

    quorum: str
    charter_version: int
    approvers: tuple[MemberName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Entry ``index`` carried the proposal out. ``approved_at``: since when every demand was met."""

    index: int
    at: UnixMillis
    event: Event
    demands: tuple[Demand, ...]
    approved_at: UnixMillis
    delay_ms: int


@dataclass(slots=True, kw_only=True)
class Case:
    """A proposal, what was said to it, and what came of it; nothing came of it yet if ``done`` is None.

    ``escalation`` is the request that policy left to members, for signatures only.
    """

    id: bytes
    index: int
    at: UnixMillis
    statement: Statement
    statement_bytes: bytes
    escalation: SignatureEscalated | None = None
    said: list[Said] = field(default_factory=list)
    done: Done | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the entries say. ``subject`` is the last one, ``case`` the proposal that it is about.

    ``charter`` is in force after the subject, in that ``incarnation``; ``charters`` are the cases that made it, oldest
    first. ``demands_open``: what a subject that is still open needs, and who approved so far. ``signature_verified`` is
    True if the subject is a signature and verifies under its key, None if it is no signature, or one that needs the
    secret (HMAC).
    """

    enclave: EnclaveName
    genesis_at: UnixMillis
    index: int
    subject: Event
    case: Case
    cases: tuple[Case, ...]
    charters: tuple[Case, ...]
    charter: Charter
    charter_sha256: bytes
    incarnation: int
    demands_open: tuple[Demand, ...]
    signature_verified: bool | None


def replay(entries: Sequence[tuple[int, bytes]]) -> Account:
    """Return the account, or raise Unproven with the entry that does not follow from those before it."""
    if not entries:
        raise Unproven("there is no entry")
    witness = _Witness()
    last = len(entries) - 1
    for place, (index, body) in enumerate(entries):
        try:
            event = decode(body)
        except Corrupt as error:
            raise Unproven(f"entry {index}: {error}") from error
        try:
            witness.take(index, event, is_last=place == last)
        except (Corrupt, Malformed, Refused) as error:
            raise Unproven(str(error)) from error
        except Unproven:
            raise
        except Exception as error:  # entries made to crash the auditor must be a finding, not a crash
            raise Unproven(f"entry {index} cannot be applied: {type(error).__name__}") from error
    return witness.account()


class _Witness:
    """A replay under way."""

    def __init__(self) -> None:
        self._state = State.empty()
        self._cases: dict[bytes, Case] = {}
        self._charters: list[Case] = []
        self._genesis_at = UnixMillis(0)
        self._subject: tuple[int, Event, Case] | None = None
        self._verified: bool | None = None

    def take(self, index: int, event: Event, *, is_last: bool) -> None:
        """Fold the entry and note what it tells."""
        _check_kind(index, event, is_last=is_last)
        if isinstance(event, SignatureIssued) and not is_last:
            self._state.familiar.saw(split_key_name(event.request.key)[0], event.effects, index, event.at)
            self._state.familiar.slots.fill(event.slot, event.effects, index)
            return
        latest_at = self._state.latest_at
        said = self._said(index, event)
        done = self._done(index, event)
        apply(self._state, index, event)
        case = self._note(index, event, said, done)
        if isinstance(event, SignatureIssued):
            self._check_signature(event, latest_at)
        if is_last and case is not None:
            self._subject = (index, event, case)

    def account(self) -> Account:
        """Return what was seen."""
        if self._subject is None:
            raise Unproven("the last entry is about no proposal")
        index, event, case = self._subject
        state = self._state
        return Account(
            enclave=state.enclave,
            genesis_at=self._genesis_at,
            index=index,
            subject=event,
            case=case,
            cases=tuple(self._cases.values()),
            charters=tuple(self._charters),
            charter=state.rulers.charter,
            charter_sha256=state.charter_sha256,
            incarnation=state.incarnation,
            demands_open=self._demands_open(case),
            signature_verified=self._verified,
        )

    def _demands_open(self, case: Case) -> tuple[Demand, ...]:
        proposal = self._state.proposals.open.get(case.id)
        try:
            return () if proposal is None else tuple(_demands(proposal, self._state.rulers))
        except Refused:  # the charter in force lets nobody do this any more
            return ()

    def _note(self, index: int, event: Event, said: Said | None, done: Done | None) -> Case | None:
        match event:
            case Genesis():
                self._genesis_at = event.at
                return None
            case ProposalMade() | SignatureEscalated():
                case = self._begun(index, event)
            case TermStarted() | ChangeRefused() | SignatureRefused() | KeySealed() | KeyProved():
                return None
            case _:
                case = self._cases[event.proposal]
        if said is not None:
            case.said.append(said)
        if done is not None:
            case.done = done
        if isinstance(event, CharterChanged):
            self._charters.append(case)
        return case

    def _begun(self, index: int, event: ProposalMade | SignatureEscalated) -> Case:
        case = Case(
            id=proposal_id_of(event.statement),
            index=index,
            at=event.at,
            statement=decode_statement(event.statement),
            statement_bytes=event.statement,
            escalation=event if isinstance(event, SignatureEscalated) else None,
        )
        self._cases[case.id] = case
        return case

    def _said(self, index: int, event: Event) -> Said | None:
        """Return what a member says here; whether it is so, ``apply`` finds out."""
        match event:
            case ProposalMade() if event.signature is not None:
                member = MemberName(decode_statement(event.statement).requester)
                voice, signature, charter = Voice.REQUEST, event.signature, None
            case BallotCast():
                proposal = self._state.proposals.open.get(event.proposal)
                member, voice, signature = event.member, event.voice, event.signature
                charter = None if proposal is None else proposal.charter
            case _:
                return None
        return Said(
            index=index,
            at=event.at,
            member=member,
            voice=voice,
            signature=signature,
            public_key=self._key_of(signature.keyid, charter),
        )

    def _key_of(self, keyid: str, proposed: Charter | None) -> bytes:
        """Return the key of that name, in the charter in force or the proposed one; empty if ``apply`` will refuse."""
        found = self._state.rulers.by_keyid.get(keyid)
        if found is None and proposed is not None:
            found = Rulers(proposed).by_keyid.get(keyid)
        return b"" if found is None else found[1]

    def _done(self, index: int, event: Event) -> Done | None:
        """Return what completes a proposal here; whether it may, ``apply`` finds out."""
        if not isinstance(event, (*_CHANGES, SignatureIssued)):
            return None
        proposal = self._state.proposals.open.get(event.proposal)
        if proposal is None or proposal.approved_at is None:
            return None
        return Done(
            index=index,
            at=event.at,
            event=event,
            demands=tuple(_demands(proposal, self._state.rulers)),
            approved_at=proposal.approved_at,
            delay_ms=proposal.delay_ms(self._state.rulers),
        )

    def _check_signature(self, event: SignatureIssued, latest_at: UnixMillis) -> None:
        name, _ = split_key_name(event.request.key)
        key = find_key(self._state, name, event.key_version)
        wrong = misjudged(self._state.rules, self._state.familiar, name, key.algorithm, event) or dated_back(
            event, latest_at
        )
        if wrong:
            raise Unproven(wrong)
        self._verified = verify_signature(key.algorithm, key.public_key, event.signing_input, event.signature) or None


def _check_kind(index: int, event: Event, *, is_last: bool) -> None:
    """Raise Unproven for an entry that has no place in an account, or not this place."""
    about_nothing = isinstance(event, Genesis | TermStarted | KeySealed | KeyProved)
    unasked = isinstance(event, SignatureIssued) and not event.proposal
    if isinstance(event, ChangeRefused | SignatureRefused) or (is_last and (about_nothing or unasked)):
        raise Unproven(f"entry {index} ({type(event).__name__}) is about nothing that members decide")


def _demands(proposal: Proposal, rulers: Rulers) -> Iterator[Demand]:
    for quorum, who in proposal.demands(rulers):
        yield Demand(
            quorum=quorum_text(quorum),
            charter_version=who.charter.version,
            approvers=tuple(sorted(proposal.approvers(who))),
        )
