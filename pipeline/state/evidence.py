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
FADED = FADING ** np.arange(1000)
"""By baskets passed, as far as it makes a difference."""


def evidence(segments: Sequence[Segment], size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The facts that are not zero, of every target of the segments about any of `size` items.

    Returns:
        ``[3, k]`` fact, target and item of each, by ascending target; targets are counted in the
        order of the segments and their positions. And ``[k]``, how much of it there is.
    """
    counts = [segment.targets.size for segment in segments]
    summed = _by_item(segments, np.cumsum([0, *counts]), size)
    targets, facts = np.divmod(np.repeat(np.arange(summed.shape[0]), np.diff(summed.indptr)), len(FACTS))
    repeats = facts == FACTS.index("repeat")
    said = np.where(repeats, np.log1p(REPEAT_SCALE * summed.data), np.minimum(summed.data, 1))
    return np.stack([facts, targets, summed.indices.astype(np.int64)]), said


def _by_item(segments: Sequence[Segment], starts: NDArray[np.int64], size: int) -> sp.csr_array:
    """What the acts of all segments say, added up by item: ``[targets * facts, size]``."""
    rows, items, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for segment, start in zip(segments, starts[:-1], strict=True):
        said = _weights(segment)
        fact, target, act = np.nonzero(said)
        rows.append((start + target) * len(FACTS) + fact)
        items.append(segment.items[act])
        weights.append(said[fact, target, act])
    indices = np.concatenate(rows), np.concatenate(items)
    shape = (int(starts[-1]) * len(FACTS), size)
    return sp.csr_array((np.concatenate(weights), indices), shape=shape).astype(np.float32)


def _weights(segment: Segment) -> NDArray[np.float64]:
    """What each act of a segment says of each target, ``[facts, targets, acts]``."""
    targets = segment.targets[:, None]
    acts = np.arange(len(segment))[None, :]
    past = acts < targets
    passed = segment.baskets[targets] - segment.baskets[acts]
    repeat = past * (passed > 0) * FADED[np.clip(passed - 1, 0, FADED.size - 1)]
    in_basket = past * (passed == 0)
    after_last = past * (acts > 0) * (segment.items[acts - 1] == segment.items[targets - 1])
    return np.stack([repeat, in_basket, after_last])
