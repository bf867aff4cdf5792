"""What facts about keys do to the state; ``core.apply`` has the laws and is the only caller."""

from dataclasses import replace

from keyvault.core.errors import Reason, Refused
from keyvault.core.events import KeyCreated, KeyStateChanged
from keyvault.core.keys import KeyAlgorithm, KeyLine, KeyState, KeyVersion
from keyvault.core.proposals import Proposal
from keyvault.core.state import State, find_key

PUBLIC_KEY_BYTES = {
    KeyAlgorithm.SECP256K1: 65,
    KeyAlgorithm.P256: 65,
    KeyAlgorithm.ED25519: 32,
    KeyAlgorithm.HMAC_SHA256: 0,
    KeyAlgorithm.HMAC_SHA512: 0,
}
_DAY_MS = 86_400_000


def check_public_key(event: KeyCreated) -> None:
    """Raise Refused unless the public key is as long as those of its algorithm."""
    if len(event.public_key) != PUBLIC_KEY_BYTES[event.algorithm]:
        raise Refused(Reason.STATE_MISMATCH, f"public key of {event.key} has {len(event.public_key)} bytes")


def apply_key_created(state: State, event: KeyCreated, proposal: Proposal) -> None:
    """Let the token have a new version of a key."""
    parameters = dict(proposal.statement.parameters)
    line = state.keys.get(event.key)
    if line is None:
        line = state.keys[event.key] = KeyLine(primary=event.version, versions={})
        cryptoperiod_ms = int(parameters["cryptoperiod_days"]) * _DAY_MS
        propose = parameters["rotation"] == "propose"
    else:
        before = line.versions[line.primary]
        cryptoperiod_ms, propose = before.cryptoperiod_ms, before.propose_rotation
    line.versions[event.version] = KeyVersion(
        key=event.key,
        version=event.version,
        algorithm=event.algorithm,
        state=event.state,
        provenance=event.provenance,
        public_key=event.public_key,
        token_object_id=event.token_object_id,
        created_at=event.at,
        cryptoperiod_ms=cryptoperiod_ms,
        propose_rotation=propose,
    )
    if event.state is KeyState.ACTIVE:
        _make_primary(line, event.version)


def apply_key_state(state: State, event: KeyStateChanged) -> None:
    """Let a version of a key be in another state."""
    found = find_key(state, event.key, event.version)
    scheduled = event.state is KeyState.DESTRUCTION_SCHEDULED
    put_key(
        state,
        replace(
            found,
            state=event.state,
            destroy_at=event.destroy_at,
            destruction=event.proposal if scheduled else b"",
        ),
    )
    if event.state is KeyState.ACTIVE:
        _make_primary(state.keys[event.key], event.version)


def _make_primary(line: KeyLine, version: int) -> None:
    before = line.versions.get(line.primary)
    if before is not None and before.version != version and before.state is KeyState.ACTIVE:
        line.versions[before.version] = replace(before, state=KeyState.ROTATED)
    line.primary = version


def put_key(state: State, key: KeyVersion) -> None:
    """Let this be what the state knows of a version of a key."""
    state.keys[key.key].versions[key.version] = key
