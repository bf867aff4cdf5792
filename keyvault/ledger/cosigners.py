"""Whose cosignatures an auditor asks for: C2SP tlog-policy (c2sp.org/tlog-policy), for one ledger.

A policy file has one line for each thing that it defines, the quorum once, what it names before it::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<number> <name>...
    quorum <name>|none

A cosigner that cosigned a checkpoint recomputed every entry below it. So its word reaches as far as the largest one
that it cosigned, and a group's as far as that of as many of its members as it asks for; the checkpoints need not be
the same.

One key counts once, whatever names it has.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.checkpoint import is_same_log
from keyvault.ledger.cosignature import Cosigner, cosignatures, parse_cosigner
from keyvault.ledger.errors import Unproven
from keyvault.ledger.note import Verifier, parse_vkey

_FIELD = "policy"
_NONE = "none"
_LINE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_LOG_WORDS, _WITNESS_WORDS, _GROUP_WORDS_MIN, _QUORUM_WORDS = (2, 3), (3, 4), 4, (2,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many of these members, each a cosigner or a group."""

    needed: int
    members: "tuple[Cosigner | Group, ...]"

    def reach(self, sizes: Mapping[Cosigner, int]) -> int:
        """Return up to how many entries enough members vouch, each up to its size."""
        found = sorted((_reach(each, sizes) for each in self.members), reverse=True)
        return found[self.needed - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The cosigners that an auditor knows, and how many of them are needed; ``logs``: for which ledgers, if named."""

    cosigners: tuple[Cosigner, ...]
    quorum: Group
    logs: tuple[Verifier, ...] = ()

    def is_about(self, log: Verifier) -> bool:
        """Return whether the ledger of this key is meant."""
        return not self.logs or any(is_same_log(each, log) for each in self.logs)

    def __str__(self) -> str:
        """Return what is asked for, in words."""
        flat = all(isinstance(each, Cosigner) for each in self.quorum.members)
        return f"{self.quorum.needed} of {len(self.quorum.members)}{'' if flat else ' groups'}"


def several(vkeys: Sequence[str], required: int | None = None) -> Policy:
    """Return the policy that asks for ``required`` of these cosigners; without it, for all. Raises Malformed."""
    if not 0 < len(vkeys) <= limits.COSIGNERS_MAX:
        raise Malformed("cosigners", f"must be 1 to {limits.COSIGNERS_MAX}")
    cosigners = tuple(map(parse_cosigner, vkeys))
    _check_once(cosigners)
    needed = len(cosigners) if required is None else required
    if not 1 <= needed <= len(cosigners):
        raise Malformed("cosigners", f"{needed} of {len(cosigners)} cannot be required")
    return Policy(cosigners=cosigners, quorum=Group(needed=needed, members=cosigners))


def parse_policy(data: bytes) -> Policy:
    """Return what a policy file says. Raises Malformed, also for one that asks for no cosignature."""
    if len(data) > limits.COSIGNER_POLICY_BYTES_MAX:
        raise Malformed(_FIELD, f"longer than {limits.COSIGNER_POLICY_BYTES_MAX} bytes")
    reading = _Reading()
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        if not _LINE.fullmatch(line):
            raise Malformed(_FIELD, f"line {number} holds a control character")
        words = [word.decode("utf-8", "surrogateescape") for word in re.split(rb"[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            try:
                reading.take(words)
            except Malformed as error:
                raise Malformed(_FIELD, f"line {number}: {error.problem}") from None
    return reading.policy()


@dataclass(slots=True)
class _Reading:
    """What the lines so far defined; a name that has become a member is used."""

    logs: list[Verifier] = field(default_factory=list)
    named: dict[str, Cosigner | Group] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    quorum: Group | None = None

    def take(self, words: Sequence[str]) -> None:
        """Take the next line."""
        match words[0]:
            case "log" if len(words) in _LOG_WORDS:
                self.logs.append(parse_vkey(words[1]))
                _check_once(self.logs)
            case "witness" if len(words) in _WITNESS_WORDS:
                self._name(words[1], parse_cosigner(words[2]))
                _check_once(self._cosigners())
            case "group" if len(words) >= _GROUP_WORDS_MIN:
                self._name(words[1], self._group(words[2], words[3:]))
            case "quorum" if len(words) in _QUORUM_WORDS:
                self._ask_for(words[1])
            case _:
                raise Malformed(
                    _FIELD, f"{words[0][:20]!r} and {len(words) - 1} words after it are no line of a policy"
                )

    def policy(self) -> Policy:
        """Return the whole."""
        if self.quorum is None:
            raise Malformed(_FIELD, "has no quorum line")
        return Policy(cosigners=self._cosigners(), quorum=self.quorum, logs=tuple(self.logs))

    def _name(self, name: str, what: Cosigner | Group) -> None:
        if name in self.named or name == _NONE:
            raise Malformed(_FIELD, f"the name {name[:40]!r} is taken")
        if len(self.named) == limits.COSIGNERS_MAX:
            raise Malformed(_FIELD, f"more than {limits.COSIGNERS_MAX} witnesses and groups")
        self.named[name] = what

    def _group(self, how_many: str, names: Sequence[str]) -> Group:
        counts = {"all": len(names), "any": 1}
        needed = counts.get(how_many) or (int(how_many) if _NUMBER.fullmatch(how_many) else 0)
        if not 1 <= needed <= len(names):
            raise Malformed(_FIELD, f"a group asks for all, any or a number from 1 to {len(names)} of its members")
        for name in names:
            if name in self.used:
                raise Malformed(_FIELD, f"{name[:40]!r} is a member already, and may count once only")
            self.used.add(name)
        return Group(needed=needed, members=tuple(map(self._known, names)))

    def _ask_for(self, name: str) -> None:
        if self.quorum is not None:
            raise Malformed(_FIELD, "there is a quorum line already")
        if name == _NONE:
            raise Malformed(_FIELD, "asks for no cosignature: leave the policy out instead")
        found = self._known(name)
        self.quorum = found if isinstance(found, Group) else Group(needed=1, members=(found,))

    def _known(self, name: str) -> Cosigner | Group:
        if name not in self.named:
            raise Malformed(_FIELD, f"{name[:40]!r} is not defined in a line before")
        return self.named[name]

    def _cosigners(self) -> tuple[Cosigner, ...]:
        return tuple(each for each in self.named.values() if isinstance(each, Cosigner))


class Reach:
    """How far cosignatures reach over a ledger, while it is being recomputed; without a policy nobody asks."""

    def __init__(self, policy: Policy | None) -> None:
        self._policy = policy
        self._sizes = {} if policy is None else dict.fromkeys(policy.cosigners, 0)

    def saw(self, size: int, note: bytes) -> str | None:
        """Take a checkpoint that the log key signed over the first ``size`` entries as they are.

        Return what is wrong with a cosignature on it, in a sentence, or None. Then none of them counts.
        """
        try:
            found = cosignatures(note, self._sizes)
        except Unproven as error:
            return f"checkpoint {size}: {error}"
        self._sizes |= {by: max(self._sizes[by], size) for by in found}
        return None

    def found(self) -> "Cosigned | None":
        """Return how far they reach."""
        if self._policy is None:
            return None
        reached = tuple((by.vkey, size) for by, size in self._sizes.items())
        return Cosigned(asked=str(self._policy), size=self._policy.quorum.reach(self._sizes), reached=reached)

    def problem(self, log: Verifier | None) -> str | None:
        """Return what is wrong, in a sentence, or None: too few vouch for anything, or are asked about another log."""
        found = self.found()
        if found is None or self._policy is None:
            return None
        if log is not None and not self._policy.is_about(log):
            return f"the policy for cosignatures is not about the log key {log.vkey}"
        return None if found.size else f"fewer than {found.asked} cosigners vouch for any entry: {found.each()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """As many cosigners as are ``asked`` for vouch for ``size`` entries. ``reached``: each one's vkey and entries."""

    asked: str
    size: int
    reached: tuple[tuple[str, int], ...]

    @property
    def furthest(self) -> int:
        """Return for how many entries anybody vouches; what comes after is covered by none."""
        return max(size for _, size in self.reached)

    def each(self) -> str:
        """Return what every cosigner vouches for, in words."""
        return ", ".join(
            f"{vkey.partition('+')[0]} {f'for {size}' if size else 'for none'}" for vkey, size in self.reached
        )


def _reach(member: Cosigner | Group, sizes: Mapping[Cosigner, int]) -> int:
    return member.reach(sizes) if isinstance(member, Group) else sizes[member]


def _check_once(keys: Sequence[Cosigner] | Sequence[Verifier]) -> None:
    if len({each.public_key for each in keys}) != len(keys):
        raise Malformed(_FIELD, "one key stands there twice; under another name it is still one")
