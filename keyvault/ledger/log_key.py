"""Whose signature an audited checkpoint must have: that of entry 0's log key, under the name of the incarnation."""

from collections.abc import Sequence

from keyvault.core.errors import Malformed
from keyvault.core.events import Genesis
from keyvault.core.marks import Incarnation, incarnation_at
from keyvault.ledger import checkpoint
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import leaf_hash
from keyvault.ledger.note import Verifier, verifier


class LogKey:
    """The key of an audit under way. ``key`` is None until entry 0 gives it, unless the auditor knew it before."""

    def __init__(self, expected: Verifier | None) -> None:
        self.key = self._expected = expected

    def learn(self, body: bytes, event: Genesis, first: tuple[int, bytes] | None) -> str | None:
        """Take the key from entry 0; return what is wrong with it, in a sentence, or None.

        ``first`` is the first checkpoint. It is held against entry 0 at once: later entries fail, too, when that was
        changed.
        """
        own = log_key_of(body, event)
        self.key = self._expected or own
        if self._expected and not checkpoint.is_same_log(self._expected, own):
            return f"entry 0 gives the log key {own.vkey}, but {self._expected.vkey} is expected"
        if self._expected or first is None:
            return None
        size, note = first
        try:
            checkpoint.open_in_any(note, own)
        except (Malformed, Unproven):
            named = checkpoint.same_key_other_name(own, note)
            self.key = named or own
            what = (
                f"is signed by the same key and names the ledger {named.name}" if named else "does not verify under it"
            )
            return f"entry 0 gives the log key {own.vkey}; checkpoint {size} {what}: one of them was changed"
        return None

    def at(self, size: int, incarnations: Sequence[Incarnation]) -> Verifier | None:
        """Return the key that must have signed a checkpoint of this size."""
        if self.key is None:
            return None
        ledger, _ = checkpoint.split_origin(self.key.name)
        name = checkpoint.incarnated(ledger, incarnation_at(incarnations, size))
        return verifier(name, self.key.public_key)


def log_key_of(body: bytes, event: Genesis) -> Verifier:
    """Return the log key that entry 0 gives, under the name that its bytes give to the ledger."""
    return verifier(checkpoint.origin(event.enclave, leaf_hash(body)), event.log_public_key)
