"""The part of ``apply`` that is about tokens and copies of keys; see the laws of ``tokens``."""

from keyvault.core.errors import Reason, Refused
from keyvault.core.events import Change, Copied, KeySealed, TokenJoined, TokenLeft
from keyvault.core.ids import KeyId, Principal
from keyvault.core.keys import SealedRoots
from keyvault.core.limits import (
    WRAPPED_IMPORT_KEY_BYTES_MAX,
    WRAPPED_IMPORT_KEY_BYTES_MIN,
    WRAPPED_KEY_BYTES_MAX,
    WRAPPED_KEY_BYTES_MIN,
    WRAPPING_KEY_CHECK_BYTES,
)
from keyvault.core.proposals import Proposal
from keyvault.core.state import State
from keyvault.core.token_changes import check_sealed, is_in_clear, proved
from keyvault.core.tokens import Joined, SealedKey


def apply_roots(state: State, roots: SealedRoots | None) -> None:
    """Take in what the genesis says of the enclave's own keys; raise Refused unless it can be so."""
    if roots is not None and (
        len(roots.wrapping_key_check) != WRAPPING_KEY_CHECK_BYTES
        or not WRAPPED_KEY_BYTES_MIN <= len(roots.log_key) <= WRAPPED_KEY_BYTES_MAX
        or not WRAPPED_IMPORT_KEY_BYTES_MIN <= len(roots.import_key) <= WRAPPED_IMPORT_KEY_BYTES_MAX
    ):
        raise Refused(Reason.STATE_MISMATCH, "the genesis seals its own keys in a form that no token gives")
    state.tokens.roots = roots


def note_in_clear(state: State, key: KeyId, proposal: Proposal) -> None:
    """Remember that members allowed a plaintext transport for the key."""
    if is_in_clear(state, proposal):
        state.tokens.in_clear.add(key)


def apply_token(state: State, event: Change) -> None:
    """Put a token on the list, or strike it off; what the node's token proved before counts no more either way.

    Raises Refused for any other change.
    """
    if not isinstance(event, TokenJoined | TokenLeft):
        raise Refused(Reason.STATE_MISMATCH, "it carries out nothing")
    _forget_proofs(state, event.node)
    if isinstance(event, TokenLeft):
        del state.tokens.joined[event.node]
        return
    state.tokens.joined[event.node] = Joined(
        node=event.node,
        transport_public_key=event.transport_public_key,
        wrapped_key=event.wrapped_key,
        proposal=event.proposal,
    )


def apply_copied(state: State, event: Copied) -> None:
    """Take in a sealed key, or that a token proved one; raise Refused if it does not follow."""
    version = (event.key, event.version)
    if isinstance(event, KeySealed):
        check_sealed(state, event)
        state.tokens.sealed[version] = SealedKey(blob=event.blob, identity=event.identity, plaintext=event.plaintext)
        return
    if event != proved(state, event.node, event.key, event.version, event.signature, event.at):
        raise Refused(Reason.STATE_MISMATCH, "it is about a token that is not on the list any more")
    state.tokens.proved[version] = state.tokens.proved.get(version, frozenset()) | {event.node}


def forget_key(state: State, key: KeyId, version: int) -> None:
    """Forget the copies of a version that is destroyed; the ledger keeps its blob."""
    state.tokens.sealed.pop((key, version), None)
    state.tokens.proved.pop((key, version), None)


def _forget_proofs(state: State, node: Principal) -> None:
    for version, nodes in tuple(state.tokens.proved.items()):
        state.tokens.proved[version] = nodes - {node}
