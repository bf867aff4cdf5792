"""What falls due with time: delays that ended, keys to be destroyed, rotations. Pure."""

from collections.abc import Iterator

from keyvault.core import limits
from keyvault.core.charter import Duty
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import (
    KeyDestroyed,
)
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.keys import KeyState, KeyVersion
from keyvault.core.proposals import check_executable
from keyvault.core.state import State, find_key
from keyvault.core.statements import (
    ROTATION_SERVICE,
    Action,
    Statement,
    subject_of,
)


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


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
