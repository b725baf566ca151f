"""What was shown to users lately, from impressions: `exclude_shown_minutes` and rewards look here.

A server adds its own impressions at once, before the log has them, and those of other servers when they are
read. To add one twice changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.state.acted_items import NO_ITEMS, item_digest

MOST_OF_USER = 1_000
"""Items of one user that are remembered: those that were shown last."""
MOST_ITEMS = 2_000_000
"""Of all users, in 16 bytes each; beyond them, who was shown nothing for longest is forgotten."""
MOST_APART = 16
"""Impressions of a user that are merged together: few users' items are ever asked for."""
MOST_IMPRESSIONS = 100_000
"""That a reward may still name; about 300 bytes each."""


class ShownLately(NamedTuple):
    """Digests ``[n]`` of items, ascending, and when each was shown last, in ms."""

    digests: NDArray[np.int64]
    times: NDArray[np.int64]


NOTHING_SHOWN = ShownLately(NO_ITEMS, NO_ITEMS)


@dataclass(slots=True)
class _OfUser:
    """What one user was shown: merged, and impressions that are still apart, as digests and a time."""

    merged: ShownLately = NOTHING_SHOWN
    apart: list[tuple[NDArray[np.int64], int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Items of all of them; one that is in several counts as often."""
        return self.merged.digests.size + sum(digests.size for digests, _ in self.apart)

    def merge(self) -> None:
        """Merge the impressions that are apart."""
        if self.apart:
            self.merged, self.apart = _merged(self.merged, self.apart), []


class ImpressionTarget(NamedTuple):
    """What a reward is for: the user and the first item of an impression, and when it was shown, in ms.

    `digests` of all its items, of eight bytes each.
    """

    user: str
    item: str
    time: int
    digests: bytes

    def has(self, item: str) -> bool:
        """Whether an item was shown."""
        return item_digest(item) in np.frombuffer(self.digests, dtype=np.int64)


class ShownItems:
    """Remembers impressions; thread-safe."""

    def __init__(self, most_items: int = MOST_ITEMS, most_impressions: int = MOST_IMPRESSIONS) -> None:
        self._most_items, self._most_impressions = most_items, most_impressions
        self._by_user: OrderedDict[str, _OfUser] = OrderedDict()
        self._first: OrderedDict[str, ImpressionTarget] = OrderedDict()
        self._items = 0
        self._lock = Lock()

    def add(self, impression: str, user: str, items: Sequence[str], time: int) -> None:
        """Add an impression, shown at a time in ms."""
        digests = np.array([item_digest(item) for item in items], dtype=np.int64)
        with self._lock:
            self._first[impression] = ImpressionTarget(user, items[0], time, digests.tobytes())
            if len(self._first) > self._most_impressions:
                self._first.popitem(last=False)
            own = self._by_user.setdefault(user, _OfUser())
            own.apart.append((digests, time))
            self._items += digests.size
            self._by_user.move_to_end(user)
            if len(own.apart) >= MOST_APART or self._items > self._most_items:
                self._merge(own)
            while self._items > self._most_items:
                self._items -= self._by_user.popitem(last=False)[1].size

    def _merge(self, own: _OfUser) -> None:
        self._items -= own.size
        own.merge()
        self._items += own.size

    def since(self, user: str, time: int) -> ShownLately:
        """Return the items that a user was shown at a time or later."""
        with self._lock:
            own = self._by_user.get(user)
            if own is None:
                return NOTHING_SHOWN
            self._merge(own)
            shown = own.merged
        is_late = shown.times >= time
        return ShownLately(shown.digests[is_late], shown.times[is_late])

    def first(self, impression: str) -> ImpressionTarget | None:
        """Return the target of an impression; None if it is unknown, or too many followed it."""
        with self._lock:
            return self._first.get(impression)


def _merged(before: ShownLately, apart: Sequence[tuple[NDArray[np.int64], int]]) -> ShownLately:
    """Add impressions; of each item the latest time is kept."""
    digests, shown_at = zip(*apart, strict=True)
    every = np.concatenate([before.digests, *digests])
    later = np.repeat(np.array(shown_at, dtype=np.int64), [own.size for own in digests])
    times = np.concatenate([before.times, later])
    order = np.lexsort((times, every))
    every, times = every[order], times[order]
    is_last = np.append(every[1:] != every[:-1], True)
    every, times = every[is_last], times[is_last]
    if every.size > MOST_OF_USER:
        latest = np.sort(np.argsort(times, kind="stable")[-MOST_OF_USER:])
        every, times = every[latest], times[latest]
    return ShownLately(every, times)
