"""The only appender: makes facts durable, then folds them into the state (I1, I2).

Nothing here retries. An append that did not certainly happen is the end of the term (I7).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from keyvault.core import limits
from keyvault.core.apply import apply
from keyvault.core.errors import Broken, Conflict
from keyvault.core.events import Event
from keyvault.core.ids import Epoch
from keyvault.core.state import State
from keyvault.engine.clock import since_boot
from keyvault.ledger import codec
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.store.base import Entry, Head, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An encoded fact that is not durable yet."""

    event: Event
    entry: Entry


def draft(event: Event) -> Draft:
    """Encode the fact once; these bytes are what is hashed, stored, and given to auditors."""
    body = codec.encode(event)
    if len(body) > limits.ENTRY_BYTES_MAX:
        raise Broken(f"a {type(event).__name__} of {len(body)} bytes does not fit into an entry: bounds are wrong")
    return Draft(event=event, entry=Entry(body=body, request_key=codec.key_of(event)))


class Appender:
    """Owns state, tree and the store's writing thread for one term."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        tree: Tree,
        epoch: Epoch,
        writer: ThreadPoolExecutor | None = None,
        on_written: Callable[[float], None] | None = None,
    ) -> None:
        """``writer``: the one thread that writes to the store, if others write there, too.

        ``on_written`` is told, after each write that is durable, when it was sent (``since_boot``).
        """
        self.state = state
        self.tree = tree
        self.epoch = epoch
        self._store = store
        self._root = tree.root()
        self._writer = writer or ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-writer")
        self._on_written = on_written or (lambda _sent_at: None)
        self._writes = 0

    @property
    def head(self) -> Head:
        """The durable head."""
        return Head(size=self.tree.size, root=self._root)

    async def append(self, drafts: Sequence[Draft]) -> int:
        """Make the facts durable and part of the state; return the index of the first.

        Raises Broken if that did not certainly happen.
        """
        extension = self.tree.extended([leaf_hash(item.entry.body) for item in drafts])
        expected = self.head
        new = Head(size=extension.size, root=extension.root)
        append = partial(
            self._store.append,
            epoch=self.epoch,
            expected=expected,
            entries=[item.entry for item in drafts],
            new=new,
        )
        await self._write(append)
        self.tree.adopt(extension)
        self._root = new.root
        for offset, item in enumerate(drafts):
            apply(self.state, expected.size + offset, item.event)
        return expected.size

    async def keep_checkpoint(self, size: int, note: bytes) -> None:
        """Keep the signed note durably; raises Broken if that did not certainly happen."""
        keep = partial(self._store.put_checkpoint, epoch=self.epoch, size=size, note=note)
        await self._write(keep)

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return self._writes > 0

    async def _write(self, write: Callable[[], None]) -> None:
        sent_at = since_boot()
        self._writes += 1
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, write)
        except Conflict as error:
            raise Broken(f"the term is over: {error}") from error
        finally:
            self._writes -= 1
        self._on_written(sent_at)

    def close(self) -> None:
        """End the writing thread after what it is doing."""
        self._writer.shutdown(wait=True)
