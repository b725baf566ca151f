"""Play: put a recorded or simulated data set into the event log, at a chosen pace.

Event ids follow from the data set's digest and the row, so that playing again after a crash
writes the same events: what was stored twice is learned once. Recorded times stay in the
past; the log's append times are the clock that freshness is measured by.
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
from pipeline.events import Impression, Interaction, Item, encode

FLUSH_SECONDS = 0.02
FLUSH_EVENTS = 1_000


class Pace(Protocol):
    """When an interaction is due."""

    def __call__(self, number: int, event: Interaction) -> float:
        """Seconds after the first interaction, for the one of a number counted from 0."""


def flat_out(number: int, event: Interaction) -> float:
    """Everything at once."""
    return 0.0


def at_rate(events_per_second: float) -> Pace:
    """So many interactions a second."""
    return lambda number, event: number / events_per_second


@dataclass
class RealTime:
    """As the events happened, `speed` times as fast."""

    speed: float
    _first: int | None = None

    def __call__(self, number: int, event: Interaction) -> float:
        """Seconds by the event's own time."""
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
) -> int:
    """Append a data set's events; returns how many interactions the log acknowledged.

    `progress` is called with the number of interactions that each flush made durable.

    Raises:
        DeliveryError: the log did not acknowledge an append.
        DatasetError: the recorded data are not what their columns promised.
    """
    began = flushed = time.monotonic()
    number = waiting = 0
    for event in dataset.events():
        if not isinstance(event, Interaction):
            _tell(event, writer, topics)
            continue
        if number == limit or stopped():
            break
        if number == 0:
            writer.flush()  # the catalogue is there before the first interaction
            began = flushed = time.monotonic()
        due = began + pace(number, event)
        if waiting and (due > flushed + FLUSH_SECONDS or waiting >= FLUSH_EVENTS):
            waiting, flushed = _flush(writer, waiting, progress)
        _sleep_until(due, stopped)
        writer.append(topics.interactions, event.user, encode(event))
        number, waiting = number + 1, waiting + 1
    _flush(writer, waiting, progress)
    return number


def _tell(event: Item | Impression, writer: LogWriter, topics: Topics) -> None:
    """Append what is known or shown before the next interaction, without waiting for its time."""
    if isinstance(event, Item):
        writer.append(topics.items, event.item, encode(event))
    else:
        writer.append(topics.impressions, event.user, encode(event))


def _flush(writer: LogWriter, waiting: int, progress: Callable[[int], None]) -> tuple[int, float]:
    writer.flush()
    metrics.EVENTS.labels("play").inc(waiting)
    progress(waiting)
    return 0, time.monotonic()


def _sleep_until(due: float, stopped: Callable[[], bool]) -> None:
    """Wait, waking now and then to see whether to stop."""
    while (left := due - time.monotonic()) > 0 and not stopped():
        time.sleep(min(left, 0.5))
