"""A long ledger in little time: valid facts, appended through the store while nobody serves it.

The facts are what a bot's raw digests leave behind, spread over the last day. They repeat one genuine signature;
request ids, times and places in the tree are their own. Recovery folds them like any others.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from keyvault.bench.requests import RequestIds
from keyvault.core.errors import Corrupt
from keyvault.core.events import Event, SignatureIssued, SignatureRequest, TermStarted
from keyvault.core.ids import Epoch, RequestId, UnixMillis
from keyvault.core.state import State
from keyvault.engine.appender import Draft, draft
from keyvault.engine.recovery import Recovered, recover
from keyvault.ledger import codec
from keyvault.ledger.merkle import leaf_hash
from keyvault.store.base import Head, Store
from keyvault.store.sqlite import open_store

_HOLDER = "bench-prefill"
_SPAN_MS = 24 * 3_600_000
_BATCH = 5_000
"""Entries in one transaction: bounds the WAL to some megabytes."""


def prefill(ledger: Path, size: int) -> None:
    """Append facts until the ledger has ``size`` entries. The last one must be a signature to repeat."""
    store = open_store(ledger, create=False)
    try:
        recovered = recover(store)
        missing = size - recovered.tree.size
        if missing > 1:
            _append(store, recovered, Epoch(store.acquire_term(_HOLDER)), missing)
    finally:
        store.close()


def append(ledger: Path, facts: Callable[[State, Epoch], Iterator[Event]]) -> None:
    """Append facts of the caller's, made from the state that the ledger gives."""
    store = open_store(ledger, create=False)
    try:
        recovered = recover(store)
        epoch = Epoch(store.acquire_term(_HOLDER))
        now = UnixMillis(time.time_ns() // 1_000_000)
        started = TermStarted(at=now, epoch=epoch, holder=_HOLDER, software=_HOLDER)
        _write(store, recovered, epoch, _drafts(started, facts(recovered.state, epoch)))
    finally:
        store.close()


def _append(store: Store, recovered: Recovered, epoch: Epoch, count: int) -> None:
    model = _signature(store, recovered.tree.size)
    now = time.time_ns() // 1_000_000
    started = TermStarted(at=UnixMillis(now - _SPAN_MS), epoch=epoch, holder=_HOLDER, software=_HOLDER)
    _write(store, recovered, epoch, _drafts(started, _facts(model, recovered.state, epoch, now, count - 1)))


def _write(store: Store, recovered: Recovered, epoch: Epoch, drafts: Iterator[Draft]) -> None:
    tree = recovered.tree
    while batch := list(islice(drafts, _BATCH)):
        expected = Head(size=tree.size, root=tree.root())
        tree.extend([leaf_hash(item.entry.body) for item in batch])
        new = Head(size=tree.size, root=tree.root())
        store.append(epoch=epoch, expected=expected, entries=[item.entry for item in batch], new=new)


def _drafts(started: TermStarted, facts: Iterator[Event]) -> Iterator[Draft]:
    yield draft(started)
    yield from map(draft, facts)


def _facts(model: SignatureIssued, state: State, epoch: Epoch, now: int, count: int) -> Iterator[SignatureIssued]:
    ids = RequestIds()
    for number in range(count):
        at = now - _SPAN_MS + _SPAN_MS * number // count
        yield SignatureIssued(
            at=UnixMillis(at),
            epoch=epoch,
            request=SignatureRequest(
                request_id=RequestId(ids.next(at)),
                principal=model.request.principal,
                key=model.request.key,
                payload=model.request.payload,
            ),
            key_version=model.key_version,
            signing_input=model.signing_input,
            effects=model.effects,
            completeness=model.completeness,
            policy_version=state.policy.version,
            policy_sha256=state.policy_sha256,
            rules=model.rules,
            signature=model.signature,
            known=state.size + number + 1,  # all before it: the term's start is one of them
        )


def _signature(store: Store, size: int) -> SignatureIssued:
    """Return the newest signature in the ledger."""
    for index in range(size - 1, -1, -1):
        fact = codec.decode(store.read(index, 1)[0])
        if isinstance(fact, SignatureIssued):
            return fact
    raise Corrupt("the ledger has no signature to repeat")
