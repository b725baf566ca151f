"""Cohorts of targets, whose quality is reported apart: of what is new, rare, or long ago.

All follow from the histories and the numbers of acts, so that a rebuild finds the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.prequential import SLICES, Targets
from pipeline.state.head import Head
from pipeline.state.segments import Segment

COLD_BELOW = 5
"""An item with fewer acts than this is cold."""
NEW_USER_BELOW = 5
"""A user with fewer known acts counts as new."""
PAUSE_BUCKET = 21
"""A pause in this bucket or a later one is long: 2^21 seconds are 24 days."""
RETURNING_ACTS = 20
"""So many acts after a long pause are those of a user who returns."""
Mask = NDArray[np.bool_]


def cohorts(segments: Sequence[Segment], known: Targets, opens: Mask, head: Head) -> dict[str, Mask]:
    """Return the masks ``[m]`` of the segments' targets by slice; `opens` are those that open a basket.

    A first act of a user, which only attributes can predict, counts as such, and as no first of a basket.
    """
    begins = np.concatenate([segment.targets == 0 for segment in segments])
    dormant, returning = _pauses(segments)
    masks = {
        "all": np.ones_like(opens),
        "first_of_basket": opens & ~begins,
        "first_of_user": begins,
        "cold": known.acts < COLD_BELOW,
        "new_items": known.acts == 0,
        "tail": known.acts <= head.least,
        "new_users": known.pasts < NEW_USER_BELOW,
        "dormant": dormant,
        "returning": returning,
    }
    return {name: masks[name] for name in SLICES}


def _pauses(segments: Sequence[Segment]) -> tuple[Mask, Mask]:
    """Which targets follow a long pause at once, and which soon after one."""
    pauses = np.concatenate([segment.gaps for segment in segments]) >= PAUSE_BUCKET
    before = np.append(0, pauses.cumsum())
    sizes = np.array([len(segment) for segment in segments], dtype=np.int64)
    starts = np.repeat(sizes.cumsum() - sizes, [segment.targets.size for segment in segments])
    targets = starts + np.concatenate([segment.targets for segment in segments])
    soon = before[targets] > before[np.maximum(targets - RETURNING_ACTS, starts)]
    return pauses[targets], soon & ~pauses[targets]
