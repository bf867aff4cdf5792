"""Who rules an enclave: each law of a charter, and each refusal."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.charter import (
    AT_ONCE,
    EMPTY,
    Charter,
    Duty,
    Group,
    Member,
    Role,
    Rulers,
    Threshold,
    change_delay_ms,
    check_charter,
)
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.ids import GroupName, MemberName, Principal
from keyvault.core.quorum import parse_quorum
from tests.worlds import BOT, OTHER_BOT, Person, charter, people, spki

HOUR_MS = 3_600_000
ALICE, BOB, CAROL = people("alice", "bob", "carol")
DAVE = Person("dave", roles=frozenset({Role.APPROVER}))
ERIN = Person("erin", roles=frozenset({Role.AUDITOR}))
P256 = Person("pat", key=ec.generate_private_key(ec.SECP256R1()))


def refused(wrong: Charter) -> str:
    with pytest.raises(Refused) as caught:
        check_charter(wrong)
    assert caught.value.reason is Reason.STATE_MISMATCH
    return str(caught.value)


def needs(duty: Duty, quorum: str, delay_ms: int = 0) -> dict[Duty, str | Threshold]:
    return {duty: Threshold(duty=duty, quorum=parse_quorum(quorum), delay_ms=delay_ms)}


def test_a_charter_that_keeps_all_laws_stands() -> None:
    """Ed25519 and P-256 keys, all roles, groups and duties."""
    check_charter(charter(ALICE, BOB, DAVE, ERIN, P256, groups={"risk": ("bob", "dave")}))


# Law 2: a person is one name ------------------------------------------------------------------------------------------


def test_one_key_never_stands_under_two_names() -> None:
    """Nor twice under one name."""
    assert "two names" in refused(charter(ALICE, Person("bob", key=ALICE.key)))
    twice = dataclasses.replace(ALICE.member, public_keys=(spki(ALICE.key), spki(ALICE.key)))
    assert "twice" in refused(charter(members=(twice, BOB.member)))


def test_a_name_stands_once() -> None:
    """Two members of one name, or two groups, are refused."""
    assert "different names" in refused(charter(ALICE, BOB, Person("bob")))
    assert "different names" in refused(charter(ALICE, BOB, groups={"admins": ("alice",)}))


def test_a_member_has_one_to_eight_keys() -> None:
    """None, or more than MEMBER_KEYS_MAX, is refused; all of them lead to the same person."""
    keys = tuple(spki(Person("x").key) for _ in range(limits.MEMBER_KEYS_MAX + 1))
    full = dataclasses.replace(ALICE.member, public_keys=keys[:-1])
    check_charter(charter(members=(full, BOB.member)))
    assert {member.name for member, _ in Rulers(charter(members=(full,))).by_keyid.values()} == {"alice"}
    for count in (0, limits.MEMBER_KEYS_MAX + 1):
        wrong = dataclasses.replace(ALICE.member, public_keys=keys[:count])
        assert "public keys" in refused(charter(members=(wrong, BOB.member)))


def test_other_kinds_of_keys_are_not_taken() -> None:
    """RSA, another curve, or no key at all: malformed."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    ders = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (rsa_key, other_curve)]
    for der in (*ders, b"", spki(ALICE.key)[:-1]):
        member = dataclasses.replace(ALICE.member, public_keys=(der,))
        with pytest.raises(Malformed, match="public_keys"):
            check_charter(charter(members=(member, BOB.member)))


def test_a_principal_is_linked_to_one_member() -> None:
    """Else one certificate's asker could be counted as somebody else; and there are at most eight."""
    linked = [dataclasses.replace(person.member, principals=frozenset({BOT})) for person in (ALICE, BOB)]
    assert "given to two members" in refused(charter(members=tuple(linked)))
    check_charter(charter(members=(linked[0], dataclasses.replace(BOB.member, principals=frozenset({OTHER_BOT})))))
    many = frozenset(Principal(f"spiffe://d/bot/b{n}") for n in range(limits.MEMBER_PRINCIPALS_MAX + 1))
    assert "principals" in refused(charter(members=(dataclasses.replace(ALICE.member, principals=many), BOB.member)))


# Law 3: voices ----------------------------------------------------------------------------------------------------


