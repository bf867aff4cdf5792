"""The charter that ``keyvault init`` writes where none is given: small enough for a first day, and no one-man show.

Every change needs one more member besides the one who asks; loosening the policy waits as well. What only stops things
(tightening the policy, disabling a key, freezing) one member does alone. Break-glass, where there are members enough
for it, needs two besides the asker and three days; leaving the quarantine needs as many and does not wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keyvault.cli.exits import UsageProblem
from keyvault.core.charter import STRICT, Charter, Duty, Group, Member, Role, Threshold, check_charter
from keyvault.core.errors import Refused
from keyvault.core.ids import GroupName, MemberName, Principal, parse_member_name, parse_principal
from keyvault.core.quorum import Of

EVERYBODY = GroupName("everybody")
ADMINS = GroupName("admins")
TRYING_OUT = ("alice", "bob", "carol:approver")
"""Whom ``init`` makes where nobody is named."""
BREAK_GLASS_DELAY_MS = 72 * 3_600_000
"""Or as long as loosening the policy waits, if that is longer."""

_BREAK_GLASS_PERSONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A member as named on the command line. Without a file of the public key, the key is made here."""

    name: MemberName
    role: Role
    public_key: Path | None

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """Return what ``NAME[=FILE.pub][:ROLE]`` says. Raises UsageProblem or Malformed."""
        rest, colon, word = text.rpartition(":")
        if colon and word in list(Role):
            text, role = rest, Role(word)
        elif colon and "/" not in word and "=" not in word:
            raise UsageProblem(f"--member {text!r}: {word!r} is no role; there is {', '.join(Role)}")
        else:
            role = Role.ADMIN
        name, equals, file = text.partition("=")
        if equals and not file:
            raise UsageProblem(f"--member {text!r}: a file of the public key belongs after =")
        return cls(name=parse_member_name(name), role=role, public_key=Path(file) if file else None)

    def principal(self, trust_domain: str) -> Principal:
        """Return the name of the member's own certificate."""
        return parse_principal(f"spiffe://{trust_domain}/{self.role}/{self.name}")

    def member(self, public_key: bytes, trust_domain: str) -> Member:
        """Return the member with this key, SubjectPublicKeyInfo (DER)."""
        return Member(
            name=self.name,
            roles=frozenset({self.role}),
            public_keys=(public_key,),
            principals=frozenset({self.principal(trust_domain)}),
        )


def first_charter(members: Sequence[Member], *, loosen_delay_ms: int) -> Charter:
    """Return version 1 for these members, or raise UsageProblem if they are too few to rule."""
    charter = Charter(
        version=1,
        members=tuple(members),
        groups=_groups(members),
        thresholds=_thresholds(members, loosen_delay_ms),
    )
    try:
        check_charter(charter)
    except Refused as refused:
        raise UsageProblem(
            f"these members cannot rule: {refused.explanation}. Name at least two with --member, one of them an admin"
        ) from None
    return charter


def _groups(members: Sequence[Member]) -> tuple[Group, ...]:
    admins = frozenset(member.name for member in members if Role.ADMIN in member.roles)
    voices = frozenset(member.name for member in members if member.has_voice)
    named = ((ADMINS, admins), (EVERYBODY, voices))
    return tuple(Group(name=name, members=names) for name, names in named if names)


def _thresholds(members: Sequence[Member], loosen_delay_ms: int) -> tuple[Threshold, ...]:
    one, several = Of(1, EVERYBODY), Of(_BREAK_GLASS_PERSONS, EVERYBODY)
    enough = sum(member.has_voice for member in members) > _BREAK_GLASS_PERSONS
    thresholds = [
        Threshold(duty=duty, quorum=one, delay_ms=loosen_delay_ms if duty is Duty.POLICY_LOOSEN else 0)
        for duty in Duty
        if duty is not Duty.BREAK_GLASS and duty not in STRICT
    ]
    thresholds += [Threshold(duty=duty, quorum=several if enough else one) for duty in Duty if duty in STRICT]
    if enough:
        delay_ms = max(BREAK_GLASS_DELAY_MS, loosen_delay_ms)
        thresholds.append(Threshold(duty=Duty.BREAK_GLASS, quorum=several, delay_ms=delay_ms))
    return tuple(thresholds)
