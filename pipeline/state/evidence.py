"""Evidence: cheap features of (history, item) pairs that an embedding cannot represent exactly.

In the order of `FACTS`: how often the user acted on the item in earlier baskets, decayed by the
number of baskets since; whether the item is in the current basket; whether the item followed the
last item before in the user's history; how strongly the user rejected it since last acting on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipeline.state.segments import Segment

FACTS = ("repeat", "in_basket", "followed", "rejected")
FADING = 0.97
REPEAT_SCALE = 10.0
ONE_REPEAT = math.log1p(REPEAT_SCALE)
"""The value of "repeat" for one act of weight 1 in the basket before."""
FADED = FADING ** np.arange(1000)
"""Decay by the number of baskets since; after 1,000 it is negligible."""


def evidence(segments: Sequence[Segment], size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the nonzero facts of every target of the segments, over `size` items.

    Returns:
        ``[3, k]`` fact, target and item of each, by ascending target; targets are numbered in the
        order of the segments and their positions. And their ``[k]`` values.
    """
    counts = [segment.targets.size for segment in segments]
    summed = _by_item(segments, np.cumsum([0, *counts]), size)
    targets, facts = np.divmod(np.repeat(np.arange(summed.shape[0]), np.diff(summed.indptr)), len(FACTS))
    repeats, rejected = facts == FACTS.index("repeat"), facts == FACTS.index("rejected")
    values = np.where(repeats, np.log1p(REPEAT_SCALE * summed.data), np.minimum(summed.data, 1))
    values = np.where(rejected, rejection(summed.data), values)
    return np.stack([facts, targets, summed.indices.astype(np.int64)]), values


def rejection(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value of the fact for a summed strength: 1 for one dislike, and more for every further one."""
    return np.log2(1 + strength)


def _by_item(segments: Sequence[Segment], starts: NDArray[np.int64], size: int) -> sp.csr_array:
    """Sum the weights of the acts and rejections of all segments by item: ``[targets * facts, size]``."""
    rows, items, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for segment, start in zip(segments, starts[:-1], strict=True):
        act_weights = _weights(segment)
        fact, target, act = np.nonzero(act_weights)
        rows.append((start + target) * len(FACTS) + fact)
        items.append(segment.items[act])
        weights.append(act_weights[fact, target, act])
        target, rejected = np.nonzero(_in_force(segment))
        rows.append((start + target) * len(FACTS) + FACTS.index("rejected"))
        items.append(segment.rejections.items[rejected])
        weights.append(segment.rejections.strength[rejected])
    indices = np.concatenate(rows), np.concatenate(items)
    shape = (int(starts[-1]) * len(FACTS), size)
    return sp.csr_array((np.concatenate(weights), indices), shape=shape).astype(np.float32)


def _weights(segment: Segment) -> NDArray[np.float64]:
    """Weights of each act for each fact of acts and each target, ``[facts, targets, acts]``."""
    targets = segment.targets[:, None]
    acts = np.arange(len(segment))[None, :]
    past = acts < targets
    passed = segment.baskets[targets] - segment.baskets[acts]
    repeat = segment.weights * past * (passed > 0) * FADED[np.clip(passed - 1, 0, FADED.size - 1)]
    in_basket = past * (passed == 0)
    after_last = past * (acts > 0) * (segment.items[acts - 1] == segment.items[targets - 1])
    return np.stack([repeat, in_basket, after_last])


def _in_force(segment: Segment) -> NDArray[np.bool_]:
    """Whether each rejection is in force at each target, ``[targets, rejections]``."""
    targets, rejections = segment.targets[:, None], segment.rejections
    in_force: NDArray[np.bool_] = (rejections.since <= targets) & (targets <= rejections.until)
    return in_force
