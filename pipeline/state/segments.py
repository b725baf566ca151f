"""Segments: one user's interactions in order, with a mark where the new ones begin.

A Segment is a user's history followed by the acts of a MicroBatch, as arrays over catalogue rows.
All scoring and learning starts from Segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config import SegmentConfig
from pipeline.events import InteractionType
from pipeline.state.histories import Act

TYPES = tuple(InteractionType)
TYPE_NUMBERS = {name: number for number, name in enumerate(TYPES)}
WANTED = np.array([name not in (InteractionType.DISLIKE, InteractionType.SKIP) for name in TYPES])
VALUE_BUCKETS = 12
GAP_BUCKETS = 24
NEW_BASKET_AFTER_MS = 30 * 60 * 1000
"""A longer pause between acts without a session begins a new basket."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Acts of one user, oldest first; all arrays have shape ``[n]``.

    Attributes:
        items: catalogue rows.
        types: indices into `TYPES`.
        values: buckets of the values (0 for none).
        gaps: buckets of the time since the previous act (0 for the first).
        baskets: numbers of the sessions, counted from 0; never decrease.
        first_new: number of acts that are history; the position of the first new one.
    """

    items: NDArray[np.int64]
    types: NDArray[np.int64]
    values: NDArray[np.int64]
    gaps: NDArray[np.int64]
    baskets: NDArray[np.int64]
    first_new: int

    def __len__(self) -> int:
        return self.items.size

    @property
    def targets(self) -> NDArray[np.int64]:
        """Positions of the new acts that a recommender should predict.

        The first act has no history to predict it from; dislikes and skips are not targets.
        """
        return self._wanted(max(1, self.first_new))

    @property
    def foreseeable(self) -> NDArray[np.int64]:
        """Positions of all acts, new or old, that a recommender should predict."""
        return self._wanted(1)

    def cut(self, start: int, stop: int) -> Segment:
        """Return the acts from `start` to `stop` as a Segment."""
        window = slice(start, stop)
        return Segment(
            self.items[window],
            self.types[window],
            self.values[window],
            self.gaps[window],
            self.baskets[window],
            max(0, self.first_new - start),
        )

    def _wanted(self, start: int) -> NDArray[np.int64]:
        """Positions, from `start` on, of acts whose type is a target."""
        return WANTED[self.types[start:]].nonzero()[0] + start


def segment_of(acts: Sequence[Act], first_new: int, row: Callable[[str], int]) -> Segment:
    """Convert acts (oldest first) to a Segment; `row` maps an item to its catalogue row."""
    return Segment(
        np.array([row(act.item) for act in acts], dtype=np.int64),
        np.array([TYPE_NUMBERS[act.type] for act in acts], dtype=np.int64),
        np.array([value_bucket(act.value) for act in acts], dtype=np.int64),
        _gap_buckets(acts),
        basket_numbers(acts),
        first_new,
    )


def chunks(segment: Segment, config: SegmentConfig) -> Iterator[Segment]:
    """Cut a Segment into overlapping pieces of bounded length."""
    start, new = max(0, segment.first_new - config.context), segment.first_new
    while new < len(segment):
        stop = min(new + config.length, len(segment))
        yield replace(segment.cut(start, stop), first_new=new - start)
        start, new = max(0, stop - config.overlap), stop


def value_bucket(value: float | None) -> int:
    """Return the logarithmic bucket of a value: 0 for None, 1 for a value that is not positive."""
    if value is None:
        return 0
    # frexp's exponent is 1 + ⌊log2⌋; numpy takes ten times as long for a single number.
    return 1 if value <= 0 else min(VALUE_BUCKETS - 1, 1 + math.frexp(1 + value)[1])


def basket_numbers(acts: Sequence[Act]) -> NDArray[np.int64]:
    """Number the baskets of acts from 0; a basket is a session, or acts without a long pause."""
    starts = [0] + [int(begins_basket(before, act)) for before, act in zip(acts, acts[1:], strict=False)]
    return np.cumsum(np.array(starts[: len(acts)], dtype=np.int64))


def begins_basket(before: Act, act: Act) -> bool:
    """Return whether an act begins a new basket after the previous act."""
    if act.session is None and before.session is None:
        return act.time - before.time > NEW_BASKET_AFTER_MS
    return act.session != before.session


def _gap_buckets(acts: Sequence[Act]) -> NDArray[np.int64]:
    """Return the logarithmic buckets of the seconds since the previous act."""
    times = np.array([act.time for act in acts], dtype=np.int64)
    seconds = np.maximum(np.diff(times, prepend=times[:1]), 0) / 1000
    return np.minimum(GAP_BUCKETS - 1, np.log2(1 + seconds).astype(np.int64))
