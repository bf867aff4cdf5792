"""Which entries of a ledger one of them rests on, and a bundle of evidence of them.

One pass over the ledger keeps, for every proposal, where it is spoken of, and what it was about once it was carried
out; the tree is built beside it. Then the few entries that are needed are read again. Nothing is believed: the bundle
is checked like anybody else's before it is given out.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from keyvault.core.errors import Corrupt, Malformed, NotFound
from keyvault.core.events import (
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
    TokenJoined,
    TokenLeft,
)
from keyvault.core.familiar import Familiar
from keyvault.core.state import split_key_name
from keyvault.core.statements import FreezeScope, decode_statement, proposal_id_of
from keyvault.ledger.account import replay
from keyvault.ledger.checkpoint import open_in_any, origin
from keyvault.ledger.codec import decode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import Bundle, Evidence, Proven, check_evidence, format_bundle
from keyvault.ledger.merkle import BLOCK_LEAVES, Tree, leaf_hash
from keyvault.ledger.note import Verifier, verifier
from keyvault.ledger.verify import Row

NAME_CHARS_MIN = 8
"""Shortest beginning of a proposal's name that is taken for it."""
_NAME_CHARS = 64

_Matter = tuple[str, str]
"""What facts have to do with each other: the rules of all, one key, or one freeze."""
_RULES: _Matter = ("rules", "")


class Entries(Protocol):
    """A ledger that can be read from any place (``archive.Archive``)."""

    checkpoints: list[tuple[int, bytes]]

    def rows(self, start: int = 0) -> Iterator[Row]:
        """Give the entries from index ``start``."""


@dataclass(slots=True)
class _Map:
    """Where the ledger speaks of what, up to the entry that is looked for."""

    genesis: bytes = b""
    tree: Tree = field(default_factory=Tree)
    terms: list[int] = field(default_factory=list)
    places: dict[bytes, list[int]] = field(default_factory=dict)
    familiar: Familiar = field(default_factory=Familiar)
    matters: dict[_Matter, list[tuple[int, bytes]]] = field(default_factory=dict)


def evidence_of(
    entries: Entries, *, index: int | None = None, proposal: str | None = None, key: Verifier | None = None
) -> tuple[bytes, Evidence]:
    """Return the bundle about entry ``index``, or about the last entry that speaks of a proposal, and what it shows.

    ``proposal`` is its name: 64 hex digits, or a beginning of at least 8 that only one has. ``key`` is the log key that
    the ledger must have; without it the one that entry 0 gives is used. Raises NotFound, Malformed, Corrupt,
    Unproven.
    """
    if not entries.checkpoints:
        raise NotFound("the ledger has no checkpoint yet, so there is nothing that evidence could be held against")
    size, note = entries.checkpoints[-1]
    seen = _read(entries, size, size - 1 if index is None else index)
    subject = _last_place(seen, proposal) if index is None else index
    if subject >= size:
        raise NotFound(f"the newest checkpoint covers {size} entries: entry {subject} is not there, or not covered yet")
    chosen = _chosen(entries, seen, subject)
    blocks = _Blocks(entries)
    proven = tuple(
        Proven(index=each, body=body, proof=tuple(seen.tree.inclusion_proof(each, size, blocks)))
        for each, body in chosen.items()
    )
    own = verifier(
        origin(_genesis(seen.genesis).enclave, leaf_hash(seen.genesis)), _genesis(seen.genesis).log_public_key
    )
    open_in_any(note, key or own)
    data = format_bundle(Bundle(note=note, entries=proven), replay(list(chosen.items())))
    return data, check_evidence(data, key or own)


def _read(entries: Entries, size: int, last: int) -> _Map:
    """Read what the checkpoint covers, and note where what is spoken of, up to the last entry that can be needed."""
    seen = _Map()
    pending: list[bytes] = []
    for row in islice(entries.rows(), size):
        if row.index != seen.tree.size + len(pending):
            raise Corrupt("entries are missing: verify the ledger first", index=row.index)
        if row.index <= last:
            _note(seen, row)
        pending.append(leaf_hash(row.body))
        if len(pending) == BLOCK_LEAVES:
            seen.tree.extend(pending)
            pending = []
    seen.tree.extend(pending)
    if seen.tree.size != size:
        raise Corrupt(f"the ledger has {seen.tree.size} entries, its checkpoint covers {size}: verify it first")
    return seen


def _note(seen: _Map, row: Row) -> None:
    event = decode(row.body)
    if isinstance(event, Genesis):
        seen.genesis = row.body
    if isinstance(event, TermStarted):
        seen.terms.append(row.index)
    if isinstance(event, SignatureIssued):
        seen.familiar.saw(split_key_name(event.request.key)[0], event.effects, row.index, event.at)
        seen.familiar.slots.fill(event.slot, event.effects, row.index)
    name = _proposal_of(event)
    if name is None:
        return
    seen.places.setdefault(name, []).append(row.index)
    for matter in _matters_of(event):
        seen.matters.setdefault(matter, []).append((row.index, name))


