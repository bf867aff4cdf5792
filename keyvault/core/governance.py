"""Which changes of power follow from the ledger (I4). Pure: reads the state, changes nothing.

The same functions decide a change when it is asked for and check it when it is folded: what ``carry_out`` returns for
an approved proposal is what the fact must say, to the last field.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.approvals import Voice, verify_voice
from keyvault.core.charter import AT_ONCE, Charter, Duty, Member, Role, Rulers, check_charter, check_quorum
from keyvault.core.commands import object_id_of
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    Change,
    CharterChanged,
    FreezeChanged,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PolicyPublished,
    ProposalMade,
)
from keyvault.core.ids import KeyId, MemberName, UnixMillis
from keyvault.core.keys import TRANSITIONS, KeyAlgorithm, KeyLine, KeyProvenance, KeyState, KeyVersion
from keyvault.core.policy import Policy, Verdict
from keyvault.core.policy_change import is_tightening
from keyvault.core.proposals import Proposal, check_executable, check_open, check_voice
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State, find_key
from keyvault.core.statements import (
    DUTIES,
    ROTATION_SERVICE,
    Action,
    FreezeScope,
    Statement,
    decode_statement,
    proposal_id_of,
    subject_of,
)

_DAY_MS = 86_400_000
_D = TypeVar("_D", Policy, Charter)

_TARGETS = {
    Action.KEY_ENABLE: KeyState.ACTIVE,
    Action.KEY_DISABLE: KeyState.DISABLED,
    Action.KEY_DESTROY: KeyState.DESTRUCTION_SCHEDULED,
    Action.KEY_KEEP: KeyState.DISABLED,
}


# Asking ---------------------------------------------------------------------------------------------------------


def check_proposal(state: State, event: ProposalMade, index: int) -> Proposal:
    """Return the proposal if it is asked for by somebody who may, here and now, and can be done at all.

    Raises Refused or Malformed.
    """
    statement = decode_statement(event.statement)
    check_here_and_now(state, statement, event.at)
    if statement.action is Action.SIGN:
        raise _mismatch("signatures are asked for by signing requests")
    duty = _duty(state, statement, event.policy)
    asker = _check_asker(state, statement, event, duty)
    _check_attachments(statement, event)
    proposal = Proposal(
        id=proposal_id_of(event.statement),
        statement=statement,
        statement_bytes=event.statement,
        signature=event.signature,
        made_at=event.at,
        index=index,
        duty=duty,
        document=event.document,
        policy=event.policy,
        charter=event.charter,
        wrapped_secret=event.wrapped_secret,
    )
    state.rulers.threshold(duty)
    if asker is not None and duty in AT_ONCE and not proposal.is_approved(state.rulers):
        raise Refused(
            Reason.NOT_AUTHORIZED, f"{duty} is for {proposal.quorum_text(state.rulers)}, and {asker.name} is not"
        )
    _plan(state, proposal, event.at)  # what cannot be done at all is not put to anybody
    return proposal


def check_here_and_now(state: State, statement: Statement, at: UnixMillis) -> None:
    """Raise Refused unless the statement is for this enclave, under the policy in force, and of a permitted life."""
    if statement.enclave != state.enclave or statement.enclave_id != state.enclave_id.hex():
        raise Refused(Reason.STATEMENT_MISMATCH, f"the statement is for another enclave than {state.enclave}")
    if statement.policy_version != state.policy.version:
        raise Refused(
            Reason.POLICY_CHANGED,
            f"the statement was made under policy version {statement.policy_version}, now it is {state.policy.version}",
        )
    if not at < statement.expires_at <= at + limits.PROPOSAL_LIFE_MS_MAX:
        raise Refused(
            Reason.STATEMENT_EXPIRED,
            f"the statement expires at {statement.expires_at} ms; it must be later than {at} ms and within"
            f" {limits.PROPOSAL_LIFE_MS_MAX // _DAY_MS} days",
        )


def _duty(state: State, statement: Statement, policy: Policy | None) -> Duty:
    if statement.action is not Action.POLICY_PUBLISH:
        return DUTIES[statement.action]
    if policy is None:
        raise Refused(Reason.STATEMENT_MISMATCH, "policy.publish needs the policy document")
    return Duty.POLICY_TIGHTEN if is_tightening(state.policy, policy) else Duty.POLICY_LOOSEN


def stops_at_once(state: State, event: ProposalMade | BallotCast) -> bool:
    """Return whether the fact asks for what one member may do at once."""
    if isinstance(event, BallotCast):
        return False
    statement = decode_statement(event.statement)
    return statement.action is not Action.SIGN and _duty(state, statement, event.policy) in AT_ONCE


def _check_asker(state: State, statement: Statement, event: ProposalMade, duty: Duty) -> Member | None:
    """Return the member who asks; None for the enclave itself."""
    if statement.requester == ROTATION_SERVICE:
        if event.signature is not None:
            raise Refused(Reason.NOT_AUTHORIZED, "nobody signs what the enclave proposes by itself")
        if KeyId(statement["key"]) not in due_rotations(state, event.at):
            raise _mismatch(f"key {statement['key']} is not due to be proposed for rotation")
        return None
    if event.signature is None:
        raise Refused(Reason.NOT_AUTHORIZED, "the asker's own signature is missing")
    member, key = _key_of(event.signature.keyid, state.rulers)
    if member.name != statement.requester:
        raise Refused(Reason.NOT_AUTHORIZED, f"the statement names {statement.requester}, {member.name} signed it")
    if not member.has_voice or (duty not in AT_ONCE and Role.ADMIN not in member.roles):
        raise Refused(Reason.NOT_AUTHORIZED, f"member {member.name} has no role that may ask for {duty}")
    verify_voice(key, Voice.REQUEST, event.statement, event.signature)
    return member


def _check_attachments(statement: Statement, event: ProposalMade) -> None:
    digest = hashlib.sha256(event.document).hexdigest()
    wrapped = hashlib.sha256(event.wrapped_secret).hexdigest() if event.wrapped_secret else ""
    match statement.action:
        case Action.POLICY_PUBLISH:
            fits = statement["policy_sha256"] == digest and event.policy is not None and event.charter is None
        case Action.CHARTER_CHANGE | Action.BREAK_GLASS:
            fits = statement["charter_sha256"] == digest and event.charter is not None and event.policy is None
        case _:
            fits = not event.document and event.policy is None and event.charter is None
    wanted = dict(statement.parameters).get("wrapped_sha256", "")
    if not fits or wrapped != wanted:
        raise Refused(Reason.STATEMENT_MISMATCH, "what is attached is not what the statement names")


# Saying yes or no -------------------------------------------------------------------------------------------------


def check_ballot(state: State, event: BallotCast) -> Proposal:
    """Return the proposal if this member may say this to it now, and signed it. Raises Refused or NotFound."""
    if event.voice is Voice.REQUEST:
        raise Refused(Reason.STATEMENT_MISMATCH, "asking is no word about a proposal")
    proposal = state.proposals.find(event.proposal)
    check_open(proposal, event.at)
    member, key = _voter(state, proposal, event)
    if member.name != event.member:
        raise Refused(Reason.NOT_AUTHORIZED, f"the key is that of {member.name}, not of {event.member}")
    if not member.has_voice:
        raise Refused(Reason.NOT_AUTHORIZED, f"member {member.name} is neither admin nor approver")
    verify_voice(key, event.voice, proposal.statement_bytes, event.signature)
    check_voice(proposal, member.name, event.signature.keyid, event.voice, state.rulers)
    return proposal


def member_of(state: State, proposal: Proposal, keyid: str) -> MemberName:
    """Return whose key this is, in the charter in force or the one that is proposed; raise Refused."""
    rulers = state.rulers
    if keyid not in rulers.by_keyid and proposal.charter is not None:
        rulers = Rulers(proposal.charter)
    return _key_of(keyid, rulers)[0].name


def _voter(state: State, proposal: Proposal, event: BallotCast) -> tuple[Member, bytes]:
    """Return who speaks. Members of a proposed charter may approve it; only those in force may veto."""
    keyid = event.signature.keyid
    if keyid in state.rulers.by_keyid or proposal.charter is None or event.voice is Voice.VETO:
        return _key_of(keyid, state.rulers)
    return _key_of(keyid, Rulers(proposal.charter))


def _key_of(keyid: str, rulers: Rulers) -> tuple[Member, bytes]:
    found = rulers.by_keyid.get(keyid)
    if found is None:
        raise Refused(
            Reason.NOT_AUTHORIZED, f"key {keyid[:16]} is not a member's in charter version {rulers.charter.version}"
        )
    return found


# Carrying out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToMake:
    """An approved key that the token still has to make. ``fact`` lacks the public key only."""

    fact: KeyCreated
    wrapped_secret: bytes

    def created(self, public_key: bytes) -> KeyCreated:
        """Return the fact."""
        return replace(self.fact, public_key=public_key)


def carry_out(state: State, proposal_id: bytes, at: UnixMillis) -> Change | KeyToMake:
    """Return what an approved proposal comes to at this time; raise Refused or NotFound if it may not be."""
    proposal = state.proposals.find(proposal_id)
    check_executable(proposal, state.rulers, state.policy.version, at)
    if proposal.statement.action is Action.SIGN:
        raise _mismatch("a signature is made when its request comes again")
    return _plan(state, proposal, at)


def _plan(state: State, proposal: Proposal, at: UnixMillis) -> Change | KeyToMake:
    """Return what the proposal comes to, whoever approves; raise Refused if it does not fit the state."""
    match proposal.statement.action:
        case Action.KEY_CREATE | Action.KEY_IMPORT:
            return _first_version(state, proposal, at)
        case Action.KEY_ROTATE:
            return _next_version(state, proposal, at)
        case Action.KEY_ENABLE | Action.KEY_DISABLE | Action.KEY_DESTROY | Action.KEY_KEEP:
            return _key_state(state, proposal, at)
        case Action.POLICY_PUBLISH:
            return _policy(state, proposal, at)
        case Action.CHARTER_CHANGE | Action.BREAK_GLASS:
            return _charter(state, proposal, at)
        case Action.FREEZE | Action.THAW:
            return _freeze(state, proposal, at)
        case Action.CEREMONY_STEP:
            return CeremonyStepRecorded(
                at=at, epoch=state.epoch, proposal=proposal.id, charter_sha256=state.charter_sha256
            )
        case Action.SIGN:
            raise _mismatch("a signature is no change")


def _first_version(state: State, proposal: Proposal, at: UnixMillis) -> KeyToMake:
    statement = proposal.statement
    key = KeyId(statement["key"])
    if key in state.keys:
        raise _mismatch(f"key {key} exists already; rotate makes a new version of it")
    if int(statement["cryptoperiod_days"]) > limits.CRYPTOPERIOD_DAYS_MAX:
        raise _mismatch(f"a cryptoperiod has at most {limits.CRYPTOPERIOD_DAYS_MAX} days")
    if int(statement["cryptoperiod_days"]) == 0 and statement["rotation"] == "propose":
        raise _mismatch("a rotation is proposed when it falls due, and without a cryptoperiod it never does")
    return _to_make(state, proposal, at, version=1, algorithm=KeyAlgorithm(statement["algorithm"]))


def _next_version(state: State, proposal: Proposal, at: UnixMillis) -> KeyToMake:
    statement = proposal.statement
    key = KeyId(statement["key"])
    primary = find_key(state, key, None)
    newest = state.keys[key].newest
    if int(statement["version"]) != newest + 1:
        raise _mismatch(f"version {statement['version']} of key {key} does not follow version {newest}")
    if (primary.provenance is KeyProvenance.IMPORTED) != bool(statement["wrapped_sha256"]):
        raise _mismatch(f"key {key} is {primary.provenance.lower()}: its next version is so, too")
    return _to_make(state, proposal, at, version=newest + 1, algorithm=primary.algorithm)


def _to_make(state: State, proposal: Proposal, at: UnixMillis, *, version: int, algorithm: KeyAlgorithm) -> KeyToMake:
    if sum(_in_token(line) for line in state.keys.values()) >= limits.KEYS_MAX:
        raise _mismatch(f"the enclave has {limits.KEYS_MAX} key versions in its token, which is the most it can have")
    imported = algorithm is KeyAlgorithm.HMAC_SHA256
    fact = KeyCreated(
        at=at,
        epoch=state.epoch,
        key=KeyId(proposal.statement["key"]),
        version=version,
        algorithm=algorithm,
        provenance=KeyProvenance.IMPORTED if imported else KeyProvenance.GENERATED,
        state=KeyState(proposal.statement["initial"]),
        public_key=b"",
        token_object_id=object_id_of(proposal.id),
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )
    return KeyToMake(fact=fact, wrapped_secret=proposal.wrapped_secret)


def _in_token(line: KeyLine) -> int:
    return sum(version.state is not KeyState.DESTROYED for version in line.versions.values())


def _key_state(state: State, proposal: Proposal, at: UnixMillis) -> KeyStateChanged:
    statement = proposal.statement
    key = find_key(state, KeyId(statement["key"]), int(statement["version"]))
    target = _TARGETS[statement.action]
    keeping = statement.action is Action.KEY_KEEP
    if target not in TRANSITIONS[key.state] or keeping != (key.state is KeyState.DESTRUCTION_SCHEDULED):
        raise _mismatch(f"key {key.key} version {key.version} is {key.state}: {statement.action} does not apply to it")
    if target is KeyState.ACTIVE and key.version < state.keys[key.key].primary:
        raise _mismatch(f"version {key.version} of key {key.key} is not its newest in use: rotate makes a new one")
    if keeping and key.destroy_at is not None and at >= key.destroy_at:
        raise _mismatch(f"key {key.key} version {key.version} was due to be destroyed at {key.destroy_at} ms")
    destroy_at = None
    if target is KeyState.DESTRUCTION_SCHEDULED:
        days = int(statement["after_days"])
        if not limits.DESTRUCTION_DAYS_MIN <= days <= limits.CRYPTOPERIOD_DAYS_MAX:
            raise _mismatch(f"a key is destroyed after {limits.DESTRUCTION_DAYS_MIN} days at the earliest, not {days}")
        destroy_at = UnixMillis(at + days * _DAY_MS)
    return KeyStateChanged(
        at=at,
        epoch=state.epoch,
        key=key.key,
        version=key.version,
        state=target,
        destroy_at=destroy_at,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def _policy(state: State, proposal: Proposal, at: UnixMillis) -> PolicyPublished:
    policy = _attached(proposal.policy)
    if policy.version != state.policy.version + 1 or str(policy.version) != proposal.statement["version"]:
        raise _mismatch(f"policy version {policy.version} does not follow version {state.policy.version}")
    check_policy_quorums(policy, state.rulers)
    return PolicyPublished(
        at=at,
        epoch=state.epoch,
        version=policy.version,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def _charter(state: State, proposal: Proposal, at: UnixMillis) -> CharterChanged:
    charter = _attached(proposal.charter)
    present = state.rulers.charter.version
    if charter.version != present + 1 or str(charter.version) != proposal.statement["version"]:
        raise _mismatch(f"charter version {charter.version} does not follow version {present}")
    check_charter(charter)
    check_policy_quorums(state.policy, Rulers(charter))
    return CharterChanged(
        at=at,
        epoch=state.epoch,
        version=charter.version,
        break_glass=proposal.statement.action is Action.BREAK_GLASS,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def check_policy_quorums(policy: Policy, rulers: Rulers) -> None:
    """Raise Refused unless every quorum that the policy escalates to can be met by the charter's members."""
    for rule in policy.rules:
        if rule.verdict is Verdict.ESCALATE:
            check_quorum(parse_quorum(rule.quorum), rulers, f"rule {rule.id}")


