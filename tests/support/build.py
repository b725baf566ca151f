"""Small values for tests: Segments and Interactions without the ceremony."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
