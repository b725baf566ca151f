"""Values of items as columns, so that a condition is tested for all items at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.events import CATEGORY, Item
from pipeline.rules.conditions import Condition, Value, key_of, number_of, parts_of
from pipeline.rules.rule import ItemMatch

Mask = NDArray[np.bool_]
NO_CODE = -1


class Items(Protocol):
    """The n items that rules act on."""

    @property
    def entries(self) -> Sequence[Item | None]:
        """The catalogue item of each row, None where the catalogue has none."""

    @property
    def columns(self) -> Columns:
        """Their columns, which all that asks for attributes of these items shares."""

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """The rows of items; unknown ones are left out."""

    def stale_since(self, before: Items) -> NDArray[np.int64] | None:
        """Rows, ascending, that are of other items, or changed ones, than before; None if any may be."""


@dataclass(frozen=True)
class Column:
    """One value, or a list of them, for each of n items.

    Attributes:
        size: n.
        rows: ``[p]`` row of each value, ascending.
        codes: ``[p]`` number of each value, equal for equal values.
        numbers: ``[p]`` the value where it is a number, else NaN.
        numbering: number of each value, by its key; it may have further ones, of a later column.
    """

    size: int
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]
    numbering: dict[Hashable, int]

    @classmethod
    def of(
        cls, entries: Sequence[Item | None], attribute: str | None, numbering: dict[Hashable, int]
    ) -> Self:
        """Read an attribute of items, the category for None; new values get the next numbers."""
        rows, codes, numbers = [], [], []
        for row, item in enumerate(entries):
            for value in parts_of(_value(item, attribute)) if item is not None else ():
                rows.append(row)
                codes.append(numbering.setdefault(key_of(value), len(numbering)))
                number = number_of(value)
                numbers.append(np.nan if number is None else number)
        return cls(
            len(entries),
            np.array(rows, dtype=np.int64),
            np.array(codes, dtype=np.int64),
            np.array(numbers, dtype=np.float64),
            numbering,
        )

    def updated(self, size: int, stale: NDArray[np.int64], fresh: Column) -> Column:
        """Return the column of `size` items of which those at rows ``[m]`` have the values of another one."""
        kept = (self.rows < size) & ~np.isin(self.rows, stale)
        rows = np.concatenate([self.rows[kept], stale[fresh.rows]])
        order = np.argsort(rows, kind="stable")
        codes, numbers = (
            np.concatenate([old[kept], new])[order]
            for old, new in ((self.codes, fresh.codes), (self.numbers, fresh.numbers))
        )
        return Column(size, rows[order], codes, numbers, self.numbering)

    def codes_of(self, row: int) -> list[int]:
        """The numbers of a row's values."""
        return sorted(set(self.codes[slice(*np.searchsorted(self.rows, [row, row + 1]))].tolist()))

    def first_codes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number ``[m]`` of the first value of rows ``[m]``; `NO_CODE` of those without one."""
        return self._firsts[rows]

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """``[n]`` of each row; a column that takes the place of this one costs as much."""
        firsts = np.full(self.size, NO_CODE)
        firsts[self.rows[::-1]] = self.codes[::-1]
        return firsts

    def among(self, rows: NDArray[np.int64]) -> Column:
        """Return the values of rows ``[m]`` alone, which must ascend."""
        first, end = np.searchsorted(self.rows, rows), np.searchsorted(self.rows, rows + 1)
        counts = end - first
        positions = np.arange(counts.sum()) + np.repeat(end - counts.cumsum(), counts)
        return replace(
            self, rows=self.rows[positions], codes=self.codes[positions], numbers=self.numbers[positions]
        )

    def having_any(self, codes: Sequence[int], rows: NDArray[np.int64]) -> Mask:
        """``[m]`` mask of the rows ``[m]`` that have a value with one of the numbers."""
        return np.isin(rows, self.rows[np.isin(self.codes, codes)])

    def rows_with(self, key: Hashable) -> NDArray[np.int64]:
        """The rows, ascending, of the items that have a value."""
        return np.unique(self.rows[self.codes == self.numbering.get(key, NO_CODE)])

    def having(self, keys: Iterable[Hashable]) -> Mask:
        """``[n]`` mask of the items that have one of the values."""
        codes = [code for key in keys if (code := self.numbering.get(key)) is not None]
        return self._mask(np.isin(self.codes, codes))

    def passing(self, condition: Condition) -> Mask:
        """``[n]`` mask of the items that pass a condition on this column."""
        mask = ~self.having(condition.unwanted)
        if condition.wanted is not None:
            mask &= self.having(condition.wanted)
        if condition.bounds is not None:
            first, last = condition.bounds
            mask &= self._mask((first <= self.numbers) & (self.numbers <= last))
        if condition.present is not None:
            mask &= self._mask(np.ones(self.rows.size, dtype=np.bool_)) == condition.present
        return mask

    def _mask(self, values: Mask) -> Mask:
        """``[n]`` mask of the items that have one of the values of a mask ``[p]``."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.rows[values]] = True
        return mask


