"""Segments: a run of one user's interactions in order, and which of them are new.

A Segment is the history that a user had, followed by the acts that a MicroBatch brought,
as arrays over catalogue rows. Everything that scores or learns starts from Segments.
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
"""Acts without a session belong to a new basket after so long a pause."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Acts of one user, oldest first; all arrays have shape ``[n]``.

    Attributes:
        items: catalogue rows.
        types: numbers of the InteractionType.
        values: bucket of the value (0 where there is none).
        gaps: bucket of the time since the act before (0 for the first).
        baskets: number of the session, counted from 0; never decreases.
        first_new: how many acts were history already.
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
        """Positions of the new acts that a recommender should have foreseen.

        The very first act has nothing to be foreseen from; a dislike is not to be foreseen.
        """
        return self._wanted(max(1, self.first_new))

    @property
    def foreseeable(self) -> NDArray[np.int64]:
        """The same of new and old acts alike."""
        return self._wanted(1)

    def cut(self, start: int, stop: int) -> Segment:
        """The acts from `start` to `stop` as a Segment of their own."""
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
        """Positions from `start` on of acts that are to be foreseen."""
        return WANTED[self.types[start:]].nonzero()[0] + start


def segment_of(acts: Sequence[Act], first_new: int, row: Callable[[str], int]) -> Segment:
    """Arrange acts (oldest first) as arrays; `row` gives an item's catalogue row."""
    return Segment(
        np.array([row(act.item) for act in acts], dtype=np.int64),
        np.array([TYPE_NUMBERS[act.type] for act in acts], dtype=np.int64),
        np.array([value_bucket(act.value) for act in acts], dtype=np.int64),
        _gap_buckets(acts),
        basket_numbers(acts),
        first_new,
    )


def chunks(segment: Segment, config: SegmentConfig) -> Iterator[Segment]:
    """Cut a Segment into pieces of bounded length, the later ones with an overlap."""
    start, new = max(0, segment.first_new - config.context), segment.first_new
    while new < len(segment):
        stop = min(new + config.length, len(segment))
        yield replace(segment.cut(start, stop), first_new=new - start)
        start, new = max(0, stop - config.overlap), stop


def value_bucket(value: float | None) -> int:
    """Logarithmic bucket of a value: 0 for none, 1 for not positive."""
    if value is None:
        return 0
    # frexp's exponent is 1 + ⌊log2⌋; numpy takes ten times as long for one number.
    return 1 if value <= 0 else min(VALUE_BUCKETS - 1, 1 + math.frexp(1 + value)[1])


def basket_numbers(acts: Sequence[Act]) -> NDArray[np.int64]:
    """Number the sessions of acts; without sessions, a long pause begins a new one."""
    starts = [0] + [int(begins_basket(before, act)) for before, act in zip(acts, acts[1:], strict=False)]
    return np.cumsum(np.array(starts[: len(acts)], dtype=np.int64))


def begins_basket(before: Act, act: Act) -> bool:
    """Whether an act opens a new basket after the one before it."""
    if act.session is None and before.session is None:
        return act.time - before.time > NEW_BASKET_AFTER_MS
    return act.session != before.session


def _gap_buckets(acts: Sequence[Act]) -> NDArray[np.int64]:
    """Logarithmic buckets of the seconds since the act before."""
    times = np.array([act.time for act in acts], dtype=np.int64)
    seconds = np.maximum(np.diff(times, prepend=times[:1]), 0) / 1000
    return np.minimum(GAP_BUCKETS - 1, np.log2(1 + seconds).astype(np.int64))
