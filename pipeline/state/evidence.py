"""Evidence: cheap facts about (history, candidate) that no embedding keeps exactly.

The facts, in the order of `FACTS`: the user's own repeats from earlier baskets, faded by
baskets passed; already in this basket; followed the last item in the user's own past.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipeline.state.segments import Segment

FACTS = ("repeat", "in_basket", "followed")
FADING = 0.97
REPEAT_SCALE = 10.0


def evidence(segments: Sequence[Segment], size: int) -> NDArray[np.float32]:
    """The facts for every target of the segments and every item.

    Returns:
        ``[facts, targets, size]``, targets in the order of the segments and their positions.
    """
    starts = np.cumsum([0] + [segment.targets.size for segment in segments])
    facts = np.zeros((len(FACTS), starts[-1], size), dtype=np.float32)
    for segment, start, stop in zip(segments, starts[:-1], starts[1:], strict=True):
        for fact, weights in zip(facts, _weights(segment), strict=True):
            fact[start:stop] = _by_item(weights, segment.items, size)
    repeat, in_basket, followed = facts
    return np.stack([np.log1p(REPEAT_SCALE * repeat), np.minimum(in_basket, 1), np.minimum(followed, 1)])


def _weights(segment: Segment) -> tuple[NDArray[np.float64], ...]:
    """For each target (rows) what each act of the segment (columns) says, a matrix a fact."""
    targets = segment.targets[:, None]
    acts = np.arange(len(segment))[None, :]
    past = acts < targets
    passed = segment.baskets[targets] - segment.baskets[acts]
    repeat = past * (passed > 0) * FADING ** np.maximum(passed - 1, 0)
    in_basket = past * (passed == 0)
    after_last = past * (acts > 0) * (segment.items[acts - 1] == segment.items[targets - 1])
    return repeat, in_basket.astype(np.float64), after_last.astype(np.float64)


def _by_item(weights: NDArray[np.float64], items: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Add up the weights ``[targets, acts]`` by item: ``[targets, size]``."""
    rows, acts = np.nonzero(weights)
    matrix = sp.coo_array((weights[rows, acts], (rows, items[acts])), shape=(weights.shape[0], size))
    dense: NDArray[np.float64] = matrix.toarray()
    return dense
