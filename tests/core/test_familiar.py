"""What is new about a request: it warns too often and never too rarely."""

import pytest

from keyvault.core import limits
from keyvault.core.familiar import Familiar, Mark, Remark
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect, Operation

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
