"""What is new about a request: it warns too often and never too rarely."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.familiar import Familiar, Listed, Mark, Remark
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect, Operation, PayloadKind
from keyvault.core.policy import Policy, Rule, Verdict
from keyvault.core.policy_listed import listed_destinations

KEY, OTHER_KEY = KeyId("hot"), KeyId("cold")
HOME = "0x" + "ab" * 20
LOOK_ALIKE = "0xabab" + "cd" * 16 + "abab"
NONE: frozenset[str] = frozenset()
NOW = UnixMillis(1_800_000_000_000)


def transfer(destination: str = HOME, amount: int = 100, chain: int = 1) -> Effect:
    return Effect(operation=Operation.TRANSFER, chain_id=chain, destination=destination, amount=amount)


def marks(known: Familiar, *effects: Effect, key: KeyId = KEY, listed: frozenset[str] = NONE) -> list[Mark]:
    return [remark.mark for remark in known.remarks(key, effects, listed)]


def test_the_first_of_everything_is_new() -> None:
    """Destination and amount, with what they are compared with."""
    assert Familiar().remarks(KEY, (transfer(),), NONE) == (
        Remark(effect=0, mark=Mark.NEW_DESTINATION, detail=HOME),
        Remark(effect=0, mark=Mark.LARGEST, detail="0"),
    )


def test_what_was_signed_is_new_no_more() -> None:
    """The same destination and no more than before: nothing to remark, in whatever spelling."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    assert marks(known, transfer(), transfer(HOME.upper().replace("0X", "0x"), 99)) == []
    assert marks(known, transfer(amount=101)) == [Mark.LARGEST]


def test_the_largest_amount_is_that_of_the_key_and_the_chain() -> None:
    """Another key or another chain has seen nothing."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    assert marks(known, transfer(), key=OTHER_KEY) == [Mark.LARGEST]
    assert marks(known, transfer(chain=5)) == [Mark.LARGEST]


def test_an_address_that_looks_like_a_known_one_is_told_apart() -> None:
    """The same first and last digits, signed for or named by the policy; the known one itself is no look-alike."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    found = known.remarks(KEY, (transfer(LOOK_ALIKE, 1),), NONE)
    assert [(each.mark, each.detail) for each in found] == [
        (Mark.NEW_DESTINATION, LOOK_ALIKE),
        (Mark.LOOK_ALIKE, HOME),
    ]
    assert marks(Familiar(), transfer(LOOK_ALIKE, 0), listed=frozenset({HOME})) == [
        Mark.NEW_DESTINATION,
        Mark.LOOK_ALIKE,
    ]
    assert marks(Familiar(), transfer(HOME, 0), listed=frozenset({HOME, LOOK_ALIKE})) == [Mark.NEW_DESTINATION]


def test_amounts_of_one_token_are_compared_with_each_other() -> None:
    """The largest amount is that of the asset as well: one of a coin says nothing of a token."""
    token = "0x" + "70" * 20
    known = Familiar()
    known.saw(KEY, [transfer(amount=100)], 3, NOW)
    small, large = (replace(transfer(amount=amount), asset=token) for amount in (5, 6))
    assert marks(known, small) == [Mark.LARGEST]
    known.saw(KEY, [small], 4, NOW)
    assert marks(known, small) == []
    assert marks(known, large) == [Mark.LARGEST]
    at_venue = Effect(operation=Operation.WITHDRAW, venue="okx", asset="USDC", amount=5, decimals=18, destination=HOME)
    assert marks(known, at_venue) == [Mark.LARGEST]
    known.saw(KEY, [at_venue], 5, NOW)
    assert marks(known, at_venue) == []


def test_what_cannot_be_read_is_said() -> None:
    """An opaque effect has its mark, and the number of the effect stands with it."""
    found = Familiar().remarks(KEY, (transfer(amount=0), Effect(operation=Operation.OPAQUE)), NONE)
    assert found[-1] == Remark(effect=1, mark=Mark.OPAQUE, detail="")


def test_what_does_not_fit_looks_new_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: beyond DESTINATIONS_REMEMBERED nothing is forgotten and nothing more is known."""
    assert limits.DESTINATIONS_REMEMBERED > 1
    monkeypatch.setattr(limits, "DESTINATIONS_REMEMBERED", 1)
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    known.saw(KEY, [transfer("0x" + "11" * 20)], 4, NOW)
    assert marks(known, transfer("0x" + "11" * 20)) == [Mark.NEW_DESTINATION]
    assert marks(known, transfer()) == []


# As of an entry -----------------------------------------------------------------------------------------------------

DAY_MS = 86_400_000
NOBODY = Listed(names=frozenset(), shapes=frozenset())


def test_a_destination_is_as_old_as_its_first_signature() -> None:
    """Whatever came later; one that was never signed for has no age."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    known.saw(KEY, [transfer()], 7, UnixMillis(NOW + DAY_MS))
    assert known.age_ms(Operation.TRANSFER, HOME, 8, UnixMillis(NOW + DAY_MS)) == DAY_MS
    assert known.age_ms(Operation.TRANSFER, HOME, 8, NOW) == 0
    assert known.age_ms(Operation.TRANSFER, "0x" + "11" * 20, 8, UnixMillis(NOW + DAY_MS)) == 0


