"""Segments: one user's interactions in order, with a mark where the new ones begin.

A Segment is a user's history followed by the acts of a MicroBatch, as arrays over catalogue rows. It
holds the acts that count (see `pipeline.state.signals`), and the items that the user rejected beside them.
All scoring and learning starts from Segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import SegmentConfig
from pipeline.events import InteractionType
from pipeline.state.histories import Act
from pipeline.state.profiles import NO_ATTRIBUTES
from pipeline.state.signals import Reading, Rejection, Signals

_item_of, _type_of, _value_of, _time_of = map(attrgetter, ("item", "type", "value", "time"))
"""Mapped over acts, they read a history faster than loops; a server reads one for each request."""
TYPES = tuple(InteractionType)
TYPE_NUMBERS = {name: number for number, name in enumerate(TYPES)}
PURCHASE = TYPE_NUMBERS[InteractionType.PURCHASE]
COLUMNS = ("items", "types", "values", "gaps", "baskets", "weights", "wanted")
"""The arrays of a Segment that have an entry for each act."""
VALUE_BUCKETS = 12
GAP_BUCKETS = 24
NEW_BASKET_AFTER_MS = 30 * 60 * 1000
"""A longer pause between acts without a session begins a new basket."""


class Rejections(NamedTuple):
    """Rejected items: catalogue rows ``[k]``, and the other fields of each Rejection."""

    items: NDArray[np.int64]
    since: NDArray[np.int64]
    until: NDArray[np.int64]
    strength: NDArray[np.float64]
    is_return: NDArray[np.bool_]

    def in_force(self, targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which rejections hold at targets, given by position ``[m]``: ``[p]`` numbers of both."""
        target, rejected = np.nonzero((self.since <= targets[:, None]) & (targets[:, None] <= self.until))
        return target, rejected


NONE = np.zeros(0, dtype=np.int64)
NO_REJECTIONS = Rejections(NONE, NONE, NONE, np.zeros(0), np.zeros(0, dtype=np.bool_))


@dataclass(frozen=True)
class Segment:
    """Acts of one user that count, oldest first; all arrays have shape ``[n]``.

    Attributes:
        items: catalogue rows.
        types: indices into `TYPES`.
        values: buckets of the values (0 for none).
        gaps: buckets of the time since the previous act (0 for the first).
        baskets: numbers of the sessions, counted from 0; never decrease.
        weights: of the acts, positive.
        wanted: whether an act may be a target; an act beyond a cap may not.
        first_new: number of acts that are history; the position of the first new one.
        rejections: for evidence, which needs whole Segments; pieces have none.
        user: digest of the user, 0 if it does not matter.
        attributes: those of the user that the model reads, as they are stored.
        begins: whether the first act is to be predicted, from attributes alone: it is the first that the
            user ever did.
    """

    items: NDArray[np.int64]
    types: NDArray[np.int64]
    values: NDArray[np.int64]
    gaps: NDArray[np.int64]
    baskets: NDArray[np.int64]
    weights: NDArray[np.float64]
    wanted: NDArray[np.bool_]
    first_new: int
    rejections: Rejections = NO_REJECTIONS
    user: int = 0
    attributes: bytes = NO_ATTRIBUTES
    begins: bool = False

    def __len__(self) -> int:
        return self.items.size

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Positions of the new acts that a recommender should predict.

        The first act has no history to predict it from; it needs attributes.
        """
        return self._wanted(max(self._first, self.first_new))

    @property
    def foreseeable(self) -> NDArray[np.int64]:
        """Positions of all acts, new or old, that a recommender should predict."""
        return self._wanted(self._first)

    @property
    def _first(self) -> int:
        """The first position that can be predicted."""
        return 0 if self.begins else 1

    def introduced(self, attributes: bytes, user: int = 0) -> Segment:
        """Return the same acts of a user with some attributes, as they are stored.

        A first act that is new is to be predicted from them.
        """
        begins = bool(attributes) and self.first_new == 0
        columns: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        return Segment(
            **columns,
            first_new=self.first_new,
            rejections=self.rejections,
            user=user,
            attributes=attributes,
            begins=begins,
        )

    def cut(self, start: int, stop: int, first_new: int | None = None) -> Segment:
        """Return the acts from `start` to `stop` as a Segment; those from `first_new` on are new.

        By default they are those that are new here.
        """
        first_new = max(0, self.first_new - start) if first_new is None else first_new
        cut = self.select(slice(start, stop), first_new)
        if not self.attributes:
            return cut
        return replace(cut, attributes=self.attributes, begins=self.begins and start == 0)

    def select(self, chosen: slice | NDArray[np.bool_], first_new: int) -> Segment:
        """Return chosen acts as a Segment without rejections."""
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in COLUMNS}
        return Segment(**columns, first_new=first_new, user=self.user)

    def copied(self) -> Segment:
        """Return the same acts in arrays of their own; a piece keeps the whole Segment's alive."""
        columns: dict[str, Any] = {name: getattr(self, name).copy() for name in COLUMNS}
        return Segment(**columns, first_new=self.first_new, user=self.user)

    def without_last_purchase(self, item: int) -> Segment:
        """Return the acts without the last purchase of an item, as a Segment without rejections."""
        purchases = ((self.items == item) & (self.types == PURCHASE)).nonzero()[0][-1:]
        kept = np.ones(len(self), dtype=np.bool_)
        kept[purchases] = False
        return self.select(kept, int(kept[: self.first_new].sum()))

    def _wanted(self, start: int) -> NDArray[np.int64]:
        """Positions, from `start` on, of acts that may be targets."""
        return self.wanted[start:].nonzero()[0] + start


