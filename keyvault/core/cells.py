"""What signatures used, counted apart for everything that a limit can ask about. Bounded; see ``windows`` law 7.

1. A cell is one key and one set of parts. It holds its signatures and each number of its parts over time.
2. Without room a charge goes to a cell without destinations, and then to the cell of its key.
3. A cell at rest was charged for the last time before every window began, and a day more. Only when there is no room is
   it looked for those; what they hold is added to the cell of their key.
"""

from collections.abc import Iterator

from keyvault.core import limits
from keyvault.core.charges import AMOUNT, COLUMNS, FEE, USD, Charge
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.series import Series
from keyvault.core.tallies import Shape


class Cell:
    """Signatures of one shape, and each number of their parts, over time."""

    __slots__ = ("count", "has_destinations", "last_at", "moved", "shape")

    def __init__(self, shape: Shape, *, has_destinations: bool) -> None:
        self.shape = shape
        self.has_destinations = has_destinations
        self.count = Series()
        self.moved: list[Series | None] = [None] * (COLUMNS * len(shape[1]))
        self.last_at = UnixMillis(0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cell):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def charge(self, charge: Charge, at: UnixMillis, times: int) -> None:
        """Add the charge, or take it back: ``times`` is 1 or -1."""
        self.count.charge(at, times)
        for place, number in enumerate(charge.moved):
            if number:
                series = self.moved[place]
                if series is None:
                    series = self.moved[place] = Series()
                series.charge(at, times * number)
        self.last_at = max(self.last_at, at)

    def series(self, places: tuple[int, ...]) -> list[Series]:
        """Return what adds up to the numbers at these places; without places: the signatures."""
        if not places:
            return [self.count]
        return [series for series in (self.moved[place] for place in places) if series is not None]

    def column(self, *columns: int) -> list[Series]:
        """Return these numbers of all parts."""
        return self.series(tuple(place for place in range(len(self.moved)) if place % COLUMNS in columns))


class Cells:
    """All cells of an enclave."""

    __slots__ = ("_by_shape", "_of_key", "_parts", "_swept_at")

    def __init__(self) -> None:
        self._by_shape: dict[Shape, Cell] = {}
        self._of_key: dict[KeyId, Cell] = {}
        self._parts = {True: 0, False: 0}
        """How many parts the cells with and without destinations have."""
        self._swept_at = UnixMillis(0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cells):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __iter__(self) -> Iterator[Cell]:
        yield from self._by_shape.values()
        yield from self._of_key.values()

    def holds(self, cell: Cell) -> bool:
        """Return whether this very cell is still here."""
        return self._by_shape.get(cell.shape) is cell or self._of_key.get(cell.shape[0]) is cell

    def has_room(self, charge: Charge) -> bool:
        """Return whether the charge can be counted apart."""
        return (charge.key, charge.parts) in self._by_shape or self._can_take(charge, has_destinations=True)

    def place(self, charge: Charge) -> tuple[Cell, Charge]:
        """Return the cell for a charge, and the charge as it is counted there."""
        for has_destinations in (True, False):
            fitted = charge if has_destinations else charge.anywhere()
            cell = self._by_shape.get((fitted.key, fitted.parts))
            if cell is not None:
                return cell, fitted
            if self._can_take(fitted, has_destinations=has_destinations):
                cell = self._by_shape[fitted.key, fitted.parts] = Cell(
                    (fitted.key, fitted.parts), has_destinations=has_destinations
                )
                self._parts[has_destinations] += len(fitted.parts)
                return cell, fitted
        return self._cell_of_key(charge.key), charge.anything()

    def _can_take(self, charge: Charge, *, has_destinations: bool) -> bool:
        most = limits.WINDOW_CELLS_MAX if has_destinations else limits.WINDOW_CELLS_ANYWHERE_MAX
        return self._parts[has_destinations] + len(charge.parts) <= most

    def _cell_of_key(self, key: KeyId) -> Cell:
        cell = self._of_key.get(key)
        if cell is None:
            shape = key, Charge(key=key, parts=(), moved=()).anything().parts
            cell = self._of_key[key] = Cell(shape, has_destinations=False)
        return cell

    def sweep(self, at: UnixMillis) -> bool:
        """Give away the places of cells at rest, if there are enough; return whether any were."""
        if self._swept_at <= at < self._swept_at + limits.WINDOW_SWEEP_MS:
            return False
        self._swept_at = at
        before = at - limits.WINDOW_MS_MAX - limits.WINDOW_REST_MS
        resting = [cell for cell in self._by_shape.values() if cell.last_at <= before]
        if sum(len(cell.shape[1]) for cell in resting) * limits.WINDOW_SWEEP_SHARE < limits.WINDOW_CELLS_MAX:
            return False
        by_key: dict[KeyId, list[Cell]] = {}
        for cell in resting:
            by_key.setdefault(cell.shape[0], []).append(cell)
            self._parts[cell.has_destinations] -= len(cell.shape[1])
            del self._by_shape[cell.shape]
        for key, cells in by_key.items():
            _add(self._cell_of_key(key), cells)
        return True


def _add(whole: Cell, cells: list[Cell]) -> None:
    """Add what the cells hold to the cell of their key, as ``Charge.anything`` would have charged it."""
    everything = [whole, *cells]
    whole.count = Series.sum_of([cell.count for cell in everything])
    for place, columns in ((AMOUNT, (AMOUNT, FEE)), (USD, (USD,))):
        parts = [series for cell in everything for series in cell.column(*columns)]
        whole.moved[place] = Series.sum_of(parts) if parts else None
    whole.last_at = max(cell.last_at for cell in everything)