def test_only_members_with_a_voice_stand_in_groups() -> None:
    """An auditor, a stranger, or nobody at all makes no group."""
    assert "neither admin nor approver" in refused(charter(ALICE, BOB, ERIN, groups={"risk": ("bob", "erin")}))
    assert "not a member" in refused(charter(ALICE, BOB, groups={"risk": ("mallory",)}))
    assert "empty" in refused(charter(ALICE, BOB, groups={"risk": ()}))


def test_a_member_has_a_role() -> None:
    """No role, no member; and a charter has members."""
    nobody = dataclasses.replace(DAVE.member, roles=frozenset())
    assert "no role" in refused(charter(members=(ALICE.member, BOB.member, nobody)))
    assert "members" in refused(Charter(version=1, members=(), groups=(), thresholds=()))


def test_only_admins_ask() -> None:
    """An approver or a stranger may not; before the genesis nobody may."""
    rulers = Rulers(charter(ALICE, BOB, DAVE))
    assert rulers.may_ask(MemberName("alice")) == ALICE.member
    for name, of in (("dave", rulers), ("mallory", rulers), ("alice", EMPTY)):
        with pytest.raises(Refused) as caught:
            of.may_ask(MemberName(name))
        assert caught.value.reason is Reason.NOT_AUTHORIZED


# Law 4: at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duty", sorted(AT_ONCE))
def test_what_stops_things_is_for_one_member_at_once(duty: Duty) -> None:
    """A quorum of two, or a delay, is refused; so is nothing else in that place."""
    assert "at once" in refused(charter(ALICE, BOB, CAROL, thresholds=needs(duty, "2 of admins")))
    assert "at once" in refused(charter(ALICE, BOB, thresholds=needs(duty, "1 of admins", 1)))
    check_charter(charter(ALICE, BOB, DAVE, groups={"watch": ("dave",)}, thresholds=needs(duty, "1 of watch")))


def test_the_duties_of_one_member_only_stop_things() -> None:
    """Nobody adds a duty that gives something to what one member does alone."""
    assert {Duty.POLICY_TIGHTEN, Duty.KEY_DISABLE, Duty.FREEZE} == AT_ONCE


# Laws 5 and 6: thresholds -------------------------------------------------------------------------------------------


def test_a_duty_without_a_threshold_is_nobodys() -> None:
    """No is the zero value; but without charter and freeze an enclave could be neither changed nor stopped."""
    rulers = Rulers(charter(ALICE, BOB, thresholds={Duty.KEY_CREATE: ""}))
    check_charter(rulers.charter)
    with pytest.raises(Refused, match="nobody may do it") as caught:
        rulers.threshold(Duty.KEY_CREATE)
    assert caught.value.reason is Reason.NOT_AUTHORIZED
    assert "nobody can change" in refused(charter(ALICE, BOB, thresholds={Duty.CHARTER: ""}))
    assert "nobody can stop" in refused(charter(ALICE, BOB, thresholds={Duty.FREEZE: ""}))


def test_a_duty_has_one_threshold() -> None:
    """Two of them would leave it to chance which counts."""
    good = charter(ALICE, BOB)
    twice = dataclasses.replace(good, thresholds=(*good.thresholds, good.thresholds[0]))
    assert "two thresholds" in refused(twice)


def test_every_threshold_can_be_met_without_the_admin_who_asks() -> None:
    """N of N leaves nobody to ask; a group that is not there, or too small, meets nothing."""
    assert "besides the admin who asks" in refused(charter(ALICE, BOB, thresholds=needs(Duty.CHARTER, "2 of admins")))
    check_charter(charter(ALICE, BOB, CAROL, thresholds=needs(Duty.CHARTER, "2 of admins")))
    assert "besides the admin" in refused(charter(ALICE, thresholds=needs(Duty.THAW, "1 of admins")))
    assert "no group risk" in refused(charter(ALICE, BOB, thresholds=needs(Duty.CHARTER, "1 of risk")))
    assert "can never be" in refused(charter(ALICE, BOB, thresholds=needs(Duty.CHARTER, "3 of admins")))
    only_approvers = charter(Person("a", roles=frozenset({Role.APPROVER})), DAVE)
    assert "besides the admin" in refused(only_approvers)


