"""Episodes: the decisions of a user in the order in which they were shown, until a pause ends the session.

What is linked are numbers of decisions; what they hold is elsewhere. A decision waits here until so many
further ones are known that its return can be said, or until its session has ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.config import EpisodeConfig
from pipeline.value.checks import read_array
from pipeline.value.port import Arrays

MINUTE_MS = 60_000


class Step(NamedTuple):
    """What followed a decision.

    Attributes:
        number: of the decision.
        later: discounted rewards of the decisions after it, before the one in `following`.
        discount: of the value of the state in `following`; 0 if the session ended.
        following: number of the decision whose state is valued; its own if the session ended.
    """

    number: int
    later: float
    discount: float
    following: int


@dataclass
class _Session:
    """Decisions that wait, oldest first, and when the last one was shown, in ms."""

    last: int
    waiting: list[tuple[int, float]] = field(default_factory=list)


class Episodes:
    """Links decisions; sessions are in the order of their last decisions."""

    def __init__(self, config: EpisodeConfig) -> None:
        self._config = config
        self._pause = round(config.session_minutes * MINUTE_MS)
        self._sessions: OrderedDict[int, _Session] = OrderedDict()

    def __len__(self) -> int:
        """Number of open sessions."""
        return len(self._sessions)

    def add(self, user: int, shown_at: int, number: int, reward: float) -> list[Step]:
        """Add a decision; return what is known by it.

        Args:
            shown_at: in ms by the log's clock.
            number: of the decision, higher than those before it.
            reward: of its whole slate.
        """
        steps = list(self._close(shown_at))
        session = self._sessions.setdefault(user, _Session(shown_at))
        self._sessions.move_to_end(user)
        session.last = max(session.last, shown_at)
        session.waiting.append((number, reward))
        if len(session.waiting) > self._config.steps:
            steps.append(self._step(session, end=False))
        if len(self._sessions) > self._config.users:
            steps.extend(self._cut_short())
        return steps

    def _close(self, now: int) -> Iterator[Step]:
        """End the sessions in which nothing was shown for long."""
        while self._sessions:
            user, session = next(iter(self._sessions.items()))
            if now - session.last <= self._pause:
                return
            del self._sessions[user]
            while session.waiting:
                yield self._step(session, end=True)

    def _cut_short(self) -> Iterator[Step]:
        """Forget the session that waits longest: its last decision is not known to have ended it."""
        _, session = self._sessions.popitem(last=False)
        while len(session.waiting) > 1:
            yield self._step(session, end=False)

    def _step(self, session: _Session, end: bool) -> Step:
        """Take the oldest decision that waits; the last one is the state that is valued, or ends it all."""
        number, _ = session.waiting.pop(0)
        counted = session.waiting if end else session.waiting[:-1]
        discount = self._config.discount
        later = sum(discount ** (place + 1) * reward for place, (_, reward) in enumerate(counted))
        if end:
            return Step(number, later, 0.0, number)
        return Step(number, later, discount ** len(session.waiting), session.waiting[-1][0])

    def state(self) -> Arrays:
        """Return the open sessions."""
        sessions = list(self._sessions.values())
        waiting = [one for session in sessions for one in session.waiting]
        return {
            "users": np.array(list(self._sessions), dtype=np.int64),
            "last": np.array([session.last for session in sessions], dtype=np.int64),
            "lengths": np.array([len(session.waiting) for session in sessions], dtype=np.int64),
            "numbers": np.array([number for number, _ in waiting], dtype=np.int64),
            "rewards": np.array([reward for _, reward in waiting], dtype=np.float64),
        }

    def load(self, state: Arrays) -> None:
        """Restore the open sessions.

        Raises:
            ValueError: the arrays do not fit each other.
        """
        users = read_array(state, "users", (-1,), np.int64).tolist()
        last = read_array(state, "last", (len(users),), np.int64).tolist()
        lengths = read_array(state, "lengths", (len(users),), np.int64)
        numbers = read_array(state, "numbers", (-1,), np.int64).tolist()
        rewards = read_array(state, "rewards", (len(numbers),), np.float64).tolist()
        if (lengths < 1).any() or (lengths > self._config.steps).any() or lengths.sum() != len(numbers):
            raise ValueError("lengths of sessions do not match their decisions")
        if len(set(users)) < len(users):
            raise ValueError("a user has two sessions")
        waiting = list(zip(numbers, rewards, strict=True))
        ends = np.cumsum(lengths).tolist()
        self._sessions = OrderedDict(
            (user, _Session(shown, waiting[end - length : end]))
            for user, shown, end, length in zip(users, last, ends, lengths.tolist(), strict=True)
        )
