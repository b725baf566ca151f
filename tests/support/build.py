"""Small values for tests: Segments and Interactions without the ceremony."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config import LearnerConfig, ModelSizes, ReplayConfig, SegmentConfig, StreamConfig
from pipeline.events import Interaction, InteractionType
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
        first_new=first_new,
    )


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
