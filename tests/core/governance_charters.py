"""Charters for the machine of test_governance_machine."""

from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.ids import GroupName, MemberName
from keyvault.core.quorum import parse_quorum
from tests.core.governed import HOUR_MS


def admin(name: str, keys: tuple[bytes, ...]) -> Member:
    return Member(name=MemberName(name), roles=frozenset({Role.ADMIN}), public_keys=keys)


def plain_charter(members: tuple[Member, ...]) -> Charter:
    admins = Group(name=GroupName("admins"), members=frozenset(member.name for member in members))
    risk = Group(name=GroupName("risk"), members=frozenset({MemberName("bob"), MemberName("carol")}))
    one = parse_quorum("1 of admins")
    thresholds = tuple(
        Threshold(duty=duty, quorum=one, delay_ms=HOUR_MS if duty is Duty.POLICY_LOOSEN else 0)
        for duty in Duty
        if duty is not Duty.BREAK_GLASS
    )
    return Charter(version=1, members=members, groups=(admins, risk), thresholds=thresholds)
