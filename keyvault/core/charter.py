"""Who rules an enclave: its members, their groups, and how many of whom each duty needs.

Laws:

1. A charter is a whole document with a version; a change is the next version, never a patch.
2. A person is one name. However many keys a person has, they count once; one key never stands under two names.
3. Only members with role admin or approver have a voice, and only they stand in groups. Only admins ask for changes.
4. Whoever asks does not count, except for what may be done at once by one person: tightening the policy, disabling a
   key, freezing. These need a quorum of one and have no delay; everything else needs somebody besides the asker.
5. A duty without a threshold cannot be done by anybody (no is the zero value). The exceptions are leaving the
   quarantine and naming the leader of a pair, without which an enclave would be lost: they take the quorum of
   break-glass, or where nobody can break the glass, that of the charter, and wait as long as a change of the charter.
6. Every threshold can be met by the members there are, with at least one admin left over to ask.
7. Break-glass, which replaces the charter, needs more persons than any other duty and a delay of at least a day, no
   shorter than any other. It is a threshold like the others: there is no way around.
8. Loosening the policy has a delay. A charter that shortens or drops a delay waits for it first, or the delay would be
   worth what a change of the charter costs; and it needs at least as many persons as loosening the policy. Break-glass
   may be dropped at once: a member who has to go may be one too many for it. A duty with a delay that comes anew waits
   for the longest delay there is: it may have had a longer one before it was dropped.
9. Leaving the quarantine forgets what was decided, and so may naming the leader of a pair. They need at least as many
   persons as the charter.
10. Joining a token gives the power over every key away: it needs at least as many persons as the charter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keyvault.core import limits
from keyvault.core.approvals import check_member_key, keyid_of
from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import GroupName, MemberName, Principal
from keyvault.core.quorum import Quorum, group_names, is_met, persons_min, quorum_text


class Role(StrEnum):
    """What a member is there for."""

    ADMIN = "admin"
    """Asks for changes, and has a voice."""
    APPROVER = "approver"
    """Has a voice."""
    AUDITOR = "auditor"
    """Reads; has no voice."""


class Duty(StrEnum):
    """A class of operations that has a threshold of its own; values are the words of charter files."""

    CHARTER = "charter"
    POLICY_LOOSEN = "policy-loosen"
    POLICY_TIGHTEN = "policy-tighten"
    KEY_CREATE = "key-create"
    KEY_IMPORT = "key-import"
    KEY_ROTATE = "key-rotate"
    KEY_ENABLE = "key-enable"
    KEY_DISABLE = "key-disable"
    KEY_DESTROY = "key-destroy"
    KEY_KEEP = "key-keep"
    FREEZE = "freeze"
    THAW = "thaw"
    CEREMONY = "ceremony"
    BREAK_GLASS = "break-glass"
    LEAVE_QUARANTINE = "leave-quarantine"
    TOKEN_JOIN = "token-join"  # noqa: S105  a word, no secret
    PAIR = "pair"


AT_ONCE = frozenset({Duty.POLICY_TIGHTEN, Duty.KEY_DISABLE, Duty.FREEZE})
"""What one member may do alone, at once: it can only stop things."""

STRICT = frozenset({Duty.LEAVE_QUARANTINE, Duty.PAIR})
"""What decides which history goes on; every charter has a threshold for it, whether it says so or not."""

NEEDED = frozenset({Duty.CHARTER, Duty.FREEZE})
"""Without these an enclave could neither be changed nor stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person or machine with approval keys. ``public_keys`` are SubjectPublicKeyInfo (DER), Ed25519 or P-256.

    ``principals`` are the certificates' names under which the person asks for signatures: a member's voice does not
    count for what one of them asked.
    """

    name: MemberName
    roles: frozenset[Role]
    public_keys: tuple[bytes, ...]
    principals: frozenset[Principal] = frozenset()

    @property
    def has_voice(self) -> bool:
        """Whether approvals of this member can count."""
        return Role.ADMIN in self.roles or Role.APPROVER in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Members under one name."""

    name: GroupName
    members: frozenset[MemberName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Who must say yes to a duty, and how long it waits after the last needed yes."""

    duty: Duty
    quorum: Quorum
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """One version of who rules."""

    version: int
    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    thresholds: tuple[Threshold, ...]


class Rulers:
    """A charter made ready: everything that a decision looks up."""

    __slots__ = ("by_keyid", "charter", "groups", "members", "thresholds")

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        self.members: Mapping[MemberName, Member] = {member.name: member for member in charter.members}
        self.by_keyid: Mapping[str, tuple[Member, bytes]] = {
            keyid_of(key): (member, key) for member in charter.members for key in member.public_keys
        }
        self.groups: Mapping[GroupName, frozenset[MemberName]] = {group.name: group.members for group in charter.groups}
        self.thresholds: Mapping[Duty, Threshold] = {each.duty: each for each in charter.thresholds}

    def threshold(self, duty: Duty) -> Threshold:
        """Return what the duty needs, or raise Refused(NOT_AUTHORIZED) if nobody may do it."""
        found = self.thresholds.get(duty)
        if found is None and duty in STRICT:
            return self._strictest(duty)
        if found is None:
            raise Refused(
                Reason.NOT_AUTHORIZED,
                f"charter version {self.charter.version} has no threshold for {duty}: nobody may do it",
            )
        return found

    def _strictest(self, duty: Duty) -> Threshold:
        """Return what a strict duty needs where the charter does not say; see law 5."""
        charter = self.threshold(Duty.CHARTER)
        quorum = self.thresholds.get(Duty.BREAK_GLASS, charter).quorum
        return Threshold(duty=duty, quorum=quorum, delay_ms=charter.delay_ms)

    def may_ask(self, name: MemberName) -> Member:
        """Return the member, or raise Refused(NOT_AUTHORIZED) unless it is one who may ask for changes."""
        member = self.members.get(name)
        if member is None:
            raise Refused(Reason.NOT_AUTHORIZED, f"{name} is not a member of charter version {self.charter.version}")
        if Role.ADMIN not in member.roles:
            raise Refused(Reason.NOT_AUTHORIZED, f"member {name} has no role admin, so it may not ask for changes")
        return member


def change_delay_ms(old: Rulers, new: Charter, duty: Duty) -> int:
    """Return how long the change to a new charter waits: the delay of its ``duty``, and every one that it shortens.

    All that there are, if it brings a duty with a delay that the old one does not have.
    """
    kept = {Duty.BREAK_GLASS: limits.DELAY_MS_MAX} | {each.duty: each.delay_ms for each in new.thresholds}
    brings = any(each.delay_ms and each.duty not in old.thresholds for each in new.thresholds)
    shortened = (each.delay_ms for each in old.charter.thresholds if brings or kept.get(each.duty, 0) < each.delay_ms)
    return max(old.threshold(duty).delay_ms, *shortened, 0)


EMPTY = Rulers(Charter(version=0, members=(), groups=(), thresholds=()))
"""Before the genesis: nobody may do anything."""


def check_charter(charter: Charter) -> None:
    """Raise Refused(STATE_MISMATCH) unless the charter keeps all laws above."""
    _check_members(charter.members)
    names = [group.name for group in charter.groups]
    if len(names) > limits.GROUPS_MAX or len(set(names)) != len(names):
        raise _wrong(f"at most {limits.GROUPS_MAX} groups with different names are permitted")
    rulers = Rulers(charter)
    for group in charter.groups:
        _check_group(group, rulers)
    duties = [each.duty for each in charter.thresholds]
    if len(set(duties)) != len(duties):
        raise _wrong("a duty has two thresholds")
    for duty in sorted(NEEDED - set(duties)):
        raise _wrong(f"{duty} has no threshold: an enclave that nobody can {_purpose(duty)} is not made")
    for threshold in charter.thresholds:
        _check_threshold(threshold, rulers)
    _check_guard(rulers)
    _check_break_glass(rulers)


def check_quorum(quorum: Quorum, rulers: Rulers, what: str) -> None:
    """Raise Refused(STATE_MISMATCH) unless the groups exist and their members can meet the quorum."""
    for name in sorted(group_names(quorum)):
        if name not in rulers.groups:
            raise _wrong(f"{what}: there is no group {name}")
    if not is_met(quorum, rulers.groups, frozenset(rulers.members)):
        raise _wrong(f"{what}: the members there are can never be {quorum_text(quorum)}")


def _check_members(members: tuple[Member, ...]) -> None:
    if not 0 < len(members) <= limits.MEMBERS_MAX or len({member.name for member in members}) != len(members):
        raise _wrong(f"1 to {limits.MEMBERS_MAX} members with different names are needed")
    owners: dict[str, MemberName] = {}
    callers: dict[Principal, MemberName] = {}
    for member in members:
        if not member.roles:
            raise _wrong(f"member {member.name} has no role")
        if not 0 < len(member.public_keys) <= limits.MEMBER_KEYS_MAX:
            raise _wrong(f"member {member.name} needs 1 to {limits.MEMBER_KEYS_MAX} public keys")
        for key in member.public_keys:
            check_member_key(key)
            if owners.setdefault(keyid_of(key), member.name) != member.name or member.public_keys.count(key) > 1:
                raise _wrong(f"key {keyid_of(key)[:16]} of member {member.name} stands under two names or twice")
        if len(member.principals) > limits.MEMBER_PRINCIPALS_MAX:
            raise _wrong(f"member {member.name} has more than {limits.MEMBER_PRINCIPALS_MAX} principals")
        for principal in member.principals:
            if callers.setdefault(principal, member.name) != member.name:
                raise _wrong(f"{principal} is given to two members")


def _check_group(group: Group, rulers: Rulers) -> None:
    if not group.members:
        raise _wrong(f"group {group.name} is empty")
    for name in sorted(group.members):
        if name not in rulers.members:
            raise _wrong(f"group {group.name} names {name}, who is not a member")
        if not rulers.members[name].has_voice:
            raise _wrong(f"group {group.name} names {name}, who is neither admin nor approver")


def _check_threshold(threshold: Threshold, rulers: Rulers) -> None:
    duty, quorum = threshold.duty, threshold.quorum
    if not 0 <= threshold.delay_ms <= limits.DELAY_MS_MAX:
        raise _wrong(f"the delay of {duty} must be 0 to {limits.DELAY_MS_MAX // 3_600_000} hours")
    check_quorum(quorum, rulers, f"threshold of {duty}")
    if duty in AT_ONCE:
        if persons_min(quorum) != 1 or threshold.delay_ms:
            raise _wrong(f"{duty} is for one member at once: a quorum of one, without delay")
        return
    if duty is Duty.POLICY_LOOSEN and not threshold.delay_ms:
        raise _wrong("policy-loosen needs a delay: somebody must have the time to object")
    everybody = frozenset(rulers.members)
    admins = [member.name for member in rulers.charter.members if Role.ADMIN in member.roles]
    if not any(is_met(quorum, rulers.groups, everybody - {admin}) for admin in admins):
        raise _wrong(
            f"{duty} needs {quorum_text(quorum)} besides the admin who asks, and there are not so many members"
        )


def _check_guard(rulers: Rulers) -> None:
    """Refuse a charter that is easier to change than the policy: who changes it can make loosening as easy."""
    loosen = rulers.thresholds.get(Duty.POLICY_LOOSEN)
    if loosen is not None and persons_min(rulers.threshold(Duty.CHARTER).quorum) < persons_min(loosen.quorum):
        raise _wrong(f"charter must need as many persons as policy-loosen, so at least {persons_min(loosen.quorum)}")
    needed = persons_min(rulers.threshold(Duty.CHARTER).quorum)
    for duty in (*sorted(STRICT), Duty.TOKEN_JOIN):
        each = rulers.thresholds.get(duty)
        if each is not None and persons_min(each.quorum) < needed:
            raise _wrong(f"{duty} must need as many persons as charter, so at least {needed}")


def _check_break_glass(rulers: Rulers) -> None:
    glass = rulers.thresholds.get(Duty.BREAK_GLASS)
    if glass is None:
        return
    no_others = {Duty.BREAK_GLASS, *STRICT}  # the latter replace nobody, and may be as strict
    others = [each for each in rulers.charter.thresholds if each.duty not in no_others]
    most = max(persons_min(each.quorum) for each in others)
    if persons_min(glass.quorum) <= most:
        raise _wrong(f"break-glass must need more persons than any other duty, so at least {most + 1}")
    longest = max(limits.BREAK_GLASS_DELAY_MS_MIN, *(each.delay_ms for each in others))
    if glass.delay_ms < longest:
        raise _wrong(f"break-glass must wait at least {longest / 3_600_000:g} hours, as long as any other duty")


def _purpose(duty: Duty) -> str:
    return "stop" if duty is Duty.FREEZE else "change"


def _wrong(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
