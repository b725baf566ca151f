"""Outcomes: impressions joined with the acts that came of them, a fold of the log.

An act belongs to the impression that it names, if that one showed the item to its user; one that names none,
to the latest impression that did. An impression is closed when its window has passed by the log's clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import merge
from operator import itemgetter

from pipeline.config import RewardsConfig
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import Record
from pipeline.events import Impression, Interaction, decode, event_digest
from pipeline.state.rewards import reward_of

MOST_ACTS = 1_000
"""Acts on one impression that count; more are a flood."""
MOST_OF_USER = 200
"""Open impressions of one user; beyond them, the oldest ones are closed."""
CLOSED_IDS = 1_000_000
"""Ids of closed impressions that are remembered, to tell late acts from acts on unknown ones."""
MOST_WAITING = 10_000
"""Impressions that are waited for, because an act names them: they are appended after their answers."""
MINUTE_MS = 60_000


class Leftover(StrEnum):
    """What was not joined, and why."""

    UNKNOWN = "unknown"
    """An act names an impression that is not known, and did not come within the window."""
    LATE = "late"
    """An act names an impression whose window has passed."""
    NOT_SHOWN = "not_shown"
    """An act names an impression that did not show the item, or not to this user."""
    DUPLICATE = "duplicate"
    """An act or an impression that is there already."""
    FLOOD = "flood"
    """An act on an impression with too many of them, or an impression closed early for its user's others."""
    CROWDED_OUT = "crowded_out"
    """An impression that was closed early, because too many were open."""
    INVALID = "invalid"
    """A record that is no valid event."""


@dataclass(frozen=True)
class Outcome:
    """What came of an impression.

    Attributes:
        rewards: of each item.
        shown_at: when the impression was appended, in ms by the log's clock.
    """

    impression: Impression
    rewards: tuple[float, ...]
    shown_at: int


@dataclass
class _Open:
    impression: Impression
    shown_at: int
    rewards: list[float] = field(init=False)
    acts: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rewards = [0.0] * len(self.impression.items)

    def closed(self) -> Outcome:
        return Outcome(self.impression, tuple(self.rewards), self.shown_at)


@dataclass
class _Waiting:
    """Acts on an impression that has not come, the first of them appended at a time in ms."""

    since: int
    acts: list[Interaction] = field(default_factory=list)


class OutcomeJoin:
    """Joins impressions and acts, which come in the order of their append times.

    Attributes:
        window: ms after which acts are no longer put down to an impression.
        leftovers: how many were not joined, by reason.
    """

    def __init__(self, config: RewardsConfig) -> None:
        self._config = config
        self.window = round(config.minutes * MINUTE_MS)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._of_user: defaultdict[str, list[str]] = defaultdict(list)
        self._closed: OrderedDict[int, None] = OrderedDict()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self.leftovers: Counter[Leftover] = Counter()

    def show(self, impression: Impression, time: int) -> list[Outcome]:
        """Open an impression that was appended at a time in ms; return what that closes."""
        closed, name = self.close(time), impression.impression_id
        if name in self._open or event_digest(name) in self._closed:
            self.leftovers[Leftover.DUPLICATE] += 1
            return closed
        self._open[name] = _Open(impression, time)
        own = self._of_user[impression.user]
        own.append(name)
        waiting = self._waiting.pop(name, None)
        for act in waiting.acts if waiting else ():
            self._add(act)
        if len(own) > MOST_OF_USER:
            self.leftovers[Leftover.FLOOD] += 1
            closed.append(self._closed_one(own[0]))
        elif len(self._open) > self._config.open_impressions:
            self.leftovers[Leftover.CROWDED_OUT] += 1
            closed.append(self._closed_one(next(iter(self._open))))
        return closed

    def act(self, act: Interaction, time: int) -> list[Outcome]:
        """Put an act that was appended at a time in ms down to its impression; return what that closes."""
        closed = self.close(time)
        name = act.impression
        if name is not None and name not in self._open and event_digest(name) not in self._closed:
            self._wait(name, act, time)
        else:
            self._add(act)
        return closed

    def _wait(self, name: str, act: Interaction, time: int) -> None:
        waiting = self._waiting.setdefault(name, _Waiting(time))
        if len(waiting.acts) >= MOST_ACTS:
            self.leftovers[Leftover.FLOOD] += 1
            return
        waiting.acts.append(act)
        if len(self._waiting) > MOST_WAITING:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        _, waiting = self._waiting.popitem(last=False)
        self.leftovers[Leftover.UNKNOWN] += len(waiting.acts)

    def _add(self, act: Interaction) -> None:
        """Put an act down to its open impression, if there is one."""
        found, digest = self._found(act), event_digest(act.event_id)
        if found is None:
            return
        if digest in found.acts:
            self.leftovers[Leftover.DUPLICATE] += 1
        elif len(found.acts) >= MOST_ACTS:
            self.leftovers[Leftover.FLOOD] += 1
        else:
            found.acts.add(digest)
            total = sum(found.rewards)
            bounded = min(max(total + reward_of(act, self._config), self._config.least), self._config.most)
            found.rewards[found.impression.items.index(act.item)] += bounded - total

    @property
    def open(self) -> int:
        """Number of impressions that are open."""
        return len(self._open)

    def close(self, time: int) -> list[Outcome]:
        """Close the impressions whose window has passed at a time in ms."""
        closed = []
        while self._open:
            oldest = next(iter(self._open.values()))
            if time <= oldest.shown_at + self.window:
                break
            closed.append(self._closed_one(oldest.impression.impression_id))
        while self._waiting and time > next(iter(self._waiting.values())).since + self.window:
            self._drop_waiting()
        return closed

    def _found(self, act: Interaction) -> _Open | None:
        """The open impression of an act."""
        if act.impression is None:
            own = (self._open[name] for name in reversed(self._of_user.get(act.user, ())))
            return next((one for one in own if act.item in one.impression.items), None)
        found = self._open.get(act.impression)
        if found is None:
            self.leftovers[Leftover.LATE] += 1
        elif found.impression.user != act.user or act.item not in found.impression.items:
            self.leftovers[Leftover.NOT_SHOWN] += 1
            return None
        return found

    def _closed_one(self, name: str) -> Outcome:
        outcome = self._open.pop(name).closed()
        own = self._of_user[outcome.impression.user]
        own.remove(name)
        if not own:
            del self._of_user[outcome.impression.user]
        self._closed[event_digest(name)] = None
        if len(self._closed) > CLOSED_IDS:
            self._closed.popitem(last=False)
        return outcome


def outcomes(
    impressions: Iterable[Record], interactions: Iterable[Record], join: OutcomeJoin, until: int
) -> Iterator[Outcome]:
    """Yield the outcomes of impressions whose window has passed at a time in ms.

    Args:
        impressions, interactions: each in the order of append times; of equal times impressions come first.
    """
    shown = ((record.append_time, 0, record) for record in impressions)
    acts = ((record.append_time, 1, record) for record in interactions)
    for time, is_act, record in merge(shown, acts, key=itemgetter(0, 1)):
        try:
            if is_act:
                yield from join.act(interaction_of(record), time)
            else:
                yield from join.show(decode(Impression, record.value or b""), time)
        except InvalidEvent:
            join.leftovers[Leftover.INVALID] += 1
    yield from join.close(until)