NO_ACTS = Segment(NONE, NONE, NONE, NONE, NONE, np.zeros(0), np.zeros(0, dtype=np.bool_), first_new=0)


def segments_of(
    readings: Sequence[Reading], first_new: Sequence[int], signals: Signals, row: Callable[[str], int]
) -> list[Segment]:
    """Convert histories to Segments, all at once: each alone takes several times as long.

    Args:
        readings: what the histories say.
        first_new: number of the acts of each that are not new.
        signals: decide which acts may be targets.
        row: maps an item to its catalogue row.
    """
    wanted = [signals.wanted(reading.acts, reading.weights) for reading in readings]
    return _laid_out(readings, wanted, first_new, row)


def segments_before_next(
    readings: Sequence[Reading], coming: Sequence[Act], signals: Signals, row: Callable[[str], int]
) -> list[Segment]:
    """Convert histories to Segments, all at once, each with a placeholder to predict as a last, new act.

    `coming` are the placeholders; see `segments_of`.
    """
    wanted = [[*signals.wanted(reading.acts, reading.weights), True] for reading in readings]
    added = [
        Reading([*reading.acts, act], [*reading.weights, 1.0], reading.sources, reading.rejections)
        for reading, act in zip(readings, coming, strict=True)
    ]
    return _laid_out(added, wanted, [len(reading.acts) for reading in readings], row)


def _laid_out(
    readings: Sequence[Reading],
    wanted: Sequence[list[bool]],
    first_new: Sequence[int],
    row: Callable[[str], int],
) -> list[Segment]:
    """Lay the acts of all readings out, one after the other, and cut them into Segments."""
    acts = list(chain.from_iterable(reading.acts for reading in readings))
    stops = np.cumsum([len(reading.acts) for reading in readings], dtype=np.int64)
    starts = np.append(0, stops)[:-1]
    items, types, values = map(_item_of, acts), map(_type_of, acts), map(_value_of, acts)
    columns: dict[str, Any] = {
        "items": np.array(list(map(row, items)), dtype=np.int64),
        "types": np.array(list(map(TYPE_NUMBERS.__getitem__, types)), dtype=np.int64),
        "values": np.array(list(map(value_bucket, values)), dtype=np.int64),
        "gaps": _gap_buckets(acts, starts),
        "baskets": basket_numbers(acts, starts),
        "weights": np.array(list(chain.from_iterable(one.weights for one in readings)), dtype=np.float64),
        "wanted": np.array(list(chain.from_iterable(wanted)), dtype=np.bool_),
    }
    return [
        Segment(
            **{name: column[start:stop] for name, column in columns.items()},
            first_new=first,
            rejections=_rejections(reading.rejections, row),
        )
        for start, stop, first, reading in zip(
            starts.tolist(), stops.tolist(), first_new, readings, strict=True
        )
    ]


def chunks(segment: Segment, config: SegmentConfig) -> Iterator[Segment]:
    """Cut a Segment into overlapping pieces of bounded length."""
    start, new = max(0, segment.first_new - config.context), segment.first_new
    while new < len(segment):
        stop = min(new + config.length, len(segment))
        yield segment.cut(start, stop, new - start)
        start, new = max(0, stop - config.overlap), stop


def value_bucket(value: float | None) -> int:
    """Return the logarithmic bucket of a value: 0 for None, 1 for a value that is not positive."""
    if value is None:
        return 0
    # frexp's exponent is 1 + ⌊log2⌋; numpy takes ten times as long for a single number.
    return 1 if value <= 0 else min(VALUE_BUCKETS - 1, 1 + math.frexp(1 + value)[1])


def basket_numbers(acts: Sequence[Act], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the baskets of acts from 0 for each user; a basket is a session, or acts without a long pause.

    Args:
        acts: of one user after the other.
        starts: where those of each begin, ascending.
    """
    begins = np.zeros(len(acts), dtype=np.int64)
    begins[1:] = list(map(begins_basket, acts, islice(acts, 1, None)))
    numbers: NDArray[np.int64] = begins.cumsum()
    first = np.append(numbers, 0)[starts]
    numbers -= np.repeat(first, np.diff(starts, append=len(acts)))
    return numbers


def begins_basket(before: Act, act: Act) -> bool:
    """Return whether an act begins a new basket after the previous act."""
    if act.session is None and before.session is None:
        return act.time - before.time > NEW_BASKET_AFTER_MS
    return act.session != before.session


def _rejections(found: Sequence[Rejection], row: Callable[[str], int]) -> Rejections:
    if not found:
        return NO_REJECTIONS
    items, *columns = (np.array(column) for column in zip(*found, strict=True))
    rows = np.array([row(item) for item in items.tolist()], dtype=np.int64)
    return Rejections(rows, *columns)


def _gap_buckets(acts: Sequence[Act], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the logarithmic buckets of the seconds since the previous act; 0 of acts at `starts`."""
    times = np.array(list(map(_time_of, acts)), dtype=np.int64)
    buckets = np.zeros(times.size + 1, dtype=np.int64)  # the last user may have no acts
    seconds = np.maximum(times[1:] - times[:-1], 0) / 1000  # `np.diff` takes as long as all else here
    buckets[1:-1] = np.minimum(GAP_BUCKETS - 1, np.log2(1 + seconds))
    buckets[starts] = 0
    return buckets[:-1]
