"""Small values for tests: Segments and Interactions without the ceremony."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import LearnerConfig, ModelSizes, ReplayConfig, SegmentConfig, StreamConfig
from pipeline.events import Interaction, InteractionType
from pipeline.state.counts import PairTable
from pipeline.state.covisitation import LAG_WEIGHTS
from pipeline.state.popularity import DecayedPopularity
from pipeline.state.segments import TYPE_NUMBERS, Segment

MINUTE = 60_000


def segment(items: Sequence[int], first_new: int = 0, baskets: Sequence[int] | None = None) -> Segment:
    """Purchases of the given catalogue rows, a minute apart, in one basket unless told."""
    zeros = np.zeros(len(items), dtype=np.int64)
    return Segment(
        items=np.array(items, dtype=np.int64),
        types=zeros + TYPE_NUMBERS[InteractionType.PURCHASE],
        values=zeros,
        gaps=zeros,
        baskets=zeros if baskets is None else np.array(baskets, dtype=np.int64),
        weights=np.ones(len(items)),
        wanted=np.ones(len(items), dtype=np.bool_),
        first_new=first_new,
    )


def as_pairs(
    steps: Iterable[tuple[NDArray[np.int64], int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pair each item with those before it (oldest first), as `Covisitation.fold` takes them."""
    found = [
        (item, int(before), weight)
        for items, item in steps
        for before, weight in zip(items[::-1], LAG_WEIGHTS, strict=False)
    ]
    new, old, weights = zip(*found, strict=True) if found else ((), (), ())
    return np.array(new, dtype=np.int64), np.array(old, dtype=np.int64), np.array(weights, dtype=np.float64)


def matrix_of(counts: PairTable) -> NDArray[np.float64]:
    """The current counts of pairs as a matrix ``[n, n]``."""
    rows = np.arange(counts.size)
    lengths, columns, values = counts.rows(rows)
    matrix = np.zeros((counts.size, counts.size))
    matrix[np.repeat(rows, lengths), columns] = values
    return matrix


def popularity_of(counts: NDArray[np.float64]) -> DecayedPopularity:
    """Counts ``[n]`` that are not to decay."""
    popularity = DecayedPopularity(math.inf)
    popularity.load(counts)
    return popularity


def purchase(user: str, item: str, time: int, session: str | None = None) -> Interaction:
    """A purchase; its event id follows from what it says."""
    return Interaction(
        event_id=f"{user}-{item}-{time}",
        user=user,
        item=item,
        type=InteractionType.PURCHASE,
        time=time,
        session=session,
    )


def vectors_of(item: str, widths: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """Vectors of an item, of any length, that follow from its id."""
    seed = int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "little")
    random = np.random.default_rng(seed)
    return {name: tuple((5 * random.standard_normal(width)).tolist()) for name, width in widths.items()}


def learner_config(
    *,
    context: int = 6,
    length: int = 8,
    overlap: int = 3,
    negatives: int = 8,
    replay: int = 2,
    replay_length: int = 6,
    replay_capacity: int = 20_000,
    history_length: int = 200,
    sizes: ModelSizes = ModelSizes(adapter_rank=4),  # noqa: B008 (frozen)
    **others: Any,
) -> LearnerConfig:
    """A learner's config for small data; other keys as `LearnerConfig` has them."""
    return LearnerConfig(
        negatives=negatives,
        segments=SegmentConfig(context=context, length=length, overlap=overlap),
        replay=ReplayConfig(segments=replay, length=replay_length, capacity=replay_capacity),
        **{"sizes": sizes, "stream": StreamConfig(history_length=history_length), **others},
    )
