"""What follows from a command. Pure: reads the state and the reservations, changes neither.

A signature is decided in two halves, because the token works between them: ``decide_signature`` says yes or no,
and the yes (``Authorised``) becomes the fact ``SignatureIssued`` once the token has signed. The same holds for keys
that the token has to make (``governance.KeyToMake``).
"""

from dataclasses import dataclass, replace

from keyvault.core import limits
from keyvault.core.charges import Charge, charge_of, is_unread
from keyvault.core.charter import AT_ONCE
from keyvault.core.commands import CastBallot, Propose, RequestSignature
from keyvault.core.errors import Malformed, NotFound, Overloaded, Reason, Refused
from keyvault.core.escalation import Words, check_all_asked, escalated
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.governance import check_ballot, check_proposal, member_of
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.intent import Intent, ending
from keyvault.core.keys import KeyVersion, Signature
from keyvault.core.limits_check import check_limits
from keyvault.core.policy_kinds import VENUES
from keyvault.core.policy_lint import lint
from keyvault.core.proposals import Proposal, check_executable, check_open
from keyvault.core.quickly import quickly_made
from keyvault.core.state import (
    State,
    check_not_frozen,
    check_signs,
    check_venue_name,
    find_key,
    moment_of,
    not_before,
    split_key_name,
)
from keyvault.core.statements import Action, FreezeScope, Statement, decode_statement, proposal_id_of
from keyvault.core.windows import Reservations

_WAITING = frozenset({Reason.NEEDS_APPROVAL, Reason.DELAYED})
"""Not a no: the request id stays open."""

LAST_RESORT = frozenset({Action.PAIR_SET, Action.LEAVE_QUARANTINE})
"""What members can still ask for where nothing else is decided."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Authorised:
    """A yes that still needs its signature.

    ``charge`` must stay reserved until it is a fact or given up; it is what the windows will have more of, which for a
    slot that was filled before can be more than this signature moves. ``usd`` is what this one is worth.
    """

    command: RequestSignature
    key: KeyVersion
    rules: tuple[str, ...]
    charge: Charge
    usd: int | None
    at: UnixMillis
    policy_version: int
    policy_sha256: bytes
    proposal: bytes
    charter_sha256: bytes
    shadows: tuple[str, ...]
    known: int

    def issued(self, state: State, signature: Signature) -> SignatureIssued:
        """Return the fact."""
        return SignatureIssued(
            at=self.at,
            epoch=state.epoch,
            request=self.command.request,
            key_version=self.key.version,
            signing_input=self.command.intent.signing_input,
            effects=self.command.intent.effects,
            completeness=self.command.intent.completeness,
            policy_version=self.policy_version,
            policy_sha256=self.policy_sha256,
            rules=self.rules,
            signature=signature,
            proposal=self.proposal,
            charter_sha256=self.charter_sha256,
            stamp=self.command.stamp,
            slot=self.command.intent.slot,
            expires_at=self.command.intent.expires_at,
            shadows=self.shadows,
            usd=self.usd,
            known=self.known,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The request waits for members; nothing is recorded, the same request may be sent again."""

    proposal: Proposal
    reason: Reason
    explanation: str


def decide_signature(
    state: State, reservations: Reservations, command: RequestSignature, now: UnixMillis, words: Words
) -> Authorised | SignatureRefused | SignatureEscalated | Waiting:
    """Say yes, no, or who must be asked, to a request whose id has no answer yet. Every no is a fact with a reason.

    ``words`` says in plain words what an intent does. Raises Malformed or Overloaded if members cannot be asked.
    """
    asked = state.proposals.of_request(command.request.principal, command.request.request_id)
    try:
        if asked is not None:
            check_executable(asked, state.rulers, state.policy.version, not_before(state, now))
        return _judge(state, reservations, command, now, words, asked)
    except Refused as refused:
        if asked is not None and refused.reason in _WAITING:
            return Waiting(proposal=asked, reason=refused.reason, explanation=refused.explanation)
        return refusal(state, command, now, refused)


def refusal(state: State, command: RequestSignature, now: UnixMillis, refused: Refused) -> SignatureRefused:
    """Return the no as a fact."""
    return SignatureRefused(
        at=now,
        epoch=state.epoch,
        request=command.request,
        reason=refused.reason,
        explanation=refused.explanation[: limits.EXPLANATION_CHARS_MAX],
        policy_version=state.policy.version,
        policy_sha256=state.policy_sha256,
        rules=refused.rules,
    )