@pytest.mark.parametrize("delay_ms", [-1, limits.DELAY_MS_MAX + 1])
def test_a_delay_fits_into_the_life_of_a_proposal(delay_ms: int) -> None:
    """Longer, nothing would ever be carried out."""
    assert "delay" in refused(charter(ALICE, BOB, thresholds=needs(Duty.KEY_CREATE, "1 of admins", delay_ms)))
    assert limits.DELAY_MS_MAX < limits.PROPOSAL_LIFE_MS_MAX


# Law 7: break-glass -------------------------------------------------------------------------------------------------


def glass(quorum: str, delay_ms: int = 24 * HOUR_MS, **others: Threshold) -> Charter:
    thresholds = needs(Duty.BREAK_GLASS, quorum, delay_ms)
    thresholds |= {other.duty: other for other in others.values()}
    return charter(ALICE, BOB, CAROL, DAVE, thresholds=thresholds)


def test_break_glass_needs_more_persons_than_any_other_duty() -> None:
    """As many are refused, also where only one way through its quorum is as short."""
    check_charter(glass("2 of admins"))
    assert "more persons" in refused(glass("1 of admins"))
    assert "more persons" in refused(glass("3 of admins or 1 of admins"))
    two = Threshold(duty=Duty.THAW, quorum=parse_quorum("2 of admins"))
    assert "at least 3" in refused(glass("2 of admins", thaw=two))
    check_charter(glass("3 of admins", thaw=two))


def test_break_glass_waits_a_day_and_no_shorter_than_any_other_duty() -> None:
    """Whoever still has a voice must see it coming."""
    assert "24 hours" in refused(glass("2 of admins", 24 * HOUR_MS - 1))
    slow = Threshold(duty=Duty.KEY_CREATE, quorum=parse_quorum("1 of admins"), delay_ms=48 * HOUR_MS)
    assert "48 hours" in refused(glass("2 of admins", slow=slow))
    check_charter(glass("2 of admins", 48 * HOUR_MS, slow=slow))


def test_break_glass_is_no_shortcut_around_who_asks() -> None:
    """It can be met without the admin who asks, as any other threshold."""
    assert "besides the admin" in refused(glass("4 of admins"))


# Law 8, bounds ------------------------------------------------------------------------------------------------------


def test_loosening_the_policy_has_a_delay() -> None:
    """Somebody must have the time to object."""
    assert "policy-loosen needs a delay" in refused(
        charter(ALICE, BOB, thresholds=needs(Duty.POLICY_LOOSEN, "1 of admins"))
    )


def test_a_charter_is_no_easier_to_change_than_the_policy() -> None:
    """Or whoever may change it could make loosening as easy as they like."""
    members = (ALICE, BOB, DAVE)
    loosen = Threshold(duty=Duty.POLICY_LOOSEN, quorum=parse_quorum("2 of all"), delay_ms=HOUR_MS)
    groups: dict[str, tuple[str, ...]] = {"all": ("alice", "bob", "dave")}
    assert "charter must need as many persons as policy-loosen, so at least 2" in refused(
        charter(*members, groups=groups, thresholds={Duty.POLICY_LOOSEN: loosen, **needs(Duty.CHARTER, "1 of all")})
    )
    check_charter(
        charter(*members, groups=groups, thresholds={Duty.POLICY_LOOSEN: loosen, **needs(Duty.CHARTER, "2 of all")})
    )


def test_a_charter_that_shortens_a_delay_waits_for_it() -> None:
    """Shortened or dropped is the same; longer, or another quorum, waits for the charter's own delay only."""

    def loosening(delay_ms: int | None) -> Charter:
        found = charter(ALICE, BOB, thresholds=needs(Duty.POLICY_LOOSEN, "1 of admins", delay_ms or HOUR_MS))
        kept = tuple(each for each in found.thresholds if delay_ms or each.duty is not Duty.POLICY_LOOSEN)
        return dataclasses.replace(found, thresholds=kept)

    old = Rulers(loosening(3 * HOUR_MS))
    waits = {new: change_delay_ms(old, loosening(new), Duty.CHARTER) for new in (None, 1, 3 * HOUR_MS, 4 * HOUR_MS)}
    assert waits == {None: 3 * HOUR_MS, 1: 3 * HOUR_MS, 3 * HOUR_MS: 0, 4 * HOUR_MS: 0}


