"""Times and nonces that the service puts into payloads, so that no caller can choose them.

Within one key nonces only grow: past every one in the ledger, past every one given out by this process, and never
behind the clock. A nonce that was given out and not used leaves a gap; venues take gaps.
"""

from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Stamp
from keyvault.core.state import State


class Stamps:
    """What was given out since the start. Bounded by the number of keys."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: dict[KeyId, int] = {}

    def next(self, state: State, key: KeyId, now: UnixMillis) -> Stamp:
        """Return a stamp for the key whose nonce nobody has."""
        nonce = max(now, self._given.get(key, 0) + 1, state.nonces.get(key, 0) + 1)
        if key in state.keys:
            self._given[key] = nonce
        return Stamp(at=now, nonce=nonce)
