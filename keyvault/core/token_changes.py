"""What approved proposals about tokens come to, and which facts about copies of keys follow (I4, I6). Pure.

As ``execution``: who decides appends these facts, and who folds computes them again and compares.
"""

from dataclasses import dataclass, replace

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.events import KeyCreated, KeyProved, KeySealed, TokenJoined, TokenLeft
from keyvault.core.ids import Epoch, KeyId, Principal, UnixMillis
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyState, KeyVersion, SealedRoots, Signature
from keyvault.core.proposals import Proposal
from keyvault.core.state import State, find_key
from keyvault.core.statements import Action
from keyvault.core.token_words import IN_CLEAR
from keyvault.core.tokens import Joined
from keyvault.core.wrap import parse_transport_key

_SEED_BLOB_BYTES = 40
"""AES-KWP of an Ed25519 seed; a wrapped Ed25519 key has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenToJoin:
    """An approved token for which the leader's token still has to wrap the wrapping key. ``fact`` lacks that only."""

    fact: TokenJoined

    def joined(self, wrapped_key: bytes) -> TokenJoined:
        """Return the fact; raise Refused for what is no wrapped wrapping key."""
        least, most = limits.WRAPPED_WRAPPING_KEY_BYTES_MIN, limits.WRAPPED_WRAPPING_KEY_BYTES_MAX
        if not least <= len(wrapped_key) <= most:
            raise _mismatch(f"the wrapped wrapping key has {len(wrapped_key)} bytes")
        return replace(self.fact, wrapped_key=wrapped_key)


def token_change(state: State, proposal: Proposal, at: UnixMillis) -> TokenToJoin | TokenLeft:
    """Return what a proposal about a token comes to; raise Refused if it does not fit the state."""
    if proposal.statement.action is Action.TOKEN_JOIN:
        return _to_join(state, proposal, at)
    return _left(state, proposal, at)


def _to_join(state: State, proposal: Proposal, at: UnixMillis) -> TokenToJoin:
    node = Principal(proposal.statement["node"])
    tokens, present = state.tokens, state.tokens.joined.get(node)
    roots = moving(state)
    _check_transport_key(proposal.document)
    if present is not None and present.transport_public_key == proposal.document:
        raise _mismatch(f"the token of {node} has joined already, with this very key")
    if any(each.transport_public_key == proposal.document and each.node != node for each in tokens.joined.values()):
        raise _mismatch("a token with this transport key has joined as another node's")
    if present is None and len(tokens.joined) >= limits.NODES_MAX:
        raise _mismatch(f"{limits.NODES_MAX} tokens have joined, the most of one enclave: strike one off first")
    return TokenToJoin(
        fact=TokenJoined(
            at=at,
            epoch=state.epoch,
            node=node,
            transport_public_key=proposal.document,
            wrapped_key=b"",
            wrapping_key_check=roots.wrapping_key_check,
            proposal=proposal.id,
            charter_sha256=state.charter_sha256,
        )
    )


def _left(state: State, proposal: Proposal, at: UnixMillis) -> TokenLeft:
    node = Principal(proposal.statement["node"])
    joined_of(state, node)
    return TokenLeft(at=at, epoch=state.epoch, node=node, proposal=proposal.id, charter_sha256=state.charter_sha256)


def moving(state: State) -> SealedRoots:
    """Return what the genesis sealed; raise Refused where keys do not move."""
    if state.tokens.roots is None:
        raise _mismatch(f"the keys of enclave {state.enclave} stay in one token: its genesis says so, for ever")
    return state.tokens.roots


def joined_of(state: State, node: Principal) -> Joined:
    """Return the node's token; raise Refused unless it has joined."""
    found = state.tokens.joined.get(node)
    if found is None:
        raise _mismatch(f"no token of {node} has joined enclave {state.enclave}")
    return found


# Keys -----------------------------------------------------------------------------------------------------------


def check_in_clear(state: State, proposal: Proposal, algorithm: KeyAlgorithm) -> None:
    """Raise Refused if a plaintext transport is asked for where there is nothing that it could be for."""
    if IN_CLEAR not in dict(proposal.statement.parameters):
        return
    moving(state)
    if algorithm is not KeyAlgorithm.ED25519:
        raise _mismatch(f"{algorithm} keys are wrapped as they are: no plaintext transport is needed")


def is_in_clear(state: State, proposal: Proposal) -> bool:
    """Return whether members allowed it for this key: when they approved its first version."""
    return IN_CLEAR in dict(proposal.statement.parameters) or KeyId(proposal.statement["key"]) in state.tokens.in_clear


def sealed(created: KeyCreated, blob: bytes, identity: bytes, *, in_clear: bool) -> KeySealed:
    """Return the fact that follows a new key in the same append. Raises Malformed for what no replica would believe."""
    fact = KeySealed(
        at=created.at,
        epoch=created.epoch,
        key=created.key,
        version=created.version,
        blob=blob,
        identity=identity,
        plaintext=_is_seed(created.algorithm, blob),
    )
    problem = _sealed_wrongly(fact, created.algorithm, in_clear=in_clear)
    if problem:
        raise Malformed("blob", problem)
    return fact


def check_sealed(state: State, event: KeySealed) -> KeyVersion:
    """Return the version that the fact seals; raise Refused unless it can be so."""
    moving(state)
    key = find_key(state, event.key, event.version)
    if key.state is KeyState.DESTROYED or (event.key, event.version) in state.tokens.sealed:
        raise _mismatch(f"key {event.key} version {event.version} is destroyed, or sealed already")
    problem = _sealed_wrongly(event, key.algorithm, in_clear=event.key in state.tokens.in_clear)
    if problem:
        raise _mismatch(problem)
    return key


def proved(  # the parts of a fact
    state: State, node: Principal, key: KeyId, version: int, signature: Signature, at: UnixMillis
) -> KeyProved:
    """Return the fact that a node's joined token proved a version; raise Refused if it says nothing new."""
    token = joined_of(state, node)
    found = find_key(state, key, version)
    if found.state is KeyState.DESTROYED:
        raise _mismatch(f"key {key} version {version} is destroyed")
    if node in state.tokens.proved.get((key, version), frozenset()):
        raise _mismatch(f"the token of {node} proved key {key} version {version} already")
    epoch: Epoch = state.epoch
    return KeyProved(at=at, epoch=epoch, token=token.proposal, node=node, key=key, version=version, signature=signature)


def _sealed_wrongly(fact: KeySealed, algorithm: KeyAlgorithm, *, in_clear: bool) -> str:
    if not limits.WRAPPED_KEY_BYTES_MIN <= len(fact.blob) <= limits.WRAPPED_KEY_BYTES_MAX:
        return f"a sealed key has {len(fact.blob)} bytes"
    if len(fact.identity) != (limits.KEY_CHECK_BYTES if algorithm in HMAC_ALGORITHMS else 0):
        return "a sealed HMAC secret has its key check, and no other key has one"
    if fact.plaintext != _is_seed(algorithm, fact.blob) or (fact.plaintext and not in_clear):
        return "no plaintext transport was allowed for this key, or it is not what the blob needs"
    return ""


def _is_seed(algorithm: KeyAlgorithm, blob: bytes) -> bool:
    return algorithm is KeyAlgorithm.ED25519 and len(blob) == _SEED_BLOB_BYTES


def _check_transport_key(der: bytes) -> None:
    if len(der) > limits.TRANSPORT_KEY_DER_BYTES_MAX:
        raise _mismatch("a transport key is not that long")
    try:
        parse_transport_key(der)
    except Malformed as error:
        raise _mismatch(str(error)) from error


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
