"""The laws of engine.balance, over pictures that Hypothesis makes up."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from keyvault.engine.balance import MOVES_FROM, Picture, heir, next_move

ENCLAVES = [f"e{number}" for number in range(7)]
PLACES = ["a", "b", "c", "d"]


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Any picture: who leads need not be able to any more, and some enclaves have nobody."""
    leads = draw(st.dictionaries(st.sampled_from(ENCLAVES), st.sampled_from(PLACES)))
    able = draw(st.frozensets(st.tuples(st.sampled_from(ENCLAVES), st.sampled_from(PLACES))))
    return Picture(leads=leads, able=able)


@st.composite
def whole(draw: st.DrawFn) -> Picture:
    """A picture in which every place could lead every enclave, and somebody leads each."""
    places = draw(st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    leads = {enclave: draw(st.sampled_from(places)) for enclave in ENCLAVES}
    return Picture(leads=leads, able=frozenset((enclave, place) for enclave in ENCLAVES for place in places))


def squares(picture: Picture) -> int:
    return sum(load * load for load in picture.loads().values())


def after_moves(picture: Picture) -> tuple[Picture, int]:
    """Return where the moves end, and how many there were."""
    moves = 0
    while (move := next_move(picture)) is not None:
        moved = replace(picture, leads={**picture.leads, move.enclave: move.to})
        assert squares(moved) <= squares(picture) - 2
        picture, moves = moved, moves + 1
    return picture, moves


def widest(picture: Picture) -> int:
    loads = picture.loads()
    return max(loads[place] for place in picture.places) - min(loads[place] for place in picture.places)


@given(pictures())
def test_moves_come_to_an_end_and_each_makes_it_more_even(picture: Picture) -> None:
    """Whatever is led where, and whoever could: the spread gets strictly more even, until nothing moves."""
    _, moves = after_moves(picture)
    assert 2 * moves <= squares(picture)


@given(whole())
def test_where_every_place_could_lead_loads_end_at_most_one_apart(picture: Picture) -> None:
    """And no enclave moves more than once on the way."""
    ended, moves = after_moves(picture)
    assert widest(ended) <= 1
    assert moves == sum(picture.leads[enclave] != place for enclave, place in ended.leads.items())


@given(pictures())
def test_nothing_that_would_be_more_even_is_left(picture: Picture) -> None:
    """In the end no enclave has a place that could lead it and has two less than where it is."""
    ended, _ = after_moves(picture)
    loads = ended.loads()
    for enclave, place in ended.able:
        if enclave in ended.leads:
            assert loads[ended.leads[enclave]] - loads[place] < MOVES_FROM


@given(pictures())
def test_a_move_goes_to_the_heir_and_the_heir_could_lead(picture: Picture) -> None:
    """Who leaves and who takes mean the same place, which is not where the enclave is."""
    move = next_move(picture)
    if move is not None:
        assert move.to == heir(picture, move.enclave)
    for enclave in ENCLAVES:
        place = heir(picture, enclave)
        assert place == "" or (enclave, place) in picture.able
        assert place == "" or place != picture.leads.get(enclave)


@given(pictures())
def test_there_is_an_heir_where_another_could_lead(picture: Picture) -> None:
    """A free lease has somebody who should take it first, if anybody could."""
    for enclave in ENCLAVES:
        others = {place for each, place in picture.able if each == enclave} - {picture.leads.get(enclave)}
        assert bool(heir(picture, enclave)) == bool(others)


@given(whole(), st.sampled_from(PLACES))
def test_what_a_place_leads_goes_evenly_to_the_others_when_it_dies(picture: Picture, gone: str) -> None:
    """All its enclaves are taken by their heirs, and where the others were even they still are."""
    others = [place for place in picture.places if place != gone]
    even = after_moves(replace(picture, leads={k: v for k, v in picture.leads.items() if v != gone}))[0].leads
    led = {**dict.fromkeys(ENCLAVES, gone), **even}
    before = Picture(leads=led, able=picture.able)
    if not others:
        assert {heir(before, enclave) for enclave in ENCLAVES if led[enclave] == gone} <= {"", *picture.places}
        return
    taken = {enclave: heir(before, enclave) if place == gone else place for enclave, place in led.items()}
    loads = Counter(taken.values())
    assert gone not in loads
    assert max(loads[place] for place in others) - min(loads[place] for place in others) <= 1


@given(whole())
def test_a_place_that_is_not_able_gets_nothing(picture: Picture) -> None:
    """A drained place, whose nodes say that they are not eligible, is nobody's heir and the aim of no move."""
    drained = picture.places[0]
    picture = replace(picture, able=frozenset((e, p) for e, p in picture.able if p != drained))
    assert drained not in {heir(picture, enclave) for enclave in ENCLAVES}
    ended, _ = after_moves(picture)
    assert ended.loads()[drained] <= picture.loads()[drained]


def test_the_picture_of_nobody_moves_nothing() -> None:
    """No is the zero value."""
    nothing = Picture(leads={}, able=frozenset())
    assert (next_move(nothing), heir(nothing, "e0"), nothing.places) == (None, "", ())
