"""State is the fold of the ledger (I2). ``apply`` is the only function that changes it.

Laws:

1. Recovery, following, verification and normal running all come through ``apply``.
2. Entry 0 is Genesis, entry 1 and every change of epoch is TermStarted, epochs only grow.
3. A privileged fact is believed only with the members' own signatures on a statement that says exactly this
   change, in this enclave, under the policy version of that moment, not expired when it was decided (I4).
4. A signature stands only for an active key and under the policy in force; it charges the windows.
5. A fact that does not follow from the state is Corrupt: the ledger was tampered with, or this build is wrong.
   Either way the replica stops.
"""

import hashlib
from dataclasses import replace
from typing import assert_never

from keyvault.core import limits
from keyvault.core.approvals import (
    Action,
    Envelope,
    Member,
    Statement,
    check_member_key,
    decode_statement,
    keyid_of,
    signers,
)
from keyvault.core.commands import object_id_of
from keyvault.core.errors import Corrupt, Malformed, NotFound, Reason, Refused
from keyvault.core.events import (
    Event,
    Genesis,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.ids import EnclaveName, Epoch, KeyId, MemberName, UnixMillis
from keyvault.core.keys import TRANSITIONS, KeyAlgorithm, KeyProvenance, KeyState, KeyVersion
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy
from keyvault.core.windows import Windows, outflow

NONCE_BYTES = 16
PUBLIC_KEY_BYTES = {
    KeyAlgorithm.SECP256K1: 65,
    KeyAlgorithm.P256: 65,
    KeyAlgorithm.ED25519: 32,
    KeyAlgorithm.HMAC_SHA256: 0,
}


class State:
    """What the ledger says now. Read it freely; only ``apply`` writes."""

    __slots__ = (
        "admin_threshold",
        "enclave",
        "enclave_id",
        "epoch",
        "import_public_key",
        "keys",
        "log_public_key",
        "members",
        "policy",
        "policy_document",
        "policy_sha256",
        "rules",
        "windows",
    )

    def __init__(self) -> None:
        self.enclave = EnclaveName("")
        self.enclave_id = b""
        self.log_public_key = b""
        self.import_public_key = b""
        self.admin_threshold = 0
        self.members: dict[MemberName, Member] = {}
        self.epoch = Epoch(0)
        self.keys: dict[KeyId, KeyVersion] = {}
        self.policy = Policy(version=0, rules=(), limits=())
        self.policy_document = b""
        self.policy_sha256 = b""
        self.rules: CompiledPolicy = compile_policy(self.policy)
        self.windows = Windows()

    @classmethod
    def empty(cls) -> "State":
        """Return the state before entry 0: refuses everything."""
        return cls()

    def __eq__(self, other: object) -> bool:
        """Say whether both states would decide everything alike."""
        if not isinstance(other, State):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__ if name != "rules")

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a key


def apply(state: State, index: int, event: Event) -> None:
    """Make ``state`` include the event at ``index``; raise Corrupt if it does not follow, leaving no half change."""
    try:
        _apply(state, index, event)
    except (Refused, Malformed, NotFound) as error:
        raise Corrupt(f"entry {index} ({type(event).__name__}) does not follow: {error}", index=index) from error


def _apply(state: State, index: int, event: Event) -> None:
    _check_place(state, index, event)
    match event:
        case SignatureIssued():
            _apply_issued(state, event)
        case SignatureRefused():
            _check_policy(state, event.policy_version, event.policy_sha256)
        case KeyCreated():
            _apply_key_created(state, event)
        case KeyStateChanged():
            _apply_key_state(state, event)
        case PolicyPublished():
            _apply_policy(state, event)
        case TermStarted():
            state.epoch = event.epoch
        case Genesis():
            _apply_genesis(state, event)
        case _:
            assert_never(event)


def _check_place(state: State, index: int, event: Event) -> None:
    if (index == 0) != isinstance(event, Genesis):
        raise _mismatch("entry 0 and no other is the genesis")
    if isinstance(event, TermStarted):
        if event.epoch <= state.epoch:
            raise _mismatch(f"epoch {event.epoch} does not follow epoch {state.epoch}")
    elif event.epoch != state.epoch:
        raise _mismatch(f"epoch is {event.epoch}, but the term is {state.epoch}")
    elif index == 1:
        raise _mismatch("entry 1 must start the first term")


