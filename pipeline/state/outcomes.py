"""Outcomes: impressions joined with the acts that came of them, a fold of the log.

An act belongs to the impression that it names, if that one showed the item to its user; one that names none,
to the latest impression that did. An impression is closed when its window has passed by the log's clock. The
clock never goes back: what comes late counts as appended at the latest time that has come before.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter
from typing import Self, TypeVar

from pipeline.config import RewardsConfig
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import impression_of, interaction_of
from pipeline.eventlog.port import Record
from pipeline.events import Impression, Interaction, event_digest
from pipeline.policy.recorded import check_propensities
from pipeline.state.dedupe import SeenEvents
from pipeline.state.join_state import JoinState, Leftover, ShownImpression, WaitingActs
from pipeline.state.rewards import reward_of

E = TypeVar("E")
Appended = tuple[int, int, Impression | Interaction]

MOST_ACTS = 1_000
"""Acts on one impression that count; more are a flood."""
MOST_OF_USER = 200
"""Open impressions of one user; beyond them, the oldest ones are closed."""
CLOSED_IDS = 262_144
"""Ids of closed impressions that are remembered, to tell late acts from acts on unknown ones."""
MOST_WAITING = 10_000
"""Acts that wait for the impressions that they name: these are appended after their answers."""
MINUTE_MS = 60_000
PATIENCE_MS = 24 * 60 * MINUTE_MS
"""For how long acts wait for the impressions that they name, or a window if that is longer: append times of a
partition stand still after its clock was ahead, so that its impressions seem to come so much later."""


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

    @classmethod
    def of(cls, closed: ShownImpression) -> Self:
        """Make the outcome of an impression that is closed."""
        return cls(closed.impression, closed.rewards, closed.shown_at)


def reciprocal_place(rewards: Sequence[float]) -> float:
    """Return 1 / place of the first item with a reward above 0; 0 without any.

    >>> reciprocal_place([0.0, -5.0, 1.0, 10.0])
    0.3333333333333333
    """
    return next((1 / place for place, reward in enumerate(rewards, start=1) if reward > 0), 0.0)


class OutcomeJoin:
    """Joins impressions and acts, which come in the order of their append times.

    Attributes:
        window: ms after which acts are no longer put down to an impression.
        leftovers: how many were not joined, by reason.
    """

    def __init__(self, config: RewardsConfig) -> None:
        self._config = config
        self.window = round(config.minutes * MINUTE_MS)
        self._clock = 0
        self._open: OrderedDict[str, ShownImpression] = OrderedDict()
        self._of_user: defaultdict[str, list[str]] = defaultdict(list)
        self._closed = SeenEvents(CLOSED_IDS)
        self._waiting: OrderedDict[str, WaitingActs] = OrderedDict()
        self._acts_waiting = 0
        self.leftovers: Counter[Leftover] = Counter()

    def state(self) -> JoinState:
        """Return the state; costs a list of the open impressions, and a copy of the closed ids."""
        return JoinState(
            self._clock,
            tuple(dict.values(self._open)),  # in the same order, and ten times as quick as its own
            dict(self._waiting),
            self._closed.to_array()[0],
            dict(self.leftovers),
        )

    def load(self, state: JoinState) -> None:
        """Replace the state."""
        self._clock = state.clock
        self._open, self._of_user = OrderedDict(), defaultdict(list)
        for one in state.open:
            fields = one.fields
            self._open[fields["impression_id"]] = one
            self._of_user[fields["user"]].append(fields["impression_id"])
        self._closed = SeenEvents(CLOSED_IDS, state.closed.tolist(), [0] * state.closed.size)
        self._waiting = OrderedDict(state.waiting)
        self._acts_waiting = sum(len(one.acts) for one in state.waiting.values())
        self.leftovers = Counter(state.leftovers)

    def show(self, impression: Impression, time: int) -> list[ShownImpression]:
        """Open an impression that was appended at a time in ms; return what that closes."""
        closed, name = self.close(time), impression.impression_id
        if self._is_known(name):
            self.leftovers[Leftover.DUPLICATE] += 1
            return closed
        self._open[name] = ShownImpression.of(impression, self._clock)
        own = self._of_user[impression.user]
        own.append(name)
        for act in self._waited(name):
            self._add(act)
        if len(own) > MOST_OF_USER:
            self.leftovers[Leftover.FLOOD] += 1
            closed.append(self._closed_one(own[0]))
        while len(self._open) > self._config.open_impressions:
            self.leftovers[Leftover.CROWDED_OUT] += 1
            closed.append(self._closed_one(next(iter(self._open))))
        return closed

    def act(self, act: Interaction, time: int) -> list[ShownImpression]:
        """Put an act that was appended at a time in ms down to its impression; return what that closes."""
        closed = self.close(time)
        name = act.impression
        if name is None or self._is_known(name):
            self._add(act)
        else:
            self._wait(name, act)
        return closed

    def _is_known(self, name: str) -> bool:
        """Whether an impression is open, or was closed."""
        return name in self._open or self._closed.holds(event_digest(name))

    def _wait(self, name: str, act: Interaction) -> None:
        since, acts = self._waiting.get(name, WaitingActs(self._clock))
        if len(acts) >= MOST_ACTS:
            self.leftovers[Leftover.FLOOD] += 1
            return
        self._waiting[name] = WaitingActs(since, (*acts, act))
        self._acts_waiting += 1
        if self._acts_waiting > MOST_WAITING:
            self._drop_waiting()

    def _waited(self, name: str) -> tuple[Interaction, ...]:
        """Return the acts that have waited for an impression, which wait no longer."""
        acts = self._waiting.pop(name, WaitingActs(0)).acts
        self._acts_waiting -= len(acts)
        return acts

    def _drop_waiting_for(self, longest: int) -> None:
        """Drop the acts on impressions that have been waited for longer than so many ms."""
        while self._waiting and self._clock > next(iter(self._waiting.values())).since + longest:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        self.leftovers[Leftover.UNKNOWN] += len(self._waited(next(iter(self._waiting))))

    def _add(self, act: Interaction) -> None:
        """Put an act down to its open impression, if there is one."""
        name, place = self._place_of(act)
        if name is None:
            return
        found, digest = self._open[name], event_digest(act.event_id)
        if digest in found.acts:
            self.leftovers[Leftover.DUPLICATE] += 1
        elif len(found.acts) >= MOST_ACTS:
            self.leftovers[Leftover.FLOOD] += 1
        else:
            rewards = self._rewarded(found.rewards, place, act)
            self._open[name] = found._replace(rewards=rewards, acts=found.acts | {digest})

    def _rewarded(self, rewards: tuple[float, ...], place: int, act: Interaction) -> tuple[float, ...]:
        """Return the rewards with an act on the item at a place, all together within their range."""
        total = sum(rewards)
        bounded = min(max(total + reward_of(act, self._config), self._config.least), self._config.most)
        return (*rewards[:place], rewards[place] + bounded - total, *rewards[place + 1 :])

    @property
    def open(self) -> int:
        """Number of impressions that are open."""
        return len(self._open)

    def close(self, time: int) -> list[ShownImpression]:
        """Close the impressions whose window has passed at a time in ms."""
        closed, self._clock = [], max(time, self._clock)
        while self._open and self._clock > next(iter(self._open.values())).shown_at + self.window:
            closed.append(self._closed_one(next(iter(self._open))))
        self._drop_waiting_for(max(self.window, PATIENCE_MS))
        return closed

    def end(self, time: int) -> list[ShownImpression]:
        """Close what `close` does, at the end of the log: what has waited for a window waits in vain."""
        closed = self.close(time)
        self._drop_waiting_for(self.window)
        return closed

    def _place_of(self, act: Interaction) -> tuple[str | None, int]:
        """Return the open impression that an act belongs to, and the place of its item; None without one."""
        own, name = self._of_user.get(act.user, []), act.impression
        if name is None:
            found = ((one, self._open[one].place_of(act.item)) for one in reversed(own))
            return next(((one, place) for one, place in found if place is not None), (None, 0))
        if name not in self._open:
            self.leftovers[Leftover.LATE] += 1
            return None, 0
        place = self._open[name].place_of(act.item) if name in own else None
        if place is None:
            self.leftovers[Leftover.NOT_SHOWN] += 1
            return None, 0
        return name, place

    def _closed_one(self, name: str) -> ShownImpression:
        found = self._open.pop(name)
        user = found.fields["user"]
        own = self._of_user[user]
        own.remove(name)
        if not own:
            del self._of_user[user]
        self._closed.add(event_digest(name), 0)
        return found


def join_in_order(
    join: OutcomeJoin, shown: Iterable[tuple[int, Impression]], acts: Iterable[tuple[int, Interaction]]
) -> Iterator[ShownImpression]:
    """Yield the impressions that are closed meanwhile.

    Args:
        join: what is open, and will be.
        shown, acts: each with the time in ms at which it was appended, ascending; of equal times, what was
            shown comes first.
    """
    impressions: Iterator[Appended] = ((time, 0, impression) for time, impression in shown)
    interactions: Iterator[Appended] = ((time, 1, act) for time, act in acts)
    for time, _, event in merge(impressions, interactions, key=itemgetter(0, 1)):
        yield from join.show(event, time) if isinstance(event, Impression) else join.act(event, time)


def outcomes(
    impressions: Iterable[Record],
    interactions: Iterable[Record],
    join: OutcomeJoin,
    until: int,
    first_seen: Callable[[int, Interaction], bool],
) -> Iterator[Outcome]:
    """Yield the outcomes of impressions whose window has passed at a time in ms.

    Args:
        impressions, interactions: each in the order of append times.
        first_seen: remembers an act of a partition, and is False for a duplicate, as the learner's is; it
            raises InvalidEvent for an id that another act has.
    """

    def new_act(record: Record) -> Interaction | None:
        act = interaction_of(record)
        return act if first_seen(record.partition, act) else None

    shown, acts = _valid(impressions, _drawn, join), _valid(interactions, new_act, join)
    yield from map(Outcome.of, join_in_order(join, shown, acts))
    yield from map(Outcome.of, join.end(until))


def _drawn(record: Record) -> Impression:
    """Decode an impression that the policy it names could have drawn, since weights follow from that."""
    shown = impression_of(record)
    check_propensities(shown)
    return shown


def _valid(
    records: Iterable[Record], read: Callable[[Record], E | None], join: OutcomeJoin
) -> Iterator[tuple[int, E]]:
    """Yield the events of records that have a new one, with their append times; count the others.

    `read` returns None for a duplicate.
    """
    for record in records:
        try:
            event = read(record)
        except InvalidEvent:
            join.leftovers[Leftover.INVALID] += 1
            continue
        if event is None:
            join.leftovers[Leftover.DUPLICATE] += 1
        else:
            yield record.append_time, event