def _freeze(state: State, proposal: Proposal, at: UnixMillis) -> FreezeChanged:
    scope, name = FreezeScope(proposal.statement["scope"]), proposal.statement["name"]
    freezing = proposal.statement.action is Action.FREEZE
    if ((scope, name) in state.frozen) is freezing:
        raise _mismatch(f"{scope} {name} is {'frozen already' if freezing else 'not frozen'}".replace("  ", " "))
    if scope is FreezeScope.KEY and KeyId(name) not in state.keys:
        raise Refused(Reason.KEY_NOT_FOUND, f"enclave {state.enclave} has no key {name}")
    return FreezeChanged(
        at=at,
        epoch=state.epoch,
        scope=scope,
        name=name,
        frozen=freezing,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


# What falls due ---------------------------------------------------------------------------------------------------


def due_proposals(state: State, now: UnixMillis) -> tuple[bytes, ...]:
    """Return the approved proposals that the enclave may carry out now, in the order of their approval."""
    found = []
    for name in state.proposals.ready:
        try:
            check_executable(state.proposals.open[name], state.rulers, state.policy.version, now)
        except Refused:
            continue
        found.append(name)
    return tuple(found)


def due_destructions(state: State, now: UnixMillis) -> tuple[KeyVersion, ...]:
    """Return the versions whose time to be destroyed has come."""
    return tuple(
        version
        for line in state.keys.values()
        for version in line.versions.values()
        if version.destroy_at is not None and version.destroy_at <= now
    )


def destroyed(state: State, key: KeyId, version: int, at: UnixMillis) -> KeyDestroyed:
    """Return the fact that the token has this version no more; raise Refused if that was not to be."""
    found = find_key(state, key, version)
    if found.state is not KeyState.DESTRUCTION_SCHEDULED or found.destroy_at is None or at < found.destroy_at:
        raise _mismatch(f"key {key} version {version} is not due to be destroyed")
    return KeyDestroyed(
        at=at,
        epoch=state.epoch,
        key=key,
        version=version,
        proposal=found.destruction,
        charter_sha256=state.charter_sha256,
    )


def keys_near_rotation(state: State, now: UnixMillis) -> Iterator[KeyVersion]:
    """Yield the signing versions that are due for rotation, or will be within ROTATION_NOTICE_MS."""
    for line in state.keys.values():
        primary = line.versions[line.primary]
        soon = primary.rotate_by is not None and primary.rotate_by - limits.ROTATION_NOTICE_MS <= now
        if soon and primary.state is KeyState.ACTIVE and line.newest == line.primary:
            yield primary


def due_rotations(state: State, now: UnixMillis) -> dict[KeyId, Statement]:
    """Return the rotations that the enclave proposes by itself now: asked for, due, not open, never vetoed."""
    found: dict[KeyId, Statement] = {}
    for key in keys_near_rotation(state, now):
        if not key.propose_rotation or Duty.KEY_ROTATE not in state.rulers.thresholds:
            continue
        statement = Statement(
            action=Action.KEY_ROTATE,
            enclave=state.enclave,
            enclave_id=state.enclave_id.hex(),
            policy_version=state.policy.version,
            requester=ROTATION_SERVICE,
            parameters=(
                ("initial", KeyState.ACTIVE.value),
                ("key", key.key),
                ("version", str(key.version + 1)),
                ("wrapped_sha256", ""),
            ),
            nonce=f"{now:016x}",
            expires_at=UnixMillis(now + limits.PROPOSAL_LIFE_MS_MAX),
        )
        subject = subject_of(statement)
        if not state.proposals.asks_for(subject, now) and subject not in state.proposals.vetoes:
            found[key.key] = statement
    return found


def _attached(document: _D | None) -> _D:
    if document is None:
        raise _mismatch("the proposal has no document")
    return document


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
