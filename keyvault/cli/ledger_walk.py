"""A copy of the ledger, entry by entry, each with the state before it. Folded here, verified by nobody.

What entries follow from is checked, as ``apply`` does; signatures and checkpoints are not: that is what
``keyvault audit verify`` is for, and much slower. The root says which entries were read.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from keyvault import intents
from keyvault.cli.exits import AuditProblem, UsageProblem
from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed, NotFound, Refused
from keyvault.core.events import Event, SignatureRefused
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent, Signer
from keyvault.core.state import State, find_key, split_key_name
from keyvault.ledger import archive
from keyvault.ledger.codec import decode
from keyvault.ledger.merkle import BLOCK_LEAVES, Tree, leaf_hash


class Walk:
    """One pass over the first ``entries`` of a ledger (None: all that it had when it was opened)."""

    def __init__(self, path: Path, *, entries: int | None = None) -> None:
        if not path.exists():
            raise NotFound(f"{path}: there is no such file or folder")
        self._path = path
        self._tree = Tree()
        self.state = State.empty()
        """The state before the entry that was given last."""
        with closing(archive.open_archive(path)) as opened:
            found = opened.head[0] if opened.head else max((size for size, _ in opened.checkpoints), default=0)
            self.size = found if entries is None else entries
            if not 0 < self.size <= found:
                raise UsageProblem(f"{path} has {found} entries, {self.size} are asked for")
            self.until = _event(next(opened.rows(self.size - 1)).body, self.size - 1).at
            """When the last entry was decided."""

    def events(self) -> Iterator[tuple[int, Event]]:
        """Give the entries in order, with ``state`` before each; raise AuditProblem for one that does not follow."""
        leaves: list[bytes] = []
        with closing(archive.open_archive(self._path)) as opened:
            for index, row in enumerate(opened.rows()):
                if index == self.size:
                    break
                event = _event(row.body, index)
                yield index, event
                try:
                    apply(self.state, index, event)
                except Corrupt as error:
                    raise AuditProblem(f"{self._path}: entry {index} does not follow: {error}") from None
                leaves.append(leaf_hash(row.body))
                if len(leaves) == BLOCK_LEAVES:
                    self._tree.extend(leaves)
                    leaves = []
        self._tree.extend(leaves)

    def until_index(self, index: int) -> Event:
        """Return an entry, with ``state`` as it was before it."""
        for place, event in self.events():
            if place == index:
                return event
        raise NotFound(f"{self._path} has no entry {index}: it has {self.size}")

    def root(self) -> bytes:
        """Return the root of the tree over the entries; after all of them were given."""
        return self._tree.root()


def meaning_of(state: State, event: SignatureRefused) -> Intent | None:
    """Return what the payload of a refusal means; None if its key is not there, or this build cannot read it."""
    key, version = split_key_name(event.request.key)
    try:
        return intents.parse(event.request.payload, Signer.of(find_key(state, key, version)))
    except (Refused, Malformed):
        return None


def since_of(walk: Walk, span_ms: int) -> UnixMillis:
    """Return when a period begins that ends with the last entry: not with our clock, so it is the same everywhere."""
    return UnixMillis(max(0, walk.until - span_ms))


def _event(body: bytes, index: int) -> Event:
    try:
        return decode(body)
    except (Corrupt, Malformed) as error:
        raise AuditProblem(f"entry {index} cannot be read: {error}; `keyvault audit verify` says more") from None