def test_break_glass_may_be_dropped_at_once_but_not_shortened() -> None:
    """A member who has to go may be one too many for it."""
    with_glass, shorter = (
        charter(ALICE, BOB, P256, thresholds=needs(Duty.BREAK_GLASS, "2 of admins", hours * HOUR_MS))
        for hours in (72, 24)
    )
    assert change_delay_ms(Rulers(with_glass), charter(ALICE, BOB), Duty.CHARTER) == 0
    assert change_delay_ms(Rulers(with_glass), shorter, Duty.CHARTER) == 72 * HOUR_MS


@pytest.mark.parametrize("duty", [Duty.BREAK_GLASS, Duty.POLICY_LOOSEN])
def test_a_duty_that_comes_back_waits_for_the_longest_delay(duty: Duty) -> None:
    """Dropped and added again with a shorter delay it comes no sooner than the longest delay that stands."""
    slow = Threshold(duty=Duty.KEY_CREATE, quorum=parse_quorum("1 of admins"), delay_ms=5 * HOUR_MS)
    base = charter(ALICE, BOB, P256, thresholds={Duty.POLICY_LOOSEN: "", Duty.KEY_CREATE: slow})
    back = Threshold(duty=duty, quorum=parse_quorum("2 of admins"), delay_ms=24 * HOUR_MS)
    with_it = dataclasses.replace(base, thresholds=(*base.thresholds, back))
    assert change_delay_ms(Rulers(base), with_it, Duty.CHARTER) == 5 * HOUR_MS
    at_once = Threshold(duty=Duty.THAW, quorum=parse_quorum("1 of admins"))
    without = dataclasses.replace(base, thresholds=tuple(each for each in base.thresholds if each.duty != Duty.THAW))
    again = dataclasses.replace(without, thresholds=(*without.thresholds, at_once))
    assert change_delay_ms(Rulers(without), again, Duty.CHARTER) == 0


def test_members_and_groups_have_bounds() -> None:
    """I9: one more than GROUPS_MAX, or than MEMBERS_MAX, is refused."""
    groups: dict[str, tuple[str, ...]] = {f"g{n}": ("alice",) for n in range(limits.GROUPS_MAX)}
    assert f"at most {limits.GROUPS_MAX} groups" in refused(charter(ALICE, BOB, groups=groups))
    many = tuple(
        Member(name=MemberName(f"m{n}"), roles=frozenset({Role.ADMIN}), public_keys=(spki(ALICE.key),))
        for n in range(limits.MEMBERS_MAX + 1)
    )
    assert f"1 to {limits.MEMBERS_MAX} members" in refused(charter(members=many))


NAMES = st.sampled_from(["alice", "bob", "carol", "dave"])


@given(
    st.frozensets(NAMES, min_size=1),
    st.frozensets(NAMES, min_size=1),
    st.sampled_from(["1 of g1", "2 of g1", "1 of g1 and 1 of g2", "2 of g1 or 1 of g2", "3 of g2"]),
)
def test_what_stands_can_be_done(first: frozenset[str], second: frozenset[str], quorum: str) -> None:
    """Whatever charter is accepted: some admin can ask for each duty, and the others can complete its quorum."""
    groups = (
        Group(name=GroupName("g1"), members=frozenset(map(MemberName, first))),
        Group(name=GroupName("g2"), members=frozenset(map(MemberName, second))),
    )
    plan = charter(ALICE, BOB, CAROL, DAVE, thresholds=needs(Duty.CHARTER, "1 of admins"))
    asked = Threshold(duty=Duty.KEY_CREATE, quorum=parse_quorum(quorum))
    thresholds = tuple(each for each in plan.thresholds if each.duty is not Duty.KEY_CREATE)
    wanted = dataclasses.replace(plan, groups=(*plan.groups, *groups), thresholds=(*thresholds, asked))
    possible = any(
        _naively_met(quorum, first - {admin}, second - {admin}) for admin in ("alice", "bob", "carol")
    )  # fmt: skip
    try:
        check_charter(wanted)
    except Refused:
        assert not possible
    else:
        assert possible


def _naively_met(quorum: str, first: frozenset[str], second: frozenset[str]) -> bool:
    match quorum:
        case "1 of g1" | "2 of g1":
            return len(first) >= int(quorum[0])
        case "1 of g1 and 1 of g2":
            return any(one != two for one in first for two in second)
        case "2 of g1 or 1 of g2":
            return len(first) >= 2 or len(second) >= 1
        case _:
            return len(second) >= 3
