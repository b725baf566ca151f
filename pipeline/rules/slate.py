"""The slate: the best items within caps, with pinned ones at their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.draws import NOTHING_DRAWN, Drawn, Sampler
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
        drawn: the places that a policy drew.
    """

    rows: list[int]
    pinned: dict[int, str] = field(default_factory=dict)
    capped: frozenset[str] = frozenset()
    drawn: Drawn = NOTHING_DRAWN

    def propensity(self, row: int) -> float:
        """The probability with which a row got its place, given those above it and the pins."""
        return self._propensities.get(row, 1.0)

    @property
    def propensities(self) -> list[float]:
        """The propensity of each row."""
        return [self.propensity(row) for row in self.rows]

    def shadows(self) -> dict[str, list[float]]:
        """The propensity of each row under the policies that were not used, by their names."""
        by_row = {draw.row: draw.shadows for draw in self.drawn.draws}
        names = self.drawn.draws[0].shadows if self.drawn.draws else ()
        return {name: [by_row[row][name] if row in by_row else 1.0 for row in self.rows] for name in names}

    @cached_property
    def explored(self) -> frozenset[int]:
        """The rows that chance put before better ones."""
        return frozenset(draw.row for draw in self.drawn.draws if draw.explores)

    @cached_property
    def _propensities(self) -> dict[int, float]:
        return {draw.row: draw.propensity for draw in self.drawn.draws}


def make_slate(
    order: NDArray[np.int64],
    k: int,
    pins: Iterable[Pin] = (),
    caps: Sequence[Cap] = (),
    sampler: Sampler | None = None,
) -> Slate:
    """Choose at most k items.

    An eligible item gets its pinned place, or the last one of a shorter answer, unless a pin before it has
    the place or the item, or a cap is full. Of the other places the first ones are drawn, if there is a
    sampler, and the rest goes to the best items; all within the caps.

    Args:
        order: rows of the eligible items, best first.
        pins: in the order of precedence.
        sampler: of the items of the order.
    """
    counts = _Counts([cap.among(order) for cap in caps])
    placed = _placed(pins, order, k, counts)
    free, most = order, k - len(placed)
    if placed:
        is_free = ~np.isin(order, list(placed.values()))
        free, sampler = order[is_free], sampler and sampler.among(is_free)
    drawn = sampler.sample(free, most, counts) if sampler else NOTHING_DRAWN
    chosen = [draw.row for draw in drawn.draws]
    chosen += _chosen(_without(free, chosen), most - len(chosen), counts)
    for row in set(free[:most].tolist()) - set(chosen):
        counts.admits(row)
    rows = _merged(chosen, placed, k)
    rules = {pin.row: pin.rule for pin in pins if placed.get(pin.place) == pin.row}
    return Slate(rows, rules, frozenset(counts.capped), drawn)


def _without(rows: NDArray[np.int64], few: Sequence[int]) -> NDArray[np.int64]:
    """Return rows ``[m]`` but for a few of them; NumPy's sets take longer than these comparisons."""
    for row in few:
        rows = rows[rows != row]
    return rows


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

    def admitted(self, rows: NDArray[np.int64]) -> Mask:
        """``[m]`` mask of the rows that no full cap holds back."""
        admitted: Mask = np.ones(rows.size, dtype=np.bool_)
        for cap, counts in zip(self._caps, self._counts, strict=True):
            full = [code for code, count in counts.items() if count >= cap.most]
            if full:
                held = cap.column.having_any(full, rows)
                admitted &= ~held if cap.mask is None else ~(held & cap.mask[rows])
        return admitted


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
    left = free[counts.admitted(free)]
    while left.size and len(chosen) < most:
        for number, row in enumerate(left[: most - len(chosen)].tolist()):
            chosen.append(row)
            if counts.add(row):
                left = left[number + 1 :]
                left = left[counts.admitted(left)]
                break
        else:
            break
    return chosen


def _merged(chosen: list[int], placed: dict[int, int], k: int) -> list[int]:
    """Put the chosen rows into the places that no pin has; later pins move up if there are too few."""
    others = iter(chosen)
    rows = (placed[place] if place in placed else next(others, None) for place in range(1, k + 1))
    return [row for row in rows if row is not None]