def test_a_clock_that_was_set_back_makes_nothing_old() -> None:
    """An age is never negative."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    assert known.age_ms(Operation.TRANSFER, HOME, 4, UnixMillis(NOW - 5)) == 0


def test_what_was_not_known_then_is_as_if_it_were_not_there() -> None:
    """A decision that knew three entries is judged again with these three, however many there are by now."""
    known = Familiar()
    known.saw(KEY, [transfer()], 3, NOW)
    later = UnixMillis(NOW + DAY_MS)
    assert [known.age_ms(Operation.TRANSFER, HOME, count, later) for count in (0, 3, 4, 9)] == [0, 0, DAY_MS, DAY_MS]
    assert [known.is_look_alike(LOOK_ALIKE, count, NOBODY) for count in (3, 4)] == [False, True]
    known.saw(KEY, [transfer(LOOK_ALIKE)], 5, NOW)
    assert [known.is_look_alike(LOOK_ALIKE, count, NOBODY) for count in (3, 4, 5, 6)] == [False, True, True, False]
    assert [known.is_look_alike(HOME, count, NOBODY) for count in (3, 4, 9)] == [False, False, False]


def test_the_first_of_several_twins_counts() -> None:
    """A shape is known from its first destination on."""
    known = Familiar()
    known.saw(KEY, [transfer(LOOK_ALIKE)], 2, NOW)
    known.saw(KEY, [transfer()], 6, NOW)
    other = "0xabab" + "77" * 16 + "abab"
    assert [known.is_look_alike(other, count, NOBODY) for count in (2, 3, 7)] == [False, True, True]


def test_what_a_policy_names_is_known() -> None:
    """It is no look-alike, and what resembles it is. Only rules that permit name somebody, themselves or by a list."""
    allow = Rule(id="a", verdict=Verdict.ALLOW, destinations=frozenset({HOME.upper().replace("0X", "0x"), "@more"}))
    deny = Rule(id="d", verdict=Verdict.DENY, destinations=frozenset({"bc1qthief"}))
    kinds = frozenset({PayloadKind.EVM_TRANSACTION})
    allow = replace(allow, keys=frozenset({KEY}), kinds=kinds)
    poison = frozenset({"@poison"})
    others = (
        replace(deny, destinations=poison),
        replace(allow, id="s", shadow=True, destinations=poison),
        Rule(id="e", verdict=Verdict.ESCALATE, quorum="1 of risk", destinations=poison),
        replace(allow, id="x", verdict=Verdict.ESCALATE, quorum="nobody", destinations=poison),
    )
    lists = {"more": frozenset({"bc1qtreasury-00x", "short"}), "poison": frozenset({LOOK_ALIKE}), "idle": poison}
    policy = Policy(version=1, rules=(allow, deny, *others), limits=(), lists=lists)
    found = Listed.of(listed_destinations(policy))
    assert found.names == {HOME, "bc1qtreasury-00x", "short"}
    assert not Familiar().is_look_alike(HOME, 0, found)
    assert Familiar().is_look_alike(LOOK_ALIKE, 0, found)
    assert Familiar().is_look_alike("bc1qtrXXXXXXXX00x", 0, found)
    assert Familiar().is_look_alike("bc1qtreasXXXXXXXX", 0, found)
    assert Familiar().is_look_alike("bc1qXXXXXXXXry-00x", 0, found)
    assert not Familiar().is_look_alike("bc1qtXXXXXXXXX00x", 0, found)
    assert not Familiar().is_look_alike("shorter", 0, found)
    assert not Familiar().is_look_alike("bc1qthiez", 0, found)


def test_the_largest_stays_the_largest() -> None:
    """A smaller amount that was signed later takes nothing back, and what states no amount is not larger than any."""
    known = Familiar()
    known.saw(KEY, [transfer(amount=100), transfer(amount=50), replace(transfer(), amount=None)], 3, NOW)
    assert marks(known, transfer(amount=100)) == []
    assert marks(known, transfer(amount=101)) == [Mark.LARGEST]
    assert marks(Familiar(), replace(transfer(), amount=None)) == [Mark.NEW_DESTINATION]


def test_short_names_resemble_nobody() -> None:
    """Up to twelve characters people read the whole name, so only longer ones can be taken for each other."""
    known = Familiar()
    known.saw(KEY, [transfer("bob"), transfer("ABC------xyz"), transfer("ABC-------xyz")], 3, NOW)
    assert marks(known, transfer("eve", 0), transfer("abc++++++xyz", 0)) == [Mark.NEW_DESTINATION] * 2
    assert not known.is_look_alike("abc++++++xyz", 9, NOBODY)
    assert marks(known, transfer("abc+++++++xyz", 0)) == [Mark.NEW_DESTINATION, Mark.LOOK_ALIKE]
    assert known.is_look_alike("abc+++++++xyz", 9, NOBODY)


def test_only_what_was_done_with_an_account_makes_it_known() -> None:
    """A payment of nothing, an allowance, a call: none of them makes an account one that was paid."""
    other = "0x" + "11" * 20
    known = Familiar()
    allowance = replace(transfer(other), operation=Operation.ALLOWANCE)
    called = replace(transfer(other, 0), operation=Operation.CALL)
    known.saw(KEY, [transfer(other, 0), allowance, replace(allowance, amount=0), called], 3, NOW)
    later = UnixMillis(NOW + 1)
    ages = [known.age_ms(each, other, 9, later) for each in (Operation.TRANSFER, Operation.ALLOWANCE, Operation.CALL)]
    assert ages == [0, 1, 1]
    assert not known.is_look_alike(other[:-12] + "0" * 6 + other[-6:], 9, NOBODY)
    known.saw(KEY, [replace(transfer(other), operation=Operation.WITHDRAW)], 4, NOW)
    assert known.age_ms(Operation.TRANSFER, other, 9, later) == 1
    assert known.is_look_alike(other[:-12] + "0" * 6 + other[-6:], 9, NOBODY)


def test_a_tag_makes_no_other_account() -> None:
    """What was paid with one tag is new with another and without, and no look-alike; what resembles it is one."""
    known = Familiar()
    known.saw(KEY, [transfer(HOME + "?memo=1")], 3, NOW)
    assert marks(known, transfer(HOME.upper() + "?memo=1", 0)) == []
    others = transfer(HOME + "?memo=2", 0), transfer(HOME, 0)
    assert marks(known, *others) == [Mark.NEW_DESTINATION] * 2
    assert [known.age_ms(Operation.TRANSFER, whole, 9, UnixMillis(NOW + 5)) for whole in (HOME, HOME + "?memo=1")] == [
        0,
        5,
    ]
    assert not known.is_look_alike(HOME, 9, NOBODY)
    assert marks(known, transfer(LOOK_ALIKE + "?memo=1", 0)) == [Mark.NEW_DESTINATION, Mark.LOOK_ALIKE]


def test_what_is_known_rests_on_the_first_entries() -> None:
    """On the first that signed for the destination and the first of its shape, as far as they were known."""
    known = Familiar()
    known.saw(KEY, [transfer(LOOK_ALIKE)], 0, NOW)
    known.saw(KEY, [transfer()], 6, NOW)
    known.saw(KEY, [transfer(), transfer("bob")], 8, NOW)
    assert [known.origins(Operation.TRANSFER, HOME, count) for count in (0, 1, 6, 7, 9)] == [
        frozenset(),
        {0},
        {0},
        {0, 6},
        {0, 6},
    ]
    assert [known.origins(Operation.TRANSFER, "bob", count) for count in (8, 9)] == [frozenset(), {8}]
    assert (
        known.origins(Operation.TRANSFER, "0x" + "11" * 20, 9)
        == known.origins(Operation.TRANSFER, "eve", 9)
        == frozenset()
    )


STEPS = st.lists(
    st.tuples(st.sampled_from([HOME, LOOK_ALIKE, "0x" + "11" * 20, "bc1qhome"]), st.integers(0, 5)), max_size=6
)


@given(steps=STEPS, count=st.integers(0, 6), name=st.sampled_from([HOME, LOOK_ALIKE, "0x" + "11" * 20, "bc1qhome"]))
def test_the_past_is_what_it_was(steps: list[tuple[str, int]], count: int, name: str) -> None:
    """Whatever was signed since: as of an entry, all answers are those of a ledger that ends there."""
    whole, begun = Familiar(), Familiar()
    for index, (destination, later) in enumerate(steps):
        for each in (whole, begun) if index < count else (whole,):
            each.saw(KEY, [transfer(destination)], index, UnixMillis(NOW + later))
    at = UnixMillis(NOW + 9)
    assert whole.age_ms(Operation.TRANSFER, name, count, at) == begun.age_ms(Operation.TRANSFER, name, count, at)
    assert whole.is_look_alike(name, count, NOBODY) == begun.is_look_alike(name, count, NOBODY)
