"""Evidence: cheap features of (history, item) pairs that an embedding cannot represent exactly.

In the order of `FACTS`: how often the user acted on the item in earlier baskets, decayed by the
number of baskets since; whether the item is in the current basket; whether the item followed the
last item before in the user's history; how often and how closely it stood beside the latest items there;
how strongly the user rejected it since last acting on it; to how many of the latest items it is related;
and for an item of the current basket, 1 by the acts since the last on it. The last two acts are alike: in
DIGINETICA they are seen again as often (9 % each), the third half as often, the fourth a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipeline.state.counts import spans
from pipeline.state.related_items import NO_RELATED_ROWS, RelatedRows
from pipeline.state.segments import Rejections, Segment

FACTS = ("repeat", "in_basket", "followed", "beside", "rejected", "related", "recent")
FADING = 0.97
REPEAT_SCALE = 10.0
ONE_REPEAT = math.log1p(REPEAT_SCALE)
"""The value of "repeat" for one act of weight 1 in the basket before."""
BESIDE_SCALE = RELATED_SCALE = 10.0
LATEST, REACH = 4, 3
"""Latest acts whose earlier neighbours and related items count, and how far away neighbours may be."""
NEARNESS = np.array([1.0, 0.7, 0.5, 0.35])
"""Weight of an earlier neighbour by its distance, and of a latest act by the acts since."""
BEFORE = 0.5
"""Weight of a neighbour that stood before; those after have 1. Both say that items are bought together."""
NO_ROWS = np.zeros(0, dtype=np.int64)
FADED = FADING ** np.arange(1000)
"""Decay by the number of baskets since; after 1,000 it is negligible."""


class Weights(NamedTuple):
    """Weights ``[k]`` of items for a fact, each at a target by its number."""

    fact: str
    targets: NDArray[np.int64]
    items: NDArray[np.int64]
    weights: NDArray[np.float64]


def evidence(
    segments: Sequence[Segment], size: int, related: RelatedRows = NO_RELATED_ROWS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the nonzero facts of every target of the segments, over `size` items, some of them related.

    Returns:
        ``[3, k]`` fact, target and item of each, by ascending target; targets are numbered in the
        order of the segments and their positions. And their ``[k]`` values.
    """
    summed = _by_item(segments, size, related)
    targets, facts = np.divmod(np.repeat(np.arange(summed.shape[0]), np.diff(summed.indptr)), len(FACTS))
    values = np.minimum(summed.data, 1)
    for fact, value in VALUES.items():
        own = facts == FACTS.index(fact)
        values[own] = value(summed.data[own])
    return np.stack([facts, targets, summed.indices.astype(np.int64)]), values


def returned(segments: Sequence[Segment], targets: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return pairs ``[2, k]`` of a target, numbered as in `evidence`, and an item that was returned."""
    pairs = [np.stack([NO_ROWS, NO_ROWS])]
    for rejections, target, rejected in _in_force(segments, targets):
        own = np.stack([target, rejections.items[rejected]])
        pairs.append(own[:, rejections.is_return[rejected]])
    return np.concatenate(pairs, axis=1)


def rejection(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value of the fact for a summed strength: 1 for one dislike, and more for every further one."""
    return np.log2(1 + strength)


VALUES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "repeat": lambda summed: np.log1p(REPEAT_SCALE * summed),
    "beside": lambda summed: np.log1p(BESIDE_SCALE * summed),
    "rejected": rejection,
    "related": lambda summed: np.log1p(RELATED_SCALE * summed),
}
"""The values of facts for summed weights; those of the others are the sum, 1 at most."""


def _by_item(segments: Sequence[Segment], size: int, related: RelatedRows) -> sp.csr_array:
    """Sum the weights of the acts and rejections of all segments by item: ``[targets * facts, size]``."""
    if not segments:
        return sp.csr_array(np.zeros((0, size), dtype=np.float32))
    targets = [segment.targets for segment in segments]
    parts = [*_of_acts(segments, targets), *_of_rejections(segments, targets)]
    if len(related):
        parts.append(_related(segments, targets, related))
    rows = np.concatenate([part.targets * len(FACTS) + FACTS.index(part.fact) for part in parts])
    items, weights = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "weights")
    )
    shape = sum(own.size for own in targets) * len(FACTS), size
    return sp.csr_array((weights, (rows, items)), shape=shape).astype(np.float32)


