"""The slate: the best items within caps, with pinned ones at their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.rules.columns import Column, Mask

FEW = 4
"""A cap for some rows alone costs their number, and a few times as much a row as one for all."""


class Pin(NamedTuple):
    """An item's place, from 1, by a rule."""

    rule: str
    row: int
    place: int


class Cap(NamedTuple):
    """At most so many of the items of a mask ``[n]`` for each value of a column, by a rule or a request.

    Without a mask, of all items.
    """

    rule: str | None
    most: int
    column: Column
    mask: Mask | None = None

    def counts(self, row: int) -> bool:
        """Whether an item counts."""
        return self.mask is None or bool(self.mask[row])

    def among(self, rows: NDArray[np.int64]) -> Cap:
        """Return the cap for some rows alone, which are far fewer than the items."""
        if FEW * rows.size > self.column.size:
            return self
        return self._replace(column=self.column.among(np.sort(rows)))


@dataclass(frozen=True)
class Slate:
    """The rows of an answer in order, and what placed or held back some.

    Attributes:
        rows: of the items.
        pinned: by row, the rule that pinned it.
        capped: the rules that held an item back.
    """

    rows: list[int]
    pinned: dict[int, str] = field(default_factory=dict)
    capped: frozenset[str] = frozenset()


def make_slate(order: NDArray[np.int64], k: int, pins: Iterable[Pin] = (), caps: Sequence[Cap] = ()) -> Slate:
    """Choose at most k items.

    An eligible item gets its pinned place, or the last one of a shorter answer, unless a pin before it has
    the place or the item, or a cap is full. All other places go to the best items within the caps.

    Args:
        order: rows of the eligible items, best first.
        pins: in the order of precedence.
    """
    counts = _Counts([cap.among(order) for cap in caps])
    placed = _placed(pins, order, k, counts)
    free = order[~np.isin(order, list(placed.values()))] if placed else order
    best: list[int] = free[: k - len(placed)].tolist()
    chosen = _chosen(free, k - len(placed), counts) if caps else best
    for row in set(best) - set(chosen):
        counts.admits(row)
    rows = _merged(chosen, placed, k)
    rules = {pin.row: pin.rule for pin in pins if placed.get(pin.place) == pin.row}
    return Slate(rows, rules, frozenset(counts.capped))


class _Counts:
    """How many items of each value the slate has, for each cap."""

    def __init__(self, caps: Sequence[Cap]) -> None:
        self._caps = caps
        self._counts = [Counter[int]() for _ in caps]
        self._codes: dict[tuple[int, int], list[int]] = {}
        self.capped: set[str] = set()

    def admits(self, row: int) -> bool:
        """Whether no cap is full for an item; remembers the rules of those that are."""
        full = {
            cap.rule
            for cap, counts in zip(self._caps, self._counts, strict=True)
            if cap.counts(row) and any(counts[code] >= cap.most for code in self._codes_of(cap, row))
        }
        self.capped |= {rule for rule in full if rule is not None}
        return not full

    def add(self, row: int) -> bool:
        """Count an item; return whether that has filled a cap for a value."""
        filled = False
        for cap, counts in zip(self._caps, self._counts, strict=True):
            for code in self._codes_of(cap, row) if cap.counts(row) else ():
                counts[code] += 1
                filled |= counts[code] == cap.most
        return filled

    def _codes_of(self, cap: Cap, row: int) -> list[int]:
        """The numbers of a row's values; caps often share a column."""
        place = id(cap.column), row
        if place not in self._codes:
            self._codes[place] = cap.column.codes_of(row)
        return self._codes[place]

    def without_full(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave out the rows that a full cap holds back."""
        for cap, counts in zip(self._caps, self._counts, strict=True):
            full = [code for code, count in counts.items() if count >= cap.most]
            held = cap.column.having_any(full, rows)
            rows = rows[~held if cap.mask is None else ~(held & cap.mask[rows])]
        return rows


def _placed(pins: Iterable[Pin], eligible: NDArray[np.int64], k: int, counts: _Counts) -> dict[int, int]:
    """Return the pinned row of each place."""
    placed: dict[int, int] = {}
    for pin in pins:
        is_free = pin.place <= k and pin.place not in placed and pin.row not in placed.values()
        if is_free and pin.row in eligible and counts.admits(pin.row):
            placed[pin.place] = pin.row
            counts.add(pin.row)
    return placed


def _chosen(free: NDArray[np.int64], most: int, counts: _Counts) -> list[int]:
    """Return the best of the free rows within the caps."""
    chosen: list[int] = []
    left = counts.without_full(free)
    while left.size and len(chosen) < most:
        for number, row in enumerate(left[: most - len(chosen)].tolist()):
            chosen.append(row)
            if counts.add(row):
                left = counts.without_full(left[number + 1 :])
                break
        else:
            break
    return chosen


def _merged(chosen: list[int], placed: dict[int, int], k: int) -> list[int]:
    """Put the chosen rows into the places that no pin has; later pins move up if there are too few."""
    others = iter(chosen)
    rows = (placed[place] if place in placed else next(others, None) for place in range(1, k + 1))
    return [row for row in rows if row is not None]
