"""What several nodes say of one ledger, put together: one note for each size, with every cosignature that counts.

Laws:

1. What the log key did not sign is no answer.
2. Lines are put under one text only if every node gave that very text. Two texts of one size, both signed by the log
   key, are two histories (I5): nothing is put together then, and both notes are what shows it.
3. Only lines of known cosigners are taken over, and only what verifies: a node cannot spoil the line of another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keyvault.core.errors import Malformed
from keyvault.ledger.checkpoint import Checkpoint, in_incarnation, open_checkpoint, split_origin
from keyvault.ledger.cosignature import Cosigner, cosignatures, said_at
from keyvault.ledger.errors import TwoHistories, Unproven
from keyvault.ledger.merkle import verify_consistency
from keyvault.ledger.note import NoteSignature, Verifier, format_note, parse_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A checkpoint that ``who`` gave, signed by the log key."""

    who: str
    checkpoint: Checkpoint
    note: bytes
    cosigned: dict[Cosigner, NoteSignature]
    log: NoteSignature

    @property
    def cosigned_at_s(self) -> int:
        """When the newest of the cosignatures was made, as it says, in POSIX seconds; 0 if there is none."""
        return max(map(said_at, self.cosigned.values()), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What a node gave to show that ``newest`` extends the ledger of ``old_size`` entries."""

    old_size: int
    hashes: tuple[bytes, ...]
    newest: Answer


def answer(who: str, note: bytes, log: Verifier, known: Iterable[Cosigner]) -> Answer:
    """Return what somebody's note says. Raises Unproven and Malformed if it shows nothing."""
    key = in_incarnation(log, note)
    found = open_checkpoint(note, key)
    lines = parse_note(note).signatures
    own = next(line for line in lines if (line.name, line.key_id) == (key.name, key.key_id))
    return Answer(who=who, checkpoint=found, note=note, cosigned=cosignatures(note, known), log=own)


def merged(answers: Sequence[Answer]) -> list[Answer]:
    """Return one answer for each incarnation and size, the smallest first. Raises TwoHistories."""
    by_size: dict[tuple[int, int], list[Answer]] = {}
    for each in answers:
        _, incarnation = split_origin(each.checkpoint.origin)
        by_size.setdefault((incarnation, each.checkpoint.size), []).append(each)
    return [_merged(by_size[size]) for size in sorted(by_size)]


def check_one_history(smaller: Sequence[Answer], shown: Sequence[Extension]) -> None:
    """Raise TwoHistories unless each of ``smaller`` is extended by what was shown for it, and all that by one tree.

    Raises Unproven if what was shown is of different sizes: then it has to be asked for again.
    """
    if len({each.newest.checkpoint.size for each in shown}) != 1 or len(smaller) != len(shown):
        raise Unproven("the newest checkpoint changed while it was compared with others")
    merged([each.newest for each in shown])
    for each, extension in zip(smaller, shown, strict=True):
        newest = extension.newest.checkpoint
        try:
            verify_consistency(
                old_size=each.checkpoint.size,
                old_root=each.checkpoint.root,
                size=newest.size,
                root=newest.root,
                proof=extension.hashes,
            )
        except (Unproven, Malformed):
            raise TwoHistories((each.who, each.note), (extension.newest.who, extension.newest.note)) from None


def _merged(same: Sequence[Answer]) -> Answer:
    first, cosigned = same[0], dict(same[0].cosigned)
    for each in same[1:]:
        if each.checkpoint != first.checkpoint:
            raise TwoHistories((first.who, first.note), (each.who, each.note))
        cosigned |= {by: line for by, line in each.cosigned.items() if by not in cosigned}
    text = parse_note(first.note).text
    return Answer(
        who=", ".join(each.who for each in same),
        checkpoint=first.checkpoint,
        note=format_note(text, (first.log, *cosigned.values())),
        cosigned=cosigned,
        log=first.log,
    )
