"""Quorums: their text, and who may count where."""

from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import GroupName, MemberName
from keyvault.core.quorum import All, AnyOf, Of, Quorum, group_names, is_met, parse_quorum, persons_min, quorum_text

RISK, TREASURY, OWNERS = GroupName("risk"), GroupName("treasury"), GroupName("owners")
MOST = limits.MEMBERS_MAX
RISKS, TREASURER, OWNING = Of(2, RISK), Of(1, TREASURY), Of(3, OWNERS)


def people(*names: str) -> frozenset[MemberName]:
    return frozenset(map(MemberName, names))


WORLD = {RISK: people("ann", "bob", "eve"), TREASURY: people("bob", "tom"), OWNERS: people("ann", "ola", "oto", "eve")}


# Text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quorum"),
    [
        ("2 of risk", RISKS),
        ("2 of risk and 1 of treasury", All((RISKS, TREASURER))),
        ("2 of risk or 1 of treasury or 3 of owners", AnyOf((RISKS, TREASURER, OWNING))),
        ("2 of risk and (1 of treasury or 3 of owners)", All((RISKS, AnyOf((TREASURER, OWNING))))),
        ("(2 of risk and 1 of treasury) or 3 of owners", AnyOf((All((RISKS, TREASURER)), OWNING))),
        ("1 of and and 1 of or", All((Of(1, GroupName("and")), Of(1, GroupName("or"))))),
        (f"{limits.MEMBERS_MAX} of risk", Of(limits.MEMBERS_MAX, RISK)),
    ],
)
def test_a_quorum_has_one_text(text: str, quorum: Quorum) -> None:
    """The text is read as the quorum, and the quorum is written as the text."""
    assert parse_quorum(text) == quorum
    assert quorum_text(quorum) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("  2  of risk ", "2 of risk"),
        ("((2 of risk))", "2 of risk"),
        ("(2 of risk and 1 of treasury) and 3 of owners", "2 of risk and 1 of treasury and 3 of owners"),
        ("2 of risk or (1 of treasury or (3 of owners))", "2 of risk or 1 of treasury or 3 of owners"),
        ("2 of risk and(1 of treasury or 3 of owners)", "2 of risk and (1 of treasury or 3 of owners)"),
    ],
)
def test_what_changes_nothing_disappears(text: str, canonical: str) -> None:
    """Spaces, parentheses without effect, and `and` within `and` are not part of a quorum."""
    assert quorum_text(parse_quorum(text)) == canonical


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "character 1: nothing stands where a number should: write 2 of risk, or 2 of risk and 1 of treasury"),
        ("risk", "character 1: 'risk' stands where a number should: write 2 of risk, or 2 of risk and 1 of treasury"),
        ("0 of risk", f"character 1: '0' is not a number of persons: 1 to {MOST}, without leading zeros"),
        (
            "02 of risk",
            f"character 1: '02' is not a number of persons: 1 to {MOST}, without leading zeros",
        ),
        (
            f"{MOST + 1} of risk",
            f"character 1: '{MOST + 1}' is not a number of persons: 1 to {MOST}, without leading zeros",
        ),
        (
            "1.5 of risk",
            f"character 1: '1.5' is not a number of persons: 1 to {MOST}, without leading zeros",
        ),
        (
            "\u0662 of risk",
            f"character 1: '\\u0662' is not a number of persons: 1 to {MOST}, without leading zeros",
        ),
        ("2 risk", "character 3: 'risk' stands where of should: write 2 of a group"),
        ("2 of", "character 5: nothing stands where the name of a group should"),
        ("2 of (risk)", "character 6: '(' stands where the name of a group should"),
        (
            "2 of Risk",
            "character 6: group 'Risk' must be 1 to 63 characters of a-z 0-9 - and start with a letter",
        ),
        ("2 of risk 1 of ops", "character 11: '1' stands where and, or, or the end should"),
        (
            "2 of risk, 1 of ops",
            "character 6: group 'risk,' must be 1 to 63 characters of a-z 0-9 - and start with a letter",
        ),
        (
            "2 of risk and",
            "character 14: nothing stands where a number should: write 2 of risk, or 2 of risk and 1 of treasury",
        ),
        ("(2 of risk", "character 11: nothing stands where a parenthesis should close"),
        ("2 of risk)", "character 10: ')' stands where and, or, or the end should"),
        (
            "2 of risk and 1 of treasury or 3 of owners",
            "character 29: and, or stand side by side: write (... and ...) or ..., or ... and (...)",
        ),
        (
            "1 of a or (1 of b and 1 of c or 1 of d)",
            "character 30: and, or stand side by side: write (... and ...) or ..., or ... and (...)",
        ),
        ("((((1 of a))))", "character 4: parentheses within each other more than 3 deep"),
        (" or ".join(["1 of a"] * 9), "character 81: more than 8 parts"),
        ("1 of a" + " " * 635, "longer than 640 characters"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str) -> None:
    """The message says at which character, what stands there, and what should."""
    with pytest.raises(Malformed) as caught:
        parse_quorum(text)
    assert (caught.value.field, caught.value.problem) == ("quorum", problem)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Of(0, RISK),
        lambda: Of(limits.MEMBERS_MAX + 1, RISK),
        lambda: Of(1, GroupName("Risk")),
        lambda: All((RISKS,)),
        lambda: AnyOf(()),
        lambda: All((RISKS, All((RISKS, TREASURER)))),  # type: ignore[arg-type]  # what must not be built
        lambda: AnyOf((RISKS, AnyOf((RISKS, TREASURER)))),  # type: ignore[arg-type]  # what must not be built
        lambda: All((RISKS,) * 9),
        lambda: AnyOf((All((RISKS,) * 4), All((RISKS,) * 5))),
        lambda: All((RISKS, AnyOf((RISKS, All((RISKS, AnyOf((RISKS, All((RISKS, RISKS)))))))))),
    ],
)
def test_what_has_no_text_cannot_be_built(build: object) -> None:
    """A quorum out of bounds, with one part, or joined twice by one word does not exist."""
    with pytest.raises(Malformed):
        build()  # type: ignore[operator]  # a function