def no_longer_asked(state: State, escalation: SignatureEscalated, now: UnixMillis) -> Refused:
    """Return why a request that was escalated, has no answer and waits no more, will have none (I3)."""
    statement = decode_statement(escalation.statement)
    closed = state.proposals.closed.get(proposal_id_of(escalation.statement))
    if closed is not None:
        try:
            check_open(closed, not_before(state, now))
        except Refused as refused:
            return refused
    if statement.policy_version != state.policy.version:
        return Refused(
            Reason.POLICY_CHANGED,
            f"members were asked under policy version {statement.policy_version}, now it is {state.policy.version}",
        )
    if not_before(state, now) >= statement.expires_at:
        return Refused(Reason.PROPOSAL_EXPIRED, f"members were asked until {statement.expires_at} ms")
    return Refused(Reason.VETOED, "a member vetoed this request; that is final")


def _judge(
    state: State,
    reservations: Reservations,
    command: RequestSignature,
    now: UnixMillis,
    words: Words,
    asked: Proposal | None,
) -> Authorised | SignatureEscalated:
    request, intent = command.request, command.intent
    key_id, version = split_key_name(request.key)
    key = find_key(state, key_id, version)
    check_signs(key)
    check_not_frozen(state, key_id, request.principal, intent.effects)
    if key.algorithm not in intent.algorithms:
        raise Refused(
            Reason.ALGORITHM_MISMATCH, f"{intent.kind} cannot be signed by a key with algorithm {key.algorithm}"
        )
    _check_time(intent, now)
    at = now if asked is None else not_before(state, now)
    command = _with_end(command, at)
    intent = command.intent
    permission = state.rules.evaluate(
        key=key_id, principal=request.principal, intent=intent, moment=moment_of(state, at)
    )
    charge = charge_of(
        key_id,
        request.principal,
        intent.effects,
        unread=is_unread(intent.kind, intent.completeness),
        slot=None if intent.slot is None else (key.version, intent.slot),
        prices=state.rules.prices,
        at=at,
    )
    charged = check_limits(state.windows, reservations, charge, now)
    if permission.quorums and asked is None:
        _check_room(state, request.principal, now)
        _check_clock(state, now)
        return escalated(state, request, intent, key, permission, words, now)
    if asked is not None:
        _check_same_key(asked, key)
        check_all_asked(permission, asked)
    return Authorised(
        command=command,
        key=key,
        rules=permission.rules,
        charge=charged,
        usd=charge.usd,
        at=at,
        policy_version=state.policy.version,
        policy_sha256=state.policy_sha256,
        proposal=b"" if asked is None else asked.id,
        charter_sha256=b"" if asked is None else state.charter_sha256,
        shadows=permission.shadows,
        known=state.size,
    )


def _with_end(command: RequestSignature, at: UnixMillis) -> RequestSignature:
    """Return the command with the end that its signature has if it is made now."""
    end = ending(command.intent, at)
    return (
        command
        if end == command.intent.expires_at
        else replace(command, intent=replace(command.intent, expires_at=end))
    )


def _check_clock(state: State, now: UnixMillis) -> None:
    """Raise Overloaded if the clock is behind the ledger: the fact would have a time that policy did not judge."""
    if now < state.latest_at:
        raise Overloaded(
            f"the clock is {state.latest_at - now} ms behind the ledger's latest entry",
            retry_after_ms=min(state.latest_at - now, 60_000),
        )


def _check_same_key(asked: Proposal, key: KeyVersion) -> None:
    if asked.statement["key_version"] != str(key.version):
        raise Refused(
            Reason.STATE_MISMATCH,
            f"members approved version {asked.statement['key_version']} of key {key.key}, now {key.version} signs",
        )


def _check_room(state: State, requester: str, now: UnixMillis) -> None:
    opened = state.proposals
    if len(opened.open) >= limits.OPEN_PROPOSALS_MAX and opened.count_open(now) >= limits.OPEN_PROPOSALS_MAX:
        raise Overloaded(f"{limits.OPEN_PROPOSALS_MAX} proposals wait for members", retry_after_ms=60_000)
    most = limits.PRINCIPAL_PROPOSALS_MAX
    if opened.by_requester.get(requester, 0) >= most and opened.count_open(now, requester) >= most:
        raise Overloaded(f"{most} proposals of {requester} wait for members", retry_after_ms=60_000)


