"""The auditor's verifier: everything about a ledger that can be recomputed is recomputed.

For every entry: it decodes, follows from all before it (so that every change, and every signature that policy leaves
to members, was approved by enough of them, by their own signatures, under the charter of that moment), its request key
is new, its signature is the key's, the policy in force allows its effects by the rules that it names, and a signature
that members approved is not dated back to a time at which their approval had not ended yet. For every checkpoint: the
log key of entry 0 signed it, under the name of the incarnation that the entries have reached, and its root is the root
of the entries. What a checkpoint covers, nobody changes unnoticed; between the last two that agree and do not agree
lies what was changed. A ledger with answers that no checkpoint covers is not genuine. What was cut off together with
its checkpoints is found only by a checkpoint that was kept elsewhere.

Whether ``signing_input`` and the effects are what the payload means is looked at where the decoders of
keyvault.intents are given; without them only a raw digest is compared. Not looked at: limits over windows (what else
was under way at the decision is not recorded), and HMAC signatures (that needs the secret).

Memory: a request key for each entry, about 120 bytes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import (
    Event,
    Genesis,
    KeyCreated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.state import State, find_key, split_key_name
from keyvault.ledger import checkpoint
from keyvault.ledger.checkpoint import Checkpoint
from keyvault.ledger.codec import decode, key_of
from keyvault.ledger.cosigners import Policy, Reach
from keyvault.ledger.errors import Unproven
from keyvault.ledger.judge import Reader, dated_back, misjudged, misread
from keyvault.ledger.kept import KeptCheckpoints
from keyvault.ledger.log_key import LogKey
from keyvault.ledger.merkle import BLOCK_LEAVES, Tree, leaf_hash
from keyvault.ledger.note import Verifier, parse_vkey
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.signatures import misproved, verify_signature
from keyvault.ledger.tally import Tally

PROGRESS_ENTRIES = 4_096
_BEFORE_FIRST_CHECKPOINT = {Genesis.__name__, TermStarted.__name__}

Progress = Callable[[int], None]
"""Called with the number of entries read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry and where it stood. ``request_key`` counts only if ``has_request_key``: an export has none."""

    index: int
    body: bytes
    request_key: bytes | None = None
    has_request_key: bool = False


def verify(
    entries: Iterable[bytes],
    checkpoints: Iterable[tuple[int, bytes]],
    *,
    expected_vkey: str | None = None,
    expected_head: tuple[int, bytes] | None = None,
    kept: Sequence[bytes] = (),
    cosigners: Policy | None = None,
    read: Reader | None = None,
    progress: Progress | None = None,
) -> Report:
    """Return what an audit of these entries and of (size, note) checkpoints finds.

    ``expected_vkey`` is the log key that the auditor was given by another way than the ledger; ``expected_head`` is a
    (size, root) that the entries must have; ``kept`` are notes of checkpoints that the auditor kept; ``cosigners`` must
    vouch for some of the entries; ``read`` decodes payloads again: without it, what a signature does is the server's
    word. Raises Malformed if ``expected_vkey`` is no key; never for what is wrong with the ledger.
    """
    rows = (Row(index=index, body=body) for index, body in enumerate(entries))
    return verify_rows(
        rows,
        checkpoints,
        expected_vkey=expected_vkey,
        expected_head=expected_head,
        kept=kept,
        cosigners=cosigners,
        read=read,
        progress=progress,
    )


def verify_rows(
    rows: Iterable[Row],
    checkpoints: Iterable[tuple[int, bytes]],
    *,
    expected_vkey: str | None = None,
    expected_head: tuple[int, bytes] | None = None,
    kept: Sequence[bytes] = (),
    cosigners: Policy | None = None,
    read: Reader | None = None,
    progress: Progress | None = None,
) -> Report:
    """Like ``verify`` for entries that know their place. Corrupt from ``rows`` is a problem, and the end of them."""
    audit = _Audit(
        checkpoints,
        None if expected_vkey is None else parse_vkey(expected_vkey),  # an empty one is no key, and not no pin
        KeptCheckpoints(kept),
        cosigners,
        read,
    )
    try:
        for row in rows:
            if not audit.take(row):
                break
            if progress and audit.size % PROGRESS_ENTRIES == 0:
                progress(audit.size)
    except Corrupt as error:
        audit.stop(error)
    audit.finish(expected_head)
    return audit.report()


class _Audit:
    """An audit under way: a replay of the facts, and a tree that is compared with the checkpoints."""

    def __init__(
        self,
        checkpoints: Iterable[tuple[int, bytes]],
        expected: Verifier | None,
        kept: KeptCheckpoints,
        cosigners: Policy | None,
        read: Reader | None,
    ) -> None:
        self.size = 0
        self._payload_reader = read
        self._kept = kept
        self._reach = Reach(cosigners)
        self._log_key = LogKey(expected)
        self._state = State.empty()
        self._follows = True
        self._whole = True
        self._folded = 0
        self._keys: dict[tuple[str, int], tuple[KeyAlgorithm, bytes]] = {}
        self._requests: set[bytes] = set()
        self._tree = Tree()
        self._pending: list[bytes] = []
        self._checkpoints = iter(checkpoints)
        self._next = next(self._checkpoints, None)
        self._last_size = -1
        self._covered = 0
        self._agrees = True
        self._disagreeing = 0
        self._counts: Counter[str] = Counter()
        self._tally = Tally()
        self._problems: list[Problem] = []
        self._left_out = 0

    def add(self, index: int | None, sentence: str | None, *, last: int | None = None) -> None:
        """Note a problem, if there is one."""
        if not sentence:
            return
        if len(self._problems) < limits.PROBLEMS_MAX:
            self._problems.append(Problem(index=index, last=last, sentence=sentence))
        else:
            self._left_out += 1

    def stop(self, error: Corrupt) -> None:
        """Note that the entries cannot be read to their end."""
        self._whole = False
        self.add(self.size if error.index is None else error.index, f"the ledger cannot be read further: {error}")

    # Entries ------------------------------------------------------------------------------------------------------

    def take(self, row: Row) -> bool:
        """Look at the next entry; return False if it is not the next one, so that nothing after it can be judged."""
        if self.size == 0:
            self._checkpoints_at(0)
        if row.index != self.size:
            self._misplaced(row.index)
            self._whole = False
            return False
        self._pending.append(leaf_hash(row.body))
        self.size += 1
        if self._follows:
            self._replay(row)
        if len(self._pending) == BLOCK_LEAVES:
            self._flush()
        self._checkpoints_at(self.size)
        return True

    def _misplaced(self, index: int) -> None:
        if index < self.size:
            self.add(index, f"an entry stands at index {index}, where none belongs")
            return
        one = index - 1 == self.size
        names = f"entry {self.size} is missing" if one else f"entries {self.size}..{index - 1} are missing"
        self.add(self.size, f"{names}: the next one that is there is entry {index}", last=None if one else index - 1)

    def _replay(self, row: Row) -> None:
        """Decode and apply the entry; the replay ends at the first that does not follow."""
        latest_at = self._state.latest_at
        try:
            event = decode(row.body)
            apply(self._state, row.index, event)
        except Corrupt as error:
            self._follows = False
            self.add(row.index, f"entry {row.index}: {error}")
            return
        except Exception as error:  # noqa: BLE001 (an entry made to crash the auditor must be a finding, not a crash)
            self._follows = False
            self.add(row.index, f"entry {row.index} cannot be applied: {type(error).__name__}: {error}")
            return
        self._folded += 1
        self._tally.note(row.index, event)
        self._check_request_key(row, event)
        self._check_event(row, event)
        wrong = dated_back(event, latest_at) or misproved(self._state, event)
        if wrong:
            self.add(row.index, f"entry {row.index}: {wrong}")

    def _check_request_key(self, row: Row, event: Event) -> None:
        key = key_of(event)
        if row.has_request_key and row.request_key != key:
            self.add(row.index, f"entry {row.index} stands in the request index under a key that is not its own")
        if key is None:
            return
        if key in self._requests:
            self.add(row.index, f"entry {row.index} answers a request or uses a statement that an earlier entry has")
        self._requests.add(key)

    def _check_event(self, row: Row, event: Event) -> None:
        match event:
            case SignatureIssued():
                self._check_signature(row.index, event)
            case SignatureRefused():
                self._counts["refusals"] += 1
            case Genesis():
                self.add(0, self._log_key.learn(row.body, event, self._next))
            case KeyCreated():
                self._keys[event.key, event.version] = (event.algorithm, event.public_key)
            case _:
                pass

    def _check_signature(self, index: int, event: SignatureIssued) -> None:
        key, _ = split_key_name(event.request.key)
        algorithm, public_key = self._keys[key, event.key_version]
        wrong = misjudged(self._state.rules, self._state.familiar, key, algorithm, event)
        if not wrong and self._payload_reader:
            wrong = misread(event, find_key(self._state, key, event.key_version), self._payload_reader)
        if wrong:
            self.add(index, f"entry {index}: {wrong}")
        try:
            known = verify_signature(algorithm, public_key, event.signing_input, event.signature)
        except Unproven as error:
            self.add(index, f"entry {index}: signature by key {key} version {event.key_version}: {error}")
            return
        self._counts["signatures" if known else "unverifiable"] += 1

    # Checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoints_at(self, size: int) -> None:
        if self._kept.wants(size):
            self._flush()
            self._kept.saw(size, self._tree.root())
        while self._next is not None and self._next[0] <= size:
            stated, note = self._next
            self._next = next(self._checkpoints, None)
            found = self._open(stated, note)
            if found and self._compare(found):
                self.add(None, self._reach.saw(found.size, note))

    def _open(self, stated: int, note: bytes) -> Checkpoint | None:
        """Return the checkpoint if it is signed, for this size and after the one before; else note the problem."""
        key = self._log_key.at(stated, self._state.incarnations)
        if key is None:
            self.add(None, f"checkpoint {stated} cannot be checked: entry 0 does not give the log key")
            return None
        try:
            found = checkpoint.open_checkpoint(note, key)
        except (Malformed, Unproven) as error:
            self.add(None, f"checkpoint {stated} is not what the log key {key.vkey} signed: {error}")
            return None
        if found.size != stated:
            self.add(None, f"checkpoint {stated} is the checkpoint of size {found.size}")
            return None
        if found.size <= self._last_size:
            self.add(None, f"checkpoint {found.size} stands after checkpoint {self._last_size}")
            return None
        self._last_size = found.size
        return found

    def _compare(self, found: Checkpoint) -> bool:
        if not self._agrees:
            self._disagreeing += 1
            return False
        self._flush()
        if found.root == self._tree.root():
            self._covered = found.size
            self._counts["checkpoints"] += 1
            return True
        self._agrees = False
        self._changed(found.size, f"the root that checkpoint {found.size} signs differs from theirs")
        return False

    def _changed(self, size: int, reason: str) -> None:
        first, last = self._covered, size - 1
        names = (
            f"entry {first} was changed or replaced"
            if first == last
            else (f"entries {first}..{last} were changed, removed, added or reordered")
        )
        self.add(first, f"{names}: {reason}", last=last)

    def _flush(self) -> None:
        self._tree.extend(self._pending)
        self._pending = []

    # The end ------------------------------------------------------------------------------------------------------

    def finish(self, expected_head: tuple[int, bytes] | None) -> None:
        """Look at what must be there after the last entry."""
        self._flush()
        if self.size == 0:
            self.add(0, "entry 0, the genesis, is missing")
        for stated, note in self._rest():
            found = self._open(stated, note)
            if found:
                self._cut_off(found)
        if self._disagreeing:
            self.add(None, f"{self._disagreeing} later checkpoints could not be compared: the entries differ before")
        if self._whole:
            self._compare_kept()
        if expected_head and self._whole:
            self._compare_head(*expected_head)
        if not self._covered and not self._problems and set(self._tally.facts) - _BEFORE_FIRST_CHECKPOINT:
            self.add(
                None,
                "no checkpoint covers anything: nothing signed vouches for these entries. A server signs one before "
                "its first answer, so checkpoints were deleted",
            )
        self.add(None, self._reach.problem(self._log_key.key))

    def _compare_kept(self) -> None:
        for sentence in self._kept.problems(self._log_key.key, self.size, self._state.incarnations):
            self.add(None, sentence)
        for size, note in self._kept.agreeing():
            self.add(None, self._reach.saw(size, note))

    def _rest(self) -> Iterator[tuple[int, bytes]]:
        while self._next is not None:
            yield self._next
            self._next = next(self._checkpoints, None)

    def _cut_off(self, found: Checkpoint) -> None:
        if self._agrees and self._whole:
            self.add(
                self.size,
                f"entries {self.size}..{found.size - 1} are missing at the end: checkpoint {found.size} covers them",
                last=found.size - 1,
            )
        self._agrees = False

    def _compare_head(self, size: int, root: bytes) -> None:
        if size != self.size:
            self.add(min(size, self.size), f"the ledger has {self.size} entries, its head says {size}")
        elif root != self._tree.root() and self._agrees:
            self._changed(size, "the root that the ledger's own head states differs from theirs")

    def report(self) -> Report:
        """Return what was found."""
        key = self._log_key.at(self.size, self._state.incarnations)
        return Report(
            origin=key.name if key else "",
            log_vkey=key.vkey if key else "",
            entries=self.size,
            folded=self._folded,
            root=self._tree.root(),
            covered=self._covered,
            cosigned=self._reach.found(),
            facts=tuple(sorted(self._tally.facts.items())),
            signatures_verified=self._counts["signatures"],
            payloads_decoded=self._payload_reader is not None,
            unverifiable=self._counts["unverifiable"],
            refusals=self._counts["refusals"],
            power=self._tally.power(),
            checkpoints_verified=self._counts["checkpoints"],
            incarnations=self._state.incarnations,
            problems=tuple(self._problems),
            problems_left_out=self._left_out,
        )
