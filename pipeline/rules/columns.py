"""Values of items as columns, so that a condition is tested for all items at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Item
from pipeline.rules.conditions import Condition, Value, key_of, number_of, parts_of
from pipeline.rules.rule import ItemMatch

Mask = NDArray[np.bool_]


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


@dataclass(frozen=True)
class Column:
    """One value, or a list of them, for each of n items.

    Attributes:
        size: n.
        rows: ``[p]`` row of each value, ascending.
        codes: ``[p]`` number of each value, equal for equal values.
        numbers: ``[p]`` the value where it is a number, else NaN.
        numbering: number of each value, by its key.
    """

    size: int
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]
    numbering: Mapping[Hashable, int]

    def codes_of(self, row: int) -> list[int]:
        """The numbers of a row's values."""
        return sorted(set(self.codes[self._starts[row] : self._starts[row + 1]].tolist()))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """``[n + 1]`` where the values of each row begin."""
        return np.searchsorted(self.rows, np.arange(self.size + 1))

    def having(self, keys: Iterable[Hashable]) -> Mask:
        """``[n]`` mask of the items that have one of the values."""
        codes = [code for key in keys if (code := self.numbering.get(key)) is not None]
        return self._mask(np.isin(self.codes, codes))

    def passing(self, condition: Condition) -> Mask:
        """``[n]`` mask of the items that pass a condition on this column."""
        mask = ~self.having(condition.unwanted)
        if condition.wanted is not None:
            mask &= self.having(condition.wanted)
        if condition.at_least is not None:
            mask &= self._mask(self.numbers >= condition.at_least)
        if condition.at_most is not None:
            mask &= self._mask(self.numbers <= condition.at_most)
        if condition.present is not None:
            mask &= self._mask(np.ones(self.rows.size, dtype=np.bool_)) == condition.present
        return mask

    def _mask(self, values: Mask) -> Mask:
        """``[n]`` mask of the items that have one of the values of a mask ``[p]``."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.rows[values]] = True
        return mask


class Columns:
    """The columns of a catalogue, each made when it is first asked for."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._made: dict[str | None, Column] = {}

    def of(self, attribute: str | None) -> Column:
        """The column of an attribute; that of the categories for None."""
        if attribute not in self._made:
            self._made[attribute] = _column(self._items.entries, _reader(attribute))
        return self._made[attribute]

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


def _reader(attribute: str | None) -> Callable[[Item], Value | None]:
    if attribute is None:
        return lambda item: item.category
    return lambda item: item.attributes.get(attribute)


def _column(entries: Sequence[Item | None], read: Callable[[Item], Value | None]) -> Column:
    rows, codes, numbers = [], [], []
    numbering: dict[Hashable, int] = {}
    for row, item in enumerate(entries):
        for value in parts_of(read(item)) if item is not None else ():
            rows.append(row)
            codes.append(numbering.setdefault(key_of(value), len(numbering)))
            number = number_of(value)
            numbers.append(np.nan if number is None else number)
    return Column(
        len(entries),
        np.array(rows, dtype=np.int64),
        np.array(codes, dtype=np.int64),
        np.array(numbers, dtype=np.float64),
        numbering,
    )
