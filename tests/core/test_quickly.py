"""Values that are made quickly are frozen dataclasses in every respect."""

import copy
import inspect
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from keyvault.core.errors import Broken
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.quickly import quickly_made

EFFECT = Effect(operation=Operation.TRANSFER, chain_id=1, amount=5, destination="0xa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A value as dataclasses make it."""

    first: int
    second: str | None = None
    third: frozenset[int] = frozenset({3})


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """The same, made quickly."""

    first: int
    second: str | None = None
    third: frozenset[int] = frozenset({3})


def test_everything_but_the_speed_is_as_before() -> None:
    """Fields, defaults, signature, repr, equality, hash, copies and replacements are those of a frozen dataclass."""
    quick, plain = Quick(first=1, second="b"), Plain(first=1, second="b")
    assert type(quick) is Quick
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert hash(quick) == hash(plain)
    assert quick == Quick(first=1, second="b", third=frozenset({3}))
    assert quick != Quick(first=2, second="b")
    assert replace(quick, second=None) == Quick(first=1)
    assert copy.deepcopy(quick) == copy.copy(quick) == quick
    assert inspect.signature(Quick) == inspect.signature(Plain)
    assert [each.name for each in fields(Quick)] == ["first", "second", "third"]


def test_it_stays_frozen() -> None:
    """No field can be set or deleted, and there is no room for another one."""
    for value in (Quick(first=1), EFFECT):
        name = fields(value)[0].name
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, 2)
        with pytest.raises(FrozenInstanceError):
            delattr(value, name)
        with pytest.raises((FrozenInstanceError, TypeError)):
            value.other = 1  # type: ignore[union-attr]  # that is the point
        assert not hasattr(value, "__dict__")


def test_wrong_arguments_are_refused() -> None:
    """Positions, unknown names and missing fields raise TypeError."""
    for arguments, keywords in (((1,), {}), ((), {"first": 1, "fourth": 4}), ((), {"second": "b"})):
        with pytest.raises(TypeError):
            Quick(*arguments, **keywords)


def test_effects_and_intents_are_made_so() -> None:
    """The values that every decision makes say what they were given."""
    assert (EFFECT.operation, EFFECT.amount, EFFECT.venue) == (Operation.TRANSFER, 5, None)
    intent = Intent(
        kind=PayloadKind.RAW_DIGEST,
        algorithms=frozenset(),
        signing_input=b"x",
        effects=(EFFECT,),
        completeness=Completeness.FULL,
    )
    assert type(intent) is Intent
    assert intent.approved_input == b"x"
    assert replace(intent, stamped=True).approved_input == b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    first: int

    def __post_init__(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Positional:
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factory:
    first: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Roomy:
    first: int


class _Other:
    first = 1


@pytest.mark.parametrize("unfit", [_Checked, _Positional, _Factory, _Roomy, _Other])
def test_what_is_not_plain_is_refused(unfit: type) -> None:
    """A class for which the other constructor could mean something else is refused when it is defined."""
    with pytest.raises(Broken):
        quickly_made(unfit)