# Who counts where -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "approvers", "met"),
    [
        ("2 of risk", people("ann", "bob"), True),
        ("2 of risk", people("ann"), False),
        ("2 of risk", people("ann", "tom", "zed"), False),
        ("2 of risk", people(), False),
        ("1 of nobody", people("ann", "bob"), False),
        ("2 of risk or 1 of treasury", people("tom"), True),
        ("2 of risk and 1 of treasury", people("ann", "bob"), False),
        ("2 of risk and 1 of treasury", people("ann", "bob", "tom"), True),
        ("2 of risk and 1 of treasury", people("ann", "eve", "bob"), True),
        ("1 of risk and 1 of risk", people("ann"), False),
        ("1 of risk and 1 of risk", people("ann", "eve"), True),
        ("1 of risk and 1 of treasury and 1 of owners", people("ann", "bob"), False),
        ("1 of risk and 1 of treasury and 1 of owners", people("ann", "bob", "eve"), True),
        ("2 of risk and (1 of treasury or 3 of owners)", people("ann", "bob", "ola", "oto"), False),
        ("2 of risk and (1 of treasury or 3 of owners)", people("ann", "bob", "eve", "ola", "oto"), True),
    ],
)
def test_a_person_counts_once(text: str, approvers: frozenset[MemberName], met: bool) -> None:  # noqa: FBT001  a case
    """Who is in two groups counts in one of them, whichever helps; strangers and missing groups count nothing."""
    assert is_met(parse_quorum(text), WORLD, approvers) is met


def test_large_groups_and_many_parts_are_judged() -> None:
    """Eight parts over groups of a thousand are met by exactly enough persons, and not by one less."""
    everybody = frozenset(MemberName(f"m{number}") for number in range(1_000))
    groups = {GroupName(f"g{number}"): everybody for number in range(8)}
    quorum = All(tuple(Of(4, group) for group in groups))
    approvers = sorted(everybody)[: persons_min(quorum)]
    assert is_met(quorum, groups, frozenset(approvers))
    assert not is_met(quorum, groups, frozenset(approvers[1:]))


def test_the_fewest_persons_and_the_groups_are_told() -> None:
    """`and` adds, `or` takes the cheapest; every group is named once."""
    quorum = parse_quorum("2 of risk and (2 of treasury or 3 of owners) and 1 of risk")
    assert persons_min(quorum) == 5
    assert group_names(quorum) == {RISK, TREASURY, OWNERS}


# Laws -----------------------------------------------------------------------------------------------------------


def joined(kind: type[All] | type[AnyOf], parts: list[Quorum]) -> Quorum:
    """Return the parts as one quorum; the parts of a part that is joined alike stand for it."""
    flat = [each for part in parts for each in (part.parts if isinstance(part, kind) else (part,))]
    try:
        return kind(tuple(flat))  # type: ignore[arg-type]  # none of them is of this kind
    except Malformed:
        reject()


