"""Contributions: what each act adds to the counts that all users share, or takes back from them.

A contribution depends on the act and the last acts of its user only, not on how events were batched: a
learner, a retrain that counts its window again and a server that reads after a snapshot agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import InteractionType
from pipeline.state.covisitation import LAG_WEIGHTS, LAGS
from pipeline.state.histories import Act, History, inserted, without
from pipeline.state.signals import Reading, Signals, taken_back


class Contribution(NamedTuple):
    """What one act adds; a return's amounts are negative.

    Attributes:
        weight: for the item's popularity; 0 if the act does not count.
        pairs: other items and weights, for covisitation with the act's item.
        is_capped: whether a cap has reduced it.
    """

    item: str
    weight: float = 0.0
    pairs: Sequence[tuple[str, float]] = ()
    is_capped: bool = False


class Additions(NamedTuple):
    """Contributions as arrays over catalogue rows.

    Attributes:
        items, weights: ``[k]`` for popularity.
        pairs: ``[p]`` each, for covisitation: the acts' items, their partners, and weights.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float64]
    pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def contribution(history: History, act: Act, signals: Signals) -> Contribution:
    """Return what an act adds to the shared counts; `history` are its user's acts before it arrived.

    An act that is older than all acts of its sign that decide on it adds nothing: the history may not keep
    it, so no cap would ever hold, and a return would be obeyed again and again.
    """
    recent = signals.latest(history)
    earlier = _earlier(recent, act)
    if earlier is not recent and _is_too_old(act, recent, signals):
        return Contribution(act.item)
    if act.type is InteractionType.RETURN:
        return _taken_back(earlier, act, signals)
    weight = signals.weight(act)
    if weight <= 0:
        return Contribution(act.item)
    reading = signals.read(recent)
    allowed = signals.allowance(act, weight, reading)
    before = reading if earlier is recent else signals.read(earlier)
    pairs = [(earlier[source].item, share) for source, share in _pairs(before, act.item, allowed, signals)]
    return Contribution(act.item, allowed, pairs, allowed < weight)


def contributions(newest: Sequence[Act], after: History, signals: Signals) -> Iterator[Contribution]:
    """Yield the contributions of a user's newest acts, in the order in which they arrived.

    Args:
        newest: the acts.
        after: the user's history, these acts included as far as it keeps them.
        signals: what acts say.
    """
    before = without(after, newest)
    for act in newest:
        yield contribution(before, act, signals)
        before, _ = signals.remembered(inserted(before, act))


def additions(found: Iterable[Contribution], row: Callable[[str], int]) -> Additions:
    """Convert contributions to arrays, without those of no weight."""
    counted = [one for one in found if one.weight]
    rows = [row(one.item) for one in counted]
    by_row = zip(rows, counted, strict=True)
    pairs = [(new, row(item), weight) for new, one in by_row for item, weight in one.pairs]
    new, old, weights = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Additions(
        np.array(rows, dtype=np.int64),
        np.array([one.weight for one in counted], dtype=np.float64),
        (np.array(new, dtype=np.int64), np.array(old, dtype=np.int64), np.array(weights, dtype=np.float64)),
    )


def _earlier(history: History, act: Act) -> History:
    if not history or history[-1].time <= act.time:
        return history
    return tuple(other for other in history if other.time <= act.time)


def _is_too_old(act: Act, recent: History, signals: Signals) -> bool:
    """Whether acts of its sign fill the history, and all happened after it."""
    sign = signals.sign(act)
    times = [other.time for other in recent if signals.sign(other) == sign]
    return len(times) >= signals.lookback and times[0] > act.time


def _pairs(reading: Reading, item: str, weight: float, signals: Signals) -> list[tuple[int, float]]:
    """Pair an act with the other items that the last acts before it were on.

    Two items that take turns are one pair, which counts as the weaker of the strongest act on each; so a
    capped act adds nothing as a partner either.

    Returns:
        The position of each partner's strongest act, of equal ones the first, and what the pair gains.
    """
    allowed = signals.allowed(reading.acts, reading.weights)
    before, partners = 0.0, dict[str, tuple[float, float, int]]()
    latest = zip(
        LAG_WEIGHTS, reversed(reading.acts), reversed(allowed), reversed(reading.sources), strict=False
    )
    for lag, act, strength, source in latest:
        if act.item == item:
            before = max(before, strength)
        elif act.item not in partners:
            partners[act.item] = float(lag), strength, source
        elif strength >= partners[act.item][1]:
            partners[act.item] = partners[act.item][0], strength, source
    now = max(before, weight)
    gains = [(source, lag * (min(now, own) - min(before, own))) for lag, own, source in partners.values()]
    return [pair for pair in gains if pair[1] > 0]


def _taken_back(earlier: History, act: Act, signals: Signals) -> Contribution:
    """Return the negative of what the purchase that an act takes back has added, later pairs included."""
    found = [bought for bought, by in taken_back((*earlier, act)).items() if by == len(earlier)]
    if not found:
        return Contribution(act.item)
    bought = found[0]
    given = contribution(earlier[:bought], earlier[bought], signals)
    pairs = [*given.pairs, *_later_pairs(earlier, bought, signals)]
    return Contribution(act.item, -given.weight, [(item, -weight) for item, weight in pairs])


def _later_pairs(acts: History, at: int, signals: Signals) -> Iterator[tuple[str, float]]:
    """Yield the pairs that later acts made with the act at a position."""
    positive = [index for index in range(at + 1, len(acts)) if signals.weight(acts[index]) > 0]
    for index in positive[:LAGS]:
        before, later = acts[:index], acts[index]
        reading = signals.read(before)
        weight = signals.allowance(later, signals.weight(later), reading)
        yield from (
            (later.item, share)
            for source, share in _pairs(reading, later.item, weight, signals)
            if source == at
        )
