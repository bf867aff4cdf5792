"""The people of test_governance_machine, and the charters that they can have."""

from hypothesis import strategies as st

from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.ids import GroupName, MemberName
from keyvault.core.quorum import parse_quorum
from tests.core.governed import DAY_MS, HOUR_MS
from tests.worlds import BOT, Person, spki

NAMES = ("alice", "bob", "carol", "dave", "erin")
LABELS = ("first", "spare")
PEOPLE = {(name, label): Person(name) for name in NAMES for label in LABELS}
QUORUMS = ("1 of admins", "2 of admins", "1 of risk", "1 of admins and 1 of risk", "2 of risk or 2 of admins")


def admin(name: str) -> Member:
    """Return an admin with all keys of this person."""
    keys = tuple(spki(PEOPLE[name, label].key) for label in LABELS)
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


@st.composite
def charters(draw: st.DrawFn) -> Charter:
    """A charter of three to five people; most are lawful."""
    members = []
    for place, name in enumerate(draw(st.permutations(NAMES))[: draw(st.integers(3, 5))]):
        labels = draw(st.sampled_from([LABELS, ("first",), ("spare",)] if place > 1 else [LABELS, ("first",)]))
        roles = draw(st.sampled_from([{Role.ADMIN}, {Role.ADMIN, Role.APPROVER}, {Role.APPROVER}, {Role.AUDITOR}]))
        members.append(
            Member(
                name=MemberName(name),
                roles=frozenset(roles if place > 1 else {Role.ADMIN}),
                public_keys=tuple(spki(PEOPLE[name, label].key) for label in labels),
                principals=frozenset({BOT}) if place == 1 and draw(st.booleans()) else frozenset(),
            )
        )
    heard = [member.name for member in members if member.has_voice]
    risk = draw(st.lists(st.sampled_from(heard), min_size=1, unique=True))
    groups = (
        Group(name=GroupName("admins"), members=frozenset(heard)),
        Group(name=GroupName("risk"), members=frozenset(risk)),
    )
    thresholds = []
    for duty in (Duty.CHARTER, Duty.KEY_CREATE, Duty.KEY_ENABLE, Duty.THAW, Duty.POLICY_LOOSEN):
        delay_ms = (
            draw(st.sampled_from([0, 0, HOUR_MS]))
            if duty is not Duty.POLICY_LOOSEN
            else draw(st.sampled_from([HOUR_MS, 2 * HOUR_MS]))
        )
        quorum = parse_quorum(
            draw(st.sampled_from(QUORUMS if duty is not Duty.CHARTER else QUORUMS[-2:] * 2 + QUORUMS))
        )
        thresholds.append(Threshold(duty=duty, quorum=quorum, delay_ms=delay_ms))
    for duty in (Duty.FREEZE, Duty.KEY_DISABLE, Duty.POLICY_TIGHTEN):
        quorum = parse_quorum(draw(st.sampled_from(["1 of admins", "1 of risk"])))
        thresholds.append(Threshold(duty=duty, quorum=quorum))
    if draw(st.booleans()):
        thresholds.append(Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum("3 of admins"), delay_ms=DAY_MS))
    return Charter(version=1, members=tuple(members), groups=groups, thresholds=tuple(thresholds))