def _of_acts(segments: Sequence[Segment], targets: Sequence[NDArray[np.int64]]) -> Iterator[Weights]:
    """Weigh each act before each target, for the facts of acts; of all segments at once, for speed."""
    lengths = np.array([len(segment) for segment in segments], dtype=np.int64)
    items, baskets, weights = (
        np.concatenate([getattr(segment, name) for segment in segments])
        for name in ("items", "baskets", "weights")
    )
    passed_by = np.concatenate(targets)
    starts = np.repeat(np.cumsum(lengths) - lengths, [own.size for own in targets])
    target, acts = np.repeat(np.arange(passed_by.size), passed_by), spans(starts, passed_by)
    at, first = (starts + passed_by)[target], starts[target]
    passed = baskets[at] - baskets[acts]
    is_earlier = passed > 0
    faded = FADED[np.minimum(passed[is_earlier] - 1, FADED.size - 1)]
    yield Weights("repeat", target[is_earlier], items[acts[is_earlier]], weights[acts[is_earlier]] * faded)
    is_followed = (acts > first) & (items[acts - 1] == items[at - 1])
    since, once = np.maximum(at - 1 - acts, 1), np.ones(acts.size)
    facts = (
        ("in_basket", ~is_earlier, once),
        ("recent", ~is_earlier, 1 / since),
        ("followed", is_followed, once),
    )
    for fact, holds, own in facts:
        yield Weights(fact, target[holds], items[acts[holds]], own[holds])
    yield from _beside(items, target, acts, at, first)


def _beside(
    items: NDArray[np.int64],
    target: NDArray[np.int64],
    acts: NDArray[np.int64],
    at: NDArray[np.int64],
    first: NDArray[np.int64],
) -> Iterator[Weights]:
    """Weigh the neighbours that the items of the latest acts had when they were acted on before.

    Args:
        items: ``[a]`` of the acts of all segments.
        target, acts, at, first: ``[p]`` pairs of a target and an act before it: the target's number, and
            where the act, the target and the first act of its segment are.
    """
    steps = np.array([step for step in range(-REACH, REACH + 1) if step])
    closeness = NEARNESS[np.abs(steps) - 1] * np.where(steps < 0, BEFORE, 1)
    for since in range(LATEST):
        latest = np.maximum(at - 1 - since, first)
        recurs = (acts < at - 1 - since) & (items[acts] == items[latest])
        neighbours = acts[recurs, None] + steps
        known = (neighbours >= first[recurs, None]) & (neighbours < at[recurs, None])
        targets = np.broadcast_to(target[recurs, None], known.shape)[known]
        weights = np.broadcast_to(NEARNESS[since] * closeness, known.shape)[known]
        yield Weights("beside", targets, items[neighbours[known]], weights)


def _of_rejections(segments: Sequence[Segment], targets: Sequence[NDArray[np.int64]]) -> Iterator[Weights]:
    """Weigh the rejections that are in force at each target."""
    for rejections, target, rejected in _in_force(segments, targets):
        yield Weights("rejected", target, rejections.items[rejected], rejections.strength[rejected])


def _in_force(
    segments: Sequence[Segment], targets: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[Rejections, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rejections of a segment, and ``[p]`` targets and which of them holds there; few have any."""
    first = 0
    for segment, own in zip(segments, targets, strict=True):
        if segment.rejections.items.size:
            target, rejected = segment.rejections.in_force(own)
            yield segment.rejections, first + target, rejected
        first += own.size


def _related(
    segments: Sequence[Segment], targets: Sequence[NDArray[np.int64]], related: RelatedRows
) -> Weights:
    """Weigh the items that are related to those of the latest acts before each target."""
    pairs = [(segment.items, at) for segment, own in zip(segments, targets, strict=True) for at in own]
    latest = [items[at - 1 - since] if since < at else -1 for items, at in pairs for since in range(LATEST)]
    asked, numbers = np.unique(np.array(latest, dtype=np.int64), return_inverse=True)
    found = [related.of(row) if row >= 0 else NO_ROWS for row in asked.tolist()]
    lengths = np.array([rows.size for rows in found], dtype=np.int64)
    starts, counts = (lengths.cumsum() - lengths)[numbers], lengths[numbers]
    items = np.concatenate([NO_ROWS, *found])[spans(starts, counts)]
    acts = np.repeat(np.arange(numbers.size), counts)
    return Weights("related", acts // LATEST, items, NEARNESS[acts % LATEST])
