"""Events that are traced, until an answer to their users: the last part of each trace."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from consumers.serve.state.tail import TailEvent
from pipeline import tracing
from pipeline.tracing import Stage

MOST_USERS = 10_000
"""Those whose events were swapped in first are given up: they may never ask."""


class FollowedEvents:
    """Learned events that are traced, by user; for several threads."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, list[str]] = OrderedDict()
        self._lock = Lock()

    def swapped(self, learned: Iterable[TailEvent], began: float, snapshot: str) -> None:
        """Trace that weights which learned events are served, and wait for answers to their users."""
        now = time.time()
        for event in learned:
            if event.traced is None:
                continue
            tracing.record(event.traced, Stage.SWAP, began, now, snapshot=snapshot)
            with self._lock:
                self._events.setdefault(event.user, []).append(event.traced)
                if len(self._events) > MOST_USERS:
                    self._events.popitem(last=False)

    def answered(self, user: str | None, began: float, impression: str | None) -> None:
        """Trace the answer to a user, for all learned events that it is the first one after."""
        if not self._events or user is None:
            return
        with self._lock:
            events = self._events.pop(user, [])
        for event_id in events:
            tracing.record(event_id, Stage.ANSWER, began, time.time(), impression=impression or "")
