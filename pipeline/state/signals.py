"""Signals: what acts say about their items, under the settings.

Learner, retrain and server read histories only through this module, so that they agree. Negative acts,
and purchases that were returned, are left out of everything but the fact that lowers a rejected item: as an
input of the tower their vectors would pull the user towards what was rejected.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import NamedTuple

from pipeline.config import SignalsConfig
from pipeline.events import InteractionType
from pipeline.state.covisitation import LAGS
from pipeline.state.histories import Act, History

EXACT = 64
"""Weights are multiples of 1 / EXACT: sums of them are exact, whatever the order."""
MS_PER_HOUR = 3_600_000
_type_of, _item_of = attrgetter("type"), attrgetter("item")
"""Mapped over acts, they read a history several times as fast as a loop; one is read for every event."""


class Rejection(NamedTuple):
    """An item that a user rejected; the positions are of the acts that count.

    Attributes:
        since: number of acts before it: it is known at this position and later ones.
        until: position of the next act on the item, which lifts it; beyond the last act if there is none.
        strength: the negative act's weight, without its sign.
        is_return: whether it takes back a purchase.
    """

    item: str
    since: int
    until: int
    strength: float
    is_return: bool


class Reading(NamedTuple):
    """What a history says.

    Attributes:
        acts: those of positive weight that were not taken back, oldest first.
        weights: their weights.
        sources: their positions in the history.
        rejections: what the user rejected.
    """

    acts: list[Act]
    weights: list[float]
    sources: list[int]
    rejections: list[Rejection]

    def until(self, source: int) -> int:
        """How many of the acts are before a position of the history."""
        return bisect_left(self.sources, source)

    def rejected(self) -> dict[str, float]:
        """Sum the strengths of the rejections that are in force after the last act, by item."""
        strengths: dict[str, float] = defaultdict(float)
        for one in self.rejections:
            if one.until == len(self.acts):
                strengths[one.item] += one.strength
        return strengths


class Signals:
    """The settings of signals, for histories of a given length.

    Attributes:
        length: number of acts of each sign that a history keeps, see `remembered`.
        lookback: number of latest acts of each sign that decide on what a new one adds to shared counts. It
            is less than a history, so that a server that lacks the oldest acts, because newer ones are not
            learned yet, counts the same.
    """

    def __init__(self, config: SignalsConfig, history_length: int) -> None:
        self.config = config
        self.length = history_length
        self.lookback = max(LAGS, history_length * 3 // 4)
        self._window_ms = config.user_hours * MS_PER_HOUR
        self._by_type = {kind: _exact(getattr(config, _field(kind))) for kind in InteractionType}
        positive = (kind for kind, weight in self._by_type.items() if weight > 0)
        self._counting = frozenset(kind for kind in positive if kind is not InteractionType.RATING)

    def weight(self, act: Act) -> float:
        """Return the signed weight of an act."""
        weight = self._by_type[act.type]
        return weight if act.type is not InteractionType.RATING else self._of_rating(act.value, weight)

    def remembered(self, acts: History) -> tuple[History, History]:
        """Split a history into what is kept of it and what leaves it.

        The last acts of each sign are kept: rejections that would push what a user likes out of the history,
        or that many likes or neutral ratings would push out, would come to nothing.
        """
        return self._split(acts, self.length)

    def latest(self, acts: History) -> History:
        """Return the acts of a history that decide on what a new one adds to shared counts."""
        return self._split(acts, self.lookback)[0]

    def _split(self, acts: History, count: int) -> tuple[History, History]:
        """Split off all but the last `count` acts of each sign; a purchase stays as long as its return."""
        if len(acts) <= count:
            return acts, ()
        if self._all_count(acts):
            return acts[-count:], acts[:-count]
        returned = taken_back(acts)
        by_sign: dict[int, list[int]] = defaultdict(list)
        for i, act in enumerate(acts):
            if i not in returned:
                by_sign[self.sign(act)].append(i)
        kept = {i for found in by_sign.values() for i in found[-count:]}
        kept.update(bought for bought, by in returned.items() if by in kept)
        by_kept: tuple[list[Act], list[Act]] = [], []
        for i, act in enumerate(acts):
            by_kept[i not in kept].append(act)
        return tuple(by_kept[0]), tuple(by_kept[1])

    def _all_count(self, acts: Sequence[Act]) -> bool:
        """Whether all acts are of types that count, whatever their values."""
        return self._counting.issuperset(map(_type_of, acts))

    def sign(self, act: Act) -> int:
        """Return the sign of an act's weight: 1, 0 or -1."""
        weight = self.weight(act)
        return (weight > 0) - (weight < 0)

    def read(self, acts: Sequence[Act]) -> Reading:
        """Read acts, oldest first."""
        if self._all_count(acts):
            weights = list(map(self._by_type.__getitem__, map(_type_of, acts)))
            return Reading(list(acts), weights, list(range(len(acts))), [])
        returned = taken_back(acts)
        weights = [self.weight(act) for act in acts]
        sources = [i for i, weight in enumerate(weights) if weight > 0 and i not in returned]
        kept = [acts[i] for i in sources]
        rejections = [
            _rejection(acts[i], -weight, kept, bisect_left(sources, i))
            for i, weight in enumerate(weights)
            if weight < 0
        ]
        return Reading(kept, [weights[i] for i in sources], sources, rejections)

    def wanted(self, acts: Sequence[Act], weights: Sequence[float]) -> list[bool]:
        """Say of acts, oldest first, whether they may be targets: those within the cap on one item.

        The cap on all acts of a user is on counts alone: what a busy user does is worth learning.
        """
        return [weight > 0 for weight in self._allowed(acts, weights, math.inf)]

    def allowed(self, acts: Sequence[Act], weights: Sequence[float]) -> Sequence[float]:
        """Reduce the weights of acts, oldest first, to what the caps allow given those before each."""
        return self._allowed(acts, weights, self.config.user_cap)

    def _allowed(self, acts: Sequence[Act], weights: Sequence[float], user_cap: float) -> Sequence[float]:
        if self._are_moderate(acts, weights, user_cap):
            return weights
        by_item: dict[str, float] = defaultdict(float)
        by_user, start, allowed = 0.0, 0, list[float]()
        for index, (act, weight) in enumerate(zip(acts, weights, strict=True)):
            oldest = index - self.lookback
            if oldest > 0:
                by_item[acts[oldest - 1].item] -= weights[oldest - 1]
            while start < index and (start < oldest or acts[start].time <= act.time - self._window_ms):
                by_user -= weights[start]
                start += 1
            allowed.append(self._rest(weight, by_item[act.item], user_cap - by_user))
            by_item[act.item] += weight
            by_user += weight
        return allowed

    def allowance(self, act: Act, weight: float, others: Reading) -> float:
        """Return how much of an act's weight the caps allow, given the user's other acts.

        They need not be older: events that are sent in reverse order meet the same caps.
        """
        by_item = sum(compress(others.weights, map(act.item.__eq__, map(_item_of, others.acts))))
        by_user = sum(others.weights)
        if by_user + weight > self.config.user_cap:
            in_window = (abs(other.time - act.time) < self._window_ms for other in others.acts)
            by_user = sum(compress(others.weights, in_window))
        return self._rest(weight, by_item, self.config.user_cap - by_user)

    def _rest(self, weight: float, by_item: float, of_user: float) -> float:
        return max(0.0, min(weight, self.config.item_cap - by_item, of_user))

    def _are_moderate(self, acts: Sequence[Act], weights: Sequence[float], user_cap: float) -> bool:
        """Whether no cap can matter; spares most histories the exact sums."""
        if not acts or sum(weights) > user_cap:
            return not acts
        most = max(Counter(map(_item_of, acts)).values())
        return most * max(weights) <= self.config.item_cap

    def _of_rating(self, value: float | None, weight: float) -> float:
        if value is None:
            return 0.0
        distance = (value - self.config.rating_threshold) / self.config.rating_span
        return _exact(weight * max(-1.0, min(1.0, distance)))


def taken_back(acts: Sequence[Act]) -> dict[int, int]:
    """Return the positions of returned purchases, each with that of its return.

    A return takes back the last purchase of the item that no other return has taken back.
    """
    if InteractionType.RETURN not in map(_type_of, acts):
        return {}
    bought: dict[str, list[int]] = defaultdict(list)
    returned: dict[int, int] = {}
    for index, act in enumerate(acts):
        if act.type is InteractionType.PURCHASE:
            bought[act.item].append(index)
        elif act.type is InteractionType.RETURN and bought[act.item]:
            returned[bought[act.item].pop()] = index
    return returned


def _rejection(act: Act, strength: float, kept: Sequence[Act], since: int) -> Rejection:
    lifted = (position for position in range(since, len(kept)) if kept[position].item == act.item)
    is_return = act.type is InteractionType.RETURN
    return Rejection(act.item, since, next(lifted, len(kept)), strength, is_return)


def _field(kind: InteractionType) -> str:
    """Name of a type's setting; `return` is a word of Python."""
    return "returned" if kind is InteractionType.RETURN else kind.value


def _exact(weight: float) -> float:
    return round(weight * EXACT) / EXACT
