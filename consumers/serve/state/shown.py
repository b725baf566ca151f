"""What was shown to users lately, from impressions: `exclude_shown_minutes` and rewards look here.

A server adds its own impressions at once, before the log has them, and those of other servers when they are
read. To add one twice changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.state.acted_items import NO_ITEMS, item_digest

MOST_OF_USER = 1_000
"""Items of one user that are remembered: those that were shown last."""
MOST_ITEMS = 2_000_000
"""Of all users, in 16 bytes each; beyond them, who was shown nothing for longest is forgotten."""
MOST_IMPRESSIONS = 100_000
"""That a reward may still name; about 300 bytes each."""


class ShownLately(NamedTuple):
    """Digests ``[n]`` of items, ascending, and when each was shown last, in ms."""

    digests: NDArray[np.int64]
    times: NDArray[np.int64]


NOTHING_SHOWN = ShownLately(NO_ITEMS, NO_ITEMS)


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
        self._by_user: OrderedDict[str, ShownLately] = OrderedDict()
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
            before = self._by_user.get(user, NOTHING_SHOWN)
            self._by_user[user] = shown = _merged(before, digests, time)
            self._by_user.move_to_end(user)
            self._items += shown.digests.size - before.digests.size
            while self._items > self._most_items:
                self._items -= self._by_user.popitem(last=False)[1].digests.size

    def since(self, user: str, time: int) -> ShownLately:
        """Return the items that a user was shown at a time or later."""
        with self._lock:
            shown = self._by_user.get(user, NOTHING_SHOWN)
        is_late = shown.times >= time
        return ShownLately(shown.digests[is_late], shown.times[is_late])

    def first(self, impression: str) -> ImpressionTarget | None:
        """Return the target of an impression; None if it is unknown, or too many followed it."""
        with self._lock:
            return self._first.get(impression)


def _merged(before: ShownLately, digests: NDArray[np.int64], time: int) -> ShownLately:
    """Add items; of each the latest time is kept."""
    every = np.concatenate([before.digests, digests])
    times = np.concatenate([before.times, np.full(digests.size, time, dtype=np.int64)])
    order = np.lexsort((times, every))
    every, times = every[order], times[order]
    is_last = np.append(every[1:] != every[:-1], True)
    every, times = every[is_last], times[is_last]
    if every.size > MOST_OF_USER:
        latest = np.sort(np.argsort(times, kind="stable")[-MOST_OF_USER:])
        every, times = every[latest], times[latest]
    return ShownLately(every, times)
