"""Cells of windows: when those at rest give up their places."""

import pytest

from keyvault.core import limits
from keyvault.core.cells import Cells
from keyvault.core.ids import UnixMillis
from tests.core.charging import NOW, transfer

DAY = 86_400_000
REST_MS = limits.WINDOW_MS_MAX + limits.WINDOW_REST_MS


def fill(cells: Cells, count: int, at: int) -> Cells:
    """Charge so many new cells."""
    for number in range(count):
        cell, fitted = cells.place(transfer(1, to=f"0x{number:040x}"))
        cell.charge(fitted, UnixMillis(at), 1)
    return cells


@pytest.fixture(autouse=True)
def _few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_CELLS_MAX", 4 * limits.WINDOW_SWEEP_SHARE)


def test_a_cell_rests_eight_days_after_its_last_charge() -> None:
    """A millisecond earlier it keeps its place: that is a day more than the longest window."""
    assert REST_MS == 8 * DAY
    early, late = fill(Cells(), 4, NOW), fill(Cells(), 4, NOW)
    assert not early.sweep(UnixMillis(NOW + REST_MS - 1))
    assert len(list(early)) == 4
    assert late.sweep(UnixMillis(NOW + REST_MS))
    assert [cell.count.total for cell in late] == [4]


def test_few_cells_at_rest_are_left_where_they_are() -> None:
    """One in sixteen places is worth making the tallies again, less is not."""
    for resting, worth in ((3, False), (4, True)):
        cells = fill(Cells(), resting, NOW)
        assert cells.sweep(UnixMillis(NOW + REST_MS)) == worth


def test_cells_are_searched_every_ten_minutes_at_most() -> None:
    """From a search on there is none for ten minutes, unless the clock stepped back behind it."""
    late = NOW + REST_MS + DAY
    for after_ms, searched in ((0, False), (limits.WINDOW_SWEEP_MS - 1, False), (limits.WINDOW_SWEEP_MS, True)):
        cells = Cells()
        assert not cells.sweep(UnixMillis(late))
        assert fill(cells, 4, NOW).sweep(UnixMillis(late + after_ms)) == searched
    cells = Cells()
    assert not cells.sweep(UnixMillis(late))
    assert fill(cells, 4, NOW).sweep(UnixMillis(late - 1))