LEAVES = st.builds(Of, st.integers(1, 3), st.sampled_from([RISK, TREASURY, OWNERS]))
QUORUMS: st.SearchStrategy[Quorum] = st.recursive(
    LEAVES,
    lambda parts: st.builds(joined, st.sampled_from([All, AnyOf]), st.lists(parts, min_size=2, max_size=3)),
    max_leaves=8,
)
PERSONS = [MemberName(name) for name in "abcde"]
SOME = st.frozensets(st.sampled_from(PERSONS))
GROUPS = st.dictionaries(st.sampled_from([RISK, TREASURY, OWNERS]), SOME)


NARROW = QUORUMS.filter(lambda quorum: len(leaves(quorum)) <= 4)


def leaves(quorum: Quorum) -> list[Of]:
    return [quorum] if isinstance(quorum, Of) else [leaf for part in quorum.parts for leaf in leaves(part)]


def holds(quorum: Quorum, counts: list[int]) -> bool:
    """Say whether the leaves, with so many persons dealt to each in turn, make the quorum; uses up the counts."""
    if isinstance(quorum, Of):
        return counts.pop(0) >= quorum.threshold
    results = [holds(part, counts) for part in quorum.parts]
    return all(results) if isinstance(quorum, All) else any(results)


def dealt(quorum: Quorum, groups: Mapping[GroupName, frozenset[MemberName]], approvers: frozenset[MemberName]) -> bool:
    """Try every way to deal each approver to one leaf, or to none."""
    every = leaves(quorum)
    choices = [
        [None, *(place for place, leaf in enumerate(every) if person in groups.get(leaf.group, frozenset()))]
        for person in approvers
    ]
    return any(holds(quorum, [deal.count(place) for place in range(len(every))]) for deal in product(*choices))


@given(quorum=QUORUMS)
def test_every_quorum_comes_back_from_its_text(quorum: Quorum) -> None:
    """What is written is read as the same, and fits the bound of texts."""
    assert parse_quorum(quorum_text(quorum)) == quorum


@given(st.text("12 ofandrskg()-", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_quorum_or_malformed(text: str) -> None:
    """No text makes the reader fail in any other way, and what it reads has one text."""
    try:
        quorum = parse_quorum(text)
    except Malformed:
        return
    assert parse_quorum(quorum_text(quorum)) == quorum


def test_the_longest_quorum_has_a_text() -> None:
    """Eight parts with the longest names, thresholds and parentheses fit QUORUM_CHARS_MAX."""
    leaf = Of(limits.MEMBERS_MAX, GroupName("g" * 63))
    pair = All((leaf, leaf))
    quorum = AnyOf((pair, pair, pair, pair))
    assert parse_quorum(quorum_text(quorum)) == quorum


@given(quorum=NARROW, groups=GROUPS, approvers=SOME)
def test_it_is_met_exactly_if_the_approvers_can_be_dealt_out(
    quorum: Quorum, groups: dict[GroupName, frozenset[MemberName]], approvers: frozenset[MemberName]
) -> None:
    """Hall's condition says the same as trying everything."""
    assert is_met(quorum, groups, approvers) == dealt(quorum, groups, approvers)


@given(quorum=QUORUMS, groups=GROUPS, approvers=SOME, more=SOME)
def test_more_approvers_never_turn_yes_into_no(
    quorum: Quorum,
    groups: dict[GroupName, frozenset[MemberName]],
    approvers: frozenset[MemberName],
    more: frozenset[MemberName],
) -> None:
    """Being met is monotone in the approvers."""
    assert is_met(quorum, groups, approvers) <= is_met(quorum, groups, approvers | more)


@given(quorum=QUORUMS, groups=GROUPS, approvers=SOME)
def test_fewer_than_the_fewest_never_meet_it(
    quorum: Quorum, groups: dict[GroupName, frozenset[MemberName]], approvers: frozenset[MemberName]
) -> None:
    """`persons_min` is a lower bound, and with everybody in every group it is reached."""
    assert not is_met(quorum, groups, approvers) or len(approvers) >= persons_min(quorum)
    crowd = frozenset(MemberName(f"m{number}") for number in range(persons_min(quorum)))
    assert is_met(quorum, dict.fromkeys(group_names(quorum), crowd), crowd)