class _Part:
    """Some of the items, by their rows ``[m]``, ascending."""

    def __init__(self, items: Items, rows: NDArray[np.int64]) -> None:
        self._items, self._rows = items, rows
        self.entries = [items.entries[row] for row in rows.tolist()]
        self.columns = Columns(self)

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """The positions of items in this part; others are left out."""
        return np.flatnonzero(np.isin(self._rows, self._items.rows_of(items)))

    def stale_since(self, before: Items) -> None:
        """Return None, for nothing is known of another part."""


class ColumnChange(NamedTuple):
    """The column of an earlier state of the items, and the rows, ascending, that have changed since."""

    column: Column
    stale: NDArray[np.int64]


NO_COLUMNS: Mapping[str | None, ColumnChange] = {}


class Columns:
    """The columns of a catalogue, each made when it is first asked for, from an earlier one if possible."""

    def __init__(self, items: Items, earlier: Mapping[str | None, ColumnChange] = NO_COLUMNS) -> None:
        self._items = items
        self._earlier = earlier
        self._made: dict[str | None, Column] = {}

    def of(self, attribute: str | None) -> Column:
        """The column of an attribute; that of the categories for None."""
        if attribute not in self._made:
            self._made[attribute] = self._make(attribute)
        return self._made[attribute]

    def earlier(self, stale: NDArray[np.int64]) -> dict[str | None, ColumnChange]:
        """Return the columns for a later state of the items, with the rows that change until then."""
        unused = {
            attribute: ColumnChange(column, np.union1d(before, stale))
            for attribute, (column, before) in self._earlier.items()
            if 2 * (before.size + stale.size) < column.size
        }
        return unused | {
            attribute: ColumnChange(column, stale) for attribute, column in self._made.copy().items()
        }

    def _make(self, attribute: str | None) -> Column:
        if attribute not in self._earlier:
            return Column.of(self._items.entries, attribute, {})
        column, stale = self._earlier[attribute]
        stale = stale[stale < len(self._items.entries)]
        fresh = [self._items.entries[row] for row in stale.tolist()]
        return column.updated(len(self._items.entries), stale, Column.of(fresh, attribute, column.numbering))

    def mask(self, match: ItemMatch) -> Mask:
        """``[n]`` mask of the items that match."""
        mask = np.ones(len(self._items.entries), dtype=np.bool_)
        if match.ids:
            mask[:] = False
            mask[self._items.rows_of(match.ids)] = True
        if match.categories:
            mask &= self.of(None).having(map(key_of, match.categories))
        for condition in match.attributes:
            mask &= self.of(condition.name).passing(condition)
        return mask


def masks_after(
    items: Items, before: Mapping[ItemMatch, Mask], stale: NDArray[np.int64]
) -> dict[ItemMatch, Mask]:
    """Return masks ``[n]`` from earlier ones, and the rows, ascending, that have changed since."""
    size, changed = len(items.entries), _Part(items, stale)

    def after(match: ItemMatch, mask: Mask) -> Mask:
        after = np.zeros(size, dtype=np.bool_)
        kept = min(size, mask.size)
        after[:kept] = mask[:kept]
        after[stale] = changed.columns.mask(match)
        return after

    return {match: after(match, mask) for match, mask in before.items()}


def _value(item: Item, attribute: str | None) -> Value | None:
    if attribute is None:
        return item.category
    return item.attributes.get(attribute, item.category if attribute == CATEGORY else None)