def _check_last_resort(state: State, statement: Statement, now: UnixMillis) -> None:
    """Raise Overloaded if too many ask for the same thing, whatever else waits: what waits cannot be vetoed there."""
    waiting = [
        each.statement.requester
        for each in state.proposals.open.values()
        if each.statement.action is statement.action and each.statement.expires_at > now
    ]
    most, of_one = limits.LAST_RESORT_PROPOSALS_MAX, limits.MEMBER_LAST_RESORT_PROPOSALS_MAX
    own = waiting.count(statement.requester)
    if len(waiting) >= most or own >= of_one:
        raise Overloaded(
            f"{len(waiting)} proposals of {statement.action.value} wait for members, {own} of them asked by"
            f" {statement.requester}: {most} and {of_one} are the most. Veto some",
            retry_after_ms=60_000,
        )


def _check_time(intent: Intent, now: UnixMillis) -> None:
    if intent.issued_at is not None and abs(intent.issued_at - now) > limits.EXCHANGE_SKEW_MS_MAX:
        raise Refused(
            Reason.TIMESTAMP_OUT_OF_RANGE,
            f"timestamp {intent.issued_at} is {intent.issued_at - now} ms from our clock;"
            f" at most {limits.EXCHANGE_SKEW_MS_MAX} ms are permitted",
        )


# Changes of power -------------------------------------------------------------------------------------------------


def decide_proposal(state: State, command: Propose, now: UnixMillis) -> ProposalMade:
    """Return the fact that somebody asks for a change; raise Refused, Malformed or Overloaded."""
    statement = decode_statement(command.statement)
    _check_written(statement, command)
    event = ProposalMade(
        at=not_before(state, now),
        epoch=state.epoch,
        statement=command.statement,
        signature=command.signature,
        document=command.document,
        policy=command.policy,
        charter=command.charter,
        wrapped_secret=command.wrapped_secret,
    )
    proposal = check_proposal(state, event, 0)
    _check_life(state, proposal)
    _check_changes(state, proposal)
    if statement.action in LAST_RESORT:
        _check_last_resort(state, statement, now)
    elif proposal.duty not in AT_ONCE:  # what stops things waits for nobody, so it needs no room
        _check_room(state, statement.requester, now)
    return event


def _check_life(state: State, proposal: Proposal) -> None:
    """Raise Refused for what could never be carried out, however soon members approve it."""
    life_ms, delay_ms = proposal.statement.expires_at - proposal.made_at, proposal.delay_ms(state.rulers)
    if life_ms <= delay_ms:
        raise Refused(
            Reason.STATEMENT_EXPIRED,
            f"the statement lives {life_ms / 3_600_000:g} hours, and its change waits {delay_ms / 3_600_000:g} hours"
            " after the last approval: it must live longer",
        )


def _check_changes(state: State, proposal: Proposal) -> None:
    """Raise Refused for the policy that is in force: to publish it again only voids what waits under its version."""
    if proposal.policy is not None and replace(proposal.policy, version=state.policy.version) == state.policy:
        raise Refused(
            Reason.STATE_MISMATCH,
            f"it changes nothing: these rules and limits are in force as version {state.policy.version}",
        )


def _check_written(statement: Statement, command: Propose) -> None:
    """Raise Malformed for what may stand in an old ledger and is not taken any more."""
    if command.policy is not None:
        for finding in lint(command.policy):
            raise Malformed(f"document.{finding.section}[{finding.index}].{finding.field}", finding.problem)
    if statement.action is Action.FREEZE and statement["scope"] == FreezeScope.VENUE:
        check_venue_name(statement["name"], VENUES)


def proposed_rotation(state: State, statement: Statement, now: UnixMillis) -> ProposalMade:
    """Return the fact that the enclave itself proposes a rotation that fell due; raise Refused if it may not."""
    event = ProposalMade(at=not_before(state, now), epoch=state.epoch, statement=statement.encode(), signature=None)
    check_proposal(state, event, 0)
    return event


def decide_ballot(state: State, command: CastBallot, now: UnixMillis) -> BallotCast:
    """Return the fact that a member said something to a proposal; raise Refused or NotFound."""
    proposal = state.proposals.find(command.proposal)
    event = BallotCast(
        at=not_before(state, now),
        epoch=state.epoch,
        proposal=command.proposal,
        member=member_of(state, proposal, command.signature.keyid),
        voice=command.voice,
        signature=command.signature,
    )
    check_ballot(state, event)
    return event


def refused_change(
    state: State, principal: Principal, subject: str, proposal: bytes, refused: Refused | NotFound, now: UnixMillis
) -> ChangeRefused:
    """Return the fact that a proposal, or a word about one, was not taken."""
    return ChangeRefused(
        at=not_before(state, now),
        epoch=state.epoch,
        principal=principal,
        subject=subject,
        proposal=proposal,
        reason=refused.reason if isinstance(refused, Refused) else Reason.STATE_MISMATCH,
        explanation=str(refused)[: limits.EXPLANATION_CHARS_MAX],
    )