def _apply_genesis(state: State, event: Genesis) -> None:
    check_members(event.members, event.admin_threshold)
    if (
        event.policy.version != 1
        or len(event.nonce) != NONCE_BYTES
        or len(event.log_public_key) != PUBLIC_KEY_BYTES[KeyAlgorithm.ED25519]
    ):
        raise _mismatch("genesis needs policy version 1, a nonce of 16 bytes and an Ed25519 log key")
    state.enclave = event.enclave
    state.enclave_id = enclave_id_of(event)
    state.log_public_key = event.log_public_key
    state.import_public_key = event.import_public_key
    state.admin_threshold = event.admin_threshold
    state.members = {member.name: member for member in event.members}
    _set_policy(state, event.policy, event.policy_document)


def enclave_id_of(genesis: Genesis) -> bytes:
    """Return what statements call this enclave: SHA-256 over nonce, log key and name.

    Whoever wants the same id for another enclave needs the log's private key to give it checkpoints.
    """
    return hashlib.sha256(
        b"keyvault/enclave/v1\0" + genesis.nonce + genesis.log_public_key + genesis.enclave.encode()
    ).digest()


def check_members(members: tuple[Member, ...], admin_threshold: int) -> None:
    """Raise unless names and keys are unique, keys are usable, and enough admins exist for the threshold."""
    if not 0 < len(members) <= limits.MEMBERS_MAX or len({m.name for m in members}) != len(members):
        raise _mismatch(f"1 to {limits.MEMBERS_MAX} members with different names are needed")
    keys = [key for member in members for key in member.public_keys]
    if len({keyid_of(key) for key in keys}) != len(keys):
        raise _mismatch("a public key stands under two names or twice")
    for member in members:
        if not 0 < len(member.public_keys) <= limits.MEMBER_KEYS_MAX:
            raise _mismatch(f"member {member.name} needs 1 to {limits.MEMBER_KEYS_MAX} public keys")
        for key in member.public_keys:
            check_member_key(key)
    if not 0 < admin_threshold <= sum("admin" in member.roles for member in members):
        raise _mismatch(f"threshold {admin_threshold} cannot be met by the members with role admin")


def authorize(  # the five facts that every privileged change must agree on
    state: State, envelope: Envelope, *, action: Action, parameters: dict[str, str], at: UnixMillis
) -> Statement:
    """Return the statement if it says exactly this change, now and here, and enough admins signed it; else Refused."""
    statement = decode_statement(envelope.payload)
    if statement.action is not action or dict(statement.parameters) != parameters:
        raise Refused(Reason.STATEMENT_MISMATCH, f"the statement says: {statement.summary()}")
    if statement.enclave != state.enclave or statement.enclave_id != state.enclave_id.hex():
        raise Refused(Reason.STATEMENT_MISMATCH, f"the statement is for another enclave than {state.enclave}")
    if statement.policy_version != state.policy.version:
        raise Refused(
            Reason.STATEMENT_MISMATCH,
            f"the statement was made under policy version {statement.policy_version}, now it is {state.policy.version}",
        )
    if not at < statement.expires_at <= at + limits.STATEMENT_LIFE_MS_MAX:
        raise Refused(
            Reason.STATEMENT_EXPIRED,
            f"the statement expires at {statement.expires_at} ms; it must be later than {at} and within"
            f" {limits.STATEMENT_LIFE_MS_MAX // 86_400_000} days",
        )
    admins = [member for member in state.members.values() if "admin" in member.roles]
    names = signers(envelope, admins)
    if len(names) < state.admin_threshold:
        raise Refused(
            Reason.NOT_AUTHORIZED,
            f"{len(names)} of the {state.admin_threshold} needed admins signed the statement",
        )
    if statement.requester not in state.members:
        raise Refused(Reason.NOT_AUTHORIZED, f"the requester {statement.requester} is not a member")
    return statement


