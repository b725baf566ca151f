"""Append a recorded or simulated data set to the event log, at a chosen pace.

Event ids are derived from the content, so playing again after a crash, or an export that has grown
since, writes the same events, and the learner drops the duplicates. Events keep their recorded times;
freshness is measured by the log's append times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline import metrics
from pipeline.datasets import Dataset
from pipeline.eventlog.port import LogWriter
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, Interaction, Item, ItemChange, User, encode

FLUSH_SECONDS = 0.02
FLUSH_EVENTS = 1_000


class Pace(Protocol):
    """Schedule of the interactions."""

    def __call__(self, number: int, event: Interaction) -> float:
        """Return when interaction `number` (from 0) is due, in seconds after the first one."""


def flat_out(number: int, event: Interaction) -> float:
    """Schedule all interactions immediately."""
    return 0.0


def at_rate(events_per_second: float) -> Pace:
    """Create a schedule with a constant rate."""
    return lambda number, event: number / events_per_second


@dataclass
class RealTime:
    """The recorded schedule, `speed` times as fast."""

    speed: float
    _first: int | None = None

    def __call__(self, number: int, event: Interaction) -> float:
        """Return when an event is due by its own time, in seconds after the first one."""
        if self._first is None:
            self._first = event.time
        return (event.time - self._first) / 1000 / self.speed


def play(
    dataset: Dataset,
    writer: LogWriter,
    topics: Topics,
    pace: Pace,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda acknowledged: None,
    stopped: Callable[[], bool] = lambda: False,
    watch: Callable[[Interaction], None] = lambda event: None,
) -> int:
    """Append the events of a data set; return the number of acknowledged interactions.

    Stops after `limit` interactions, or when `stopped` returns true. `progress` is called after each
    flush with the number of interactions that it made durable, and `watch` with each interaction.

    Raises:
        DeliveryError: the log did not acknowledge an append.
        DatasetError: a row of the recorded data is invalid.
    """
    started = flushed = time.monotonic()
    number = waiting = 0
    for event in dataset.events():
        if not isinstance(event, Interaction):
            _append_other(event, writer, topics)
            continue
        if number == limit or stopped():
            break
        if number == 0:
            writer.flush()  # the catalogue must be durable before the first interaction
            started = flushed = time.monotonic()
        due = started + pace(number, event)
        if waiting and (due > flushed + FLUSH_SECONDS or waiting >= FLUSH_EVENTS):
            waiting, flushed = _flush(writer, waiting, progress)
        _sleep_until(due, stopped)
        writer.append(topics.interactions, event.user, encode(event))
        watch(event)
        number, waiting = number + 1, waiting + 1
    _flush(writer, waiting, progress)
    return number


def _append_other(event: Item | ItemChange | User | Impression, writer: LogWriter, topics: Topics) -> None:
    """Append an item, user or impression, which precedes its interactions, without waiting for its time."""
    if isinstance(event, Item | ItemChange):
        writer.append(topics.items, event.item, encode(event))
    elif isinstance(event, User):
        writer.append(topics.users, event.user, encode(event))
    else:
        writer.append(topics.impressions, event.user, encode(event))


def _flush(writer: LogWriter, waiting: int, progress: Callable[[int], None]) -> tuple[int, float]:
    writer.flush()
    metrics.EVENTS.labels("play").inc(waiting)
    progress(waiting)
    return 0, time.monotonic()


def _sleep_until(due: float, stopped: Callable[[], bool]) -> None:
    """Wait until a time, checking twice a second whether to stop."""
    while (left := due - time.monotonic()) > 0 and not stopped():
        time.sleep(min(left, 0.5))