def _proposal_of(event: Event) -> bytes | None:
    """Return the proposal that the entry speaks of; a word that was not taken is no part of it."""
    match event:
        case ProposalMade() | SignatureEscalated():
            return proposal_id_of(event.statement)
        case Genesis() | TermStarted() | ChangeRefused() | SignatureRefused() | KeySealed() | KeyProved():
            return None
        case _:
            return event.proposal or None


def _matters_of(event: Event) -> tuple[_Matter, ...]:
    """Return what a later fact could rest on here."""
    match event:
        case CharterChanged() | PolicyPublished() | IncarnationStarted() | PairSet():
            return (_RULES,)
        case KeyCreated() | KeyStateChanged() | KeyDestroyed():
            return (("key", event.key),)
        case FreezeChanged():
            return ((event.scope.value, event.name),)
        case TokenJoined() | TokenLeft():
            return (("node", event.node),)
        case _:
            return ()


def _needed(parameters: Mapping[str, str]) -> Iterator[_Matter]:
    """Yield what a proposal with these parameters rests on."""
    yield _RULES
    if "key" in parameters:
        yield ("key", parameters["key"])
    if "node" in parameters:
        yield ("node", parameters["node"])
    if "scope" in parameters:
        yield (parameters["scope"], parameters["name"])
        if parameters["scope"] == FreezeScope.KEY:
            yield ("key", parameters["name"])


def _last_place(seen: _Map, name: str | None) -> int:
    text = (name or "").rpartition("/")[2]
    if not NAME_CHARS_MIN <= len(text) <= _NAME_CHARS or not set(text) <= set("0123456789abcdef"):
        raise Malformed(
            "proposal", f"is named by {_NAME_CHARS} hex digits, or the first of them, {NAME_CHARS_MIN} at least"
        )
    found = [places for each, places in seen.places.items() if each.hex().startswith(text)]
    if len(found) != 1:
        raise NotFound(f"{len(found) or 'no'} proposals in the ledger have a name that begins with {text}")
    return found[0][-1]


def _chosen(entries: Entries, seen: _Map, subject: int) -> dict[int, bytes]:
    """Return the entries that the subject rests on, and itself, by place."""
    last = decode(_body(entries, subject))
    about = _proposal_of(last)
    if about is None:
        raise Malformed("index", f"entry {subject} is about no proposal: there is nothing that members decided")
    made = decode(_body(entries, seen.places[about][0]))
    if not isinstance(made, ProposalMade | SignatureEscalated):
        raise Unproven(f"entry {seen.places[about][0]} speaks of a proposal that nobody made: verify the ledger")
    parameters = dict(decode_statement(made.statement).parameters)
    rests_on = [each for matter in _needed(parameters) for each in seen.matters.get(matter, ())]
    names = {about} | {name for place, name in rests_on if place < subject}
    places = {place for name in names for place in seen.places[name] if place <= subject}
    places |= {0} | _terms(seen, places) | _history(seen, made, last)
    return {place: _body(entries, place) for place in sorted(places)}


def _history(seen: _Map, made: Event, last: Event) -> frozenset[int]:
    """Return the signatures on which rests what was known of destinations and slot, when members were asked and later.

    Both facts name how many entries they knew, and stand behind all of these.
    """
    about = [event for event in (made, last) if isinstance(event, SignatureEscalated | SignatureIssued)]
    first = (seen.familiar.slots.origin(event.slot, event.known) for event in about)
    return frozenset(index for index in first if index is not None).union(
        *(
            seen.familiar.origins(effect.operation, effect.destination, event.known)
            for event in about
            for effect in event.effects
            if effect.destination is not None
        )
    )


def _terms(seen: _Map, places: set[int]) -> set[int]:
    """Return where the terms start in which these entries stand."""
    following = {bisect(seen.terms, place) for place in places}
    return {seen.terms[number - 1] for number in following if number}


def _body(entries: Entries, index: int) -> bytes:
    row = next(entries.rows(index), None)
    if row is None or row.index != index:
        raise Corrupt(f"entry {index} cannot be read again", index=index)
    return row.body


def _genesis(body: bytes) -> Genesis:
    genesis = decode(body) if body else None
    if not isinstance(genesis, Genesis):
        raise Corrupt("entry 0 is not the genesis: verify the ledger", index=0)
    return genesis


class _Blocks:
    """Leaf hashes of full blocks, read when they are needed; the last one is kept."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._number = -1
        self._leaves: Sequence[bytes] = ()

    def __call__(self, number: int) -> Sequence[bytes]:
        """Return the hashes of block ``number``."""
        if number != self._number:
            rows = islice(self._entries.rows(number * BLOCK_LEAVES), BLOCK_LEAVES)
            self._leaves = [leaf_hash(row.body) for row in rows]
            self._number = number
        return self._leaves
