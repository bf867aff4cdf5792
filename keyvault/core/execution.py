"""What an approved proposal comes to (I4). Pure: reads the state, changes nothing.

``carry_out`` returns the one fact that a proposal may become, to the last field: who decides appends it, and who folds
computes it again and compares.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.charter import Charter, Rulers, check_charter, check_quorum
from keyvault.core.commands import object_id_of
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import (
    CeremonyStepRecorded,
    Change,
    CharterChanged,
    FreezeChanged,
    IncarnationStarted,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
)
from keyvault.core.ids import Epoch, KeyId, UnixMillis
from keyvault.core.keys import HMAC_ALGORITHMS, TRANSITIONS, KeyAlgorithm, KeyLine, KeyProvenance, KeyState
from keyvault.core.marks import Mark
from keyvault.core.pair_changes import pair_set
from keyvault.core.policy import Policy, Verdict
from keyvault.core.proposals import Proposal, check_executable
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State, find_key
from keyvault.core.statements import (
    Action,
    FreezeScope,
    Statement,
)
from keyvault.core.token_changes import TokenToJoin, check_in_clear, is_in_clear, token_change

_DAY_MS = 86_400_000
_D = TypeVar("_D", Policy, Charter)

_TARGETS = {
    Action.KEY_ENABLE: KeyState.ACTIVE,
    Action.KEY_DISABLE: KeyState.DISABLED,
    Action.KEY_DESTROY: KeyState.DESTRUCTION_SCHEDULED,
    Action.KEY_KEEP: KeyState.DISABLED,
}


_NAMED = (FreezeScope.PRINCIPAL, FreezeScope.VENUE)
"""Scopes whose names need not exist, so that there is no end of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToMake:
    """An approved key that the token still has to make. ``fact`` lacks the public key only."""

    fact: KeyCreated
    wrapped_secret: bytes
    plaintext_transport: bool = False
    """Members allowed that its seed passes through a worker's memory (I6)."""

    def created(self, public_key: bytes) -> KeyCreated:
        """Return the fact."""
        return replace(self.fact, public_key=public_key)


def carry_out(state: State, proposal_id: bytes, at: UnixMillis) -> Change | KeyToMake | TokenToJoin:
    """Return what an approved proposal comes to at this time; raise Refused or NotFound if it may not be."""
    proposal = state.proposals.find(proposal_id)
    check_executable(proposal, state.rulers, state.policy.version, at)
    if proposal.statement.action is Action.SIGN:
        raise _mismatch("a signature is made when its request comes again")
    return plan(state, proposal, at)


def plan(  # noqa: C901 (one case for each action)
    state: State, proposal: Proposal, at: UnixMillis
) -> Change | KeyToMake | TokenToJoin:
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
        case Action.LEAVE_QUARANTINE:
            return _incarnation(state, proposal, at)
        case Action.TOKEN_JOIN | Action.TOKEN_LEAVE:
            return token_change(state, proposal, at)
        case Action.PAIR_SET:
            return pair_set(state, proposal, at)
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
    algorithm = KeyAlgorithm(statement["algorithm"])
    check_in_clear(state, proposal, algorithm)
    return _to_make(state, proposal, at, version=1, algorithm=algorithm)


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
    imported = algorithm in HMAC_ALGORITHMS
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
    return KeyToMake(
        fact=fact, wrapped_secret=proposal.wrapped_secret, plaintext_transport=is_in_clear(state, proposal)
    )


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
    if freezing and scope in _NAMED:
        _check_room(state, proposal.statement.requester)
    return FreezeChanged(
        at=at,
        epoch=state.epoch,
        scope=scope,
        name=name,
        frozen=freezing,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def _check_room(state: State, member: str) -> None:
    """Raise Refused if this member froze as many names as one may: the state has a bound, and not by who was first."""
    own = sum(by == member and scope in _NAMED for (scope, _), by in state.frozen.items())
    if own >= limits.MEMBER_FREEZES_MAX:
        raise _mismatch(
            f"{member} froze {own} principals and venues, the most of one member: freeze keys or the enclave, let"
            " another member freeze, or lift some"
        )


def lost_mark(statement: Statement) -> Mark:
    """Return what a statement about leaving the quarantine gives up."""
    return Mark(
        incarnation=int(statement["lost_incarnation"]),
        epoch=Epoch(int(statement["lost_epoch"])),
        size=int(statement["lost_position"]),
        root=bytes.fromhex(statement["lost_root"]),
    )


def _incarnation(state: State, proposal: Proposal, at: UnixMillis) -> IncarnationStarted:
    """Return the new beginning. That the ledger lacks what is given up is for those to say who have seen it."""
    statement = proposal.statement
    lost, number, position = lost_mark(statement), int(statement["incarnation"]), int(statement["position"])
    following = max(state.incarnation, lost.incarnation) + 1
    if number != following:
        raise _mismatch(f"incarnation {number} is not the next one, which is {following}")
    if len(state.incarnations) >= limits.INCARNATIONS_MAX:
        raise _mismatch(f"the ledger has begun anew {limits.INCARNATIONS_MAX} times, which is the most it can")
    if not state.decided <= position <= max(state.size, proposal.index):
        raise _mismatch(f"{position} entries were not all that there was: entry {state.decided - 1} decided something")
    if state.epoch <= lost.epoch:
        raise _mismatch(f"epoch {state.epoch} is not past epoch {lost.epoch}, which was seen")
    return IncarnationStarted(
        at=at,
        epoch=state.epoch,
        incarnation=number,
        position=position,
        lost=lost,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def _attached(document: _D | None) -> _D:
    if document is None:
        raise _mismatch("the proposal has no document")
    return document


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