def authorize_key_state(state: State, event: KeyStateChanged) -> KeyVersion:
    """Return the key in its new state if the change is authorized and allowed from the present state."""
    key = find_key(state, event.key, event.version)
    action = Action.KEY_ENABLE if event.state is KeyState.ACTIVE else Action.KEY_DISABLE
    parameters = {"key": event.key, "version": str(event.version)}
    authorize(state, event.authorization, action=action, parameters=parameters, at=event.at)
    if (key.state, event.state) not in TRANSITIONS:
        raise _mismatch(f"key {event.key} is {key.state}: it cannot become {event.state}")
    return replace(key, state=event.state)


def authorize_key_creation(state: State, event: KeyCreated) -> None:
    """Raise unless the new key is authorized, new, and within bounds."""
    parameters = {"key": str(event.key), "algorithm": event.algorithm.value}
    action = Action.KEY_CREATE
    if event.provenance is KeyProvenance.IMPORTED:
        action = Action.KEY_IMPORT
        parameters["wrapped_sha256"] = dict(decode_statement(event.authorization.payload).parameters).get(
            "wrapped_sha256", ""
        )
    authorize(state, event.authorization, action=action, parameters=parameters, at=event.at)
    if event.key in state.keys:
        raise _mismatch(f"key {event.key} exists already")
    if len(state.keys) >= limits.KEYS_MAX:
        raise _mismatch(f"the enclave has {limits.KEYS_MAX} keys, which is the most it can have")
    if event.version != 1 or event.token_object_id != object_id_of(event.authorization.payload):
        raise _mismatch(f"key {event.key} is not the one that the statement creates")


def authorize_policy(state: State, event: PolicyPublished) -> None:
    """Raise unless the policy is authorized and exactly the next version."""
    digest = hashlib.sha256(event.document).hexdigest()
    parameters = {"policy_sha256": digest, "version": str(event.policy.version)}
    authorize(state, event.authorization, action=Action.POLICY_PUBLISH, parameters=parameters, at=event.at)
    if event.policy.version != state.policy.version + 1:
        raise _mismatch(f"policy version {event.policy.version} does not follow version {state.policy.version}")


def find_key(state: State, key: KeyId, version: int | None) -> KeyVersion:
    """Return this version of the key (None: the newest), or raise Refused(KEY_NOT_FOUND)."""
    found = state.keys.get(key)
    if found is None or version not in (None, found.version):
        raise Refused(
            Reason.KEY_NOT_FOUND, f"enclave {state.enclave} has no key {key}" + (f" version {version}" if found else "")
        )
    return found


def _apply_key_created(state: State, event: KeyCreated) -> None:
    authorize_key_creation(state, event)
    if len(event.public_key) != PUBLIC_KEY_BYTES[event.algorithm]:
        raise _mismatch(f"public key of {event.key} has {len(event.public_key)} bytes")
    state.keys[event.key] = KeyVersion(
        key=event.key,
        version=event.version,
        algorithm=event.algorithm,
        state=KeyState.ACTIVE,
        provenance=event.provenance,
        public_key=event.public_key,
        token_object_id=event.token_object_id,
        created_at=event.at,
    )


def _apply_key_state(state: State, event: KeyStateChanged) -> None:
    state.keys[event.key] = authorize_key_state(state, event)


def _apply_policy(state: State, event: PolicyPublished) -> None:
    authorize_policy(state, event)
    _set_policy(state, event.policy, event.document)


def _set_policy(state: State, policy: Policy, document: bytes) -> None:
    state.rules = compile_policy(policy)
    state.policy = policy
    state.policy_document = document
    state.policy_sha256 = hashlib.sha256(document).digest()


def _apply_issued(state: State, event: SignatureIssued) -> None:
    key_id, _ = split_key_name(event.request.key)
    key = find_key(state, key_id, event.key_version)
    if key.state is not KeyState.ACTIVE:
        raise _mismatch(f"key {key_id} is {key.state}")
    _check_policy(state, event.policy_version, event.policy_sha256)
    state.windows.charge(key_id, event.at, outflow(event.effects))


def _check_policy(state: State, version: int, sha256: bytes) -> None:
    if version != state.policy.version or sha256 != state.policy_sha256:
        raise _mismatch(f"decided under policy version {version}, but version {state.policy.version} is in force")


def split_key_name(name: str) -> tuple[KeyId, int | None]:
    """Return key and version of ``{key}`` or ``{key}/versions/{version}`` as parsed at the edge."""
    key, _, version = name.partition("/versions/")
    return KeyId(key), int(version) if version else None


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
