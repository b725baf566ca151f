"""The watch: reads status and metrics of all daemons again and again, and keeps an hour of points."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event

from pipeline.config import Settings
from pipeline.control.alarms import DriftAlarm
from pipeline.control.history import read_history
from pipeline.control.records import Adoption
from pipeline.errors import LogUnavailable
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.metrics import Series, quantiles, value_of
from pipeline.reports.status_figures import SCORERS, STAGES, Status, gather

KEPT_SECONDS = 3_600.0
WINDOW_READINGS = 6
"""Readings over which rates and freshness are taken."""
COST_SECONDS = 600.0
"""Over which costs are taken: a publication now and then is part of them."""
MARKS_EVERY = 5
"""Readings of the metrics to one of the control topic."""
MOST_MARKS = 50
PLOTTED = {"hr": "hr@20", "loss": "log_loss"}
"""Figures of quality that are drawn over time, by the beginning of their names."""
Point = Mapping[str, float | None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """What happened at a time: an alarm, or an adoption."""

    time: float
    label: str
    is_alarm: bool


@dataclass(frozen=True)
class Observation:
    """What was read last.

    Attributes:
        number: of readings so far.
        status: as `millstream status` has it; None before the first one.
        point: the figures that are drawn over time.
        marks: the latest alarms and adoptions.
        away: why the log cannot be read now; empty if it can.
    """

    number: int = 0
    status: Status | None = None
    point: Point = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    away: str = ""


class Watch:
    """Keeps the latest observation and the points before it; one thread writes, others read.

    Attributes:
        observed: the latest one.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        topics: Topics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.observed = Observation()
        self._settings, self._log, self._topics, self._clock = settings, event_log, topics, clock
        seconds = settings.console.refresh_seconds
        self._points = deque[Point](maxlen=max(2, round(KEPT_SECONDS / seconds)))
        self._window = deque[tuple[float, Mapping[str, Series]]](maxlen=WINDOW_READINGS)
        self._spent = deque[tuple[dict[str, float], float]](maxlen=max(2, round(COST_SECONDS / seconds)))

    def run(self, stop: Event) -> None:
        """Read at intervals until `stop` is set."""
        while not stop.is_set():
            self.read()
            stop.wait(self._settings.console.refresh_seconds)

    def read(self) -> None:
        """Read once; a log that is away leaves what was read before."""
        before, now = self.observed, self._clock()
        series: dict[str, Series] = {}
        try:
            status = gather(self._settings, self._log, self._topics, int(now * 1000), series)
            marks = self._marks() if before.number % MARKS_EVERY == 0 else before.marks
        except LogUnavailable as error:
            if not before.away:
                log.warning("the event log is away: %s", error)
            self.observed = Observation(
                before.number + 1, before.status, before.point, before.marks, str(error)
            )
            return
        self._window.append((now, series))
        self._spent.append((_processor_seconds(series), _events(series)))
        point = self._point(status, series, now)
        self._points.append(point)
        self.observed = Observation(before.number + 1, status, point, marks)

    def columns(self) -> dict[str, list[float | None]]:
        """Return the points by name, oldest first."""
        points = list(self._points)
        names = points[-1] if points else ()
        return {name: [point.get(name) for point in points] for name in names}

    def _point(self, status: Status, series: Mapping[str, Series], now: float) -> Point:
        since, earliest = self._window[0]
        learned = _events(series) - _events(earliest)
        return {
            "time": now,
            "rate": max(0.0, learned / (now - since)) if now > since else None,
            "lag": status.lag["learn"],
            "staleness": status.staleness_seconds,
            "million": self._processor_hours_a_million(),
            **{
                stage: _recent_median(series.get(daemon, {}), earliest.get(daemon, {}), name)
                for stage, (daemon, name) in STAGES.items()
            },
            **{
                f"{begin}_{scorer}": status.quality[scorer][figure]
                for begin, figure in PLOTTED.items()
                for scorer in SCORERS
            },
        }

    def _processor_hours_a_million(self) -> float | None:
        """Processor time of the daemons for a million events; None where nothing was learned."""
        (before, first), (now, last) = self._spent[0], self._spent[-1]
        events = last - first
        seconds = sum(max(0.0, now[name] - before[name]) for name in now.keys() & before.keys())
        return seconds / 3_600 / events * 1e6 if events > 0 and seconds else None

    def _marks(self) -> tuple[Mark, ...]:
        marks = []
        for entry in read_history(self._log, self._topics):
            seconds = entry.append_time / 1000
            if isinstance(entry.record, DriftAlarm):
                marks.append(Mark(seconds, f"alarm: {entry.record.signal}", True))
            elif isinstance(entry.record, Adoption):
                marks.append(Mark(seconds, entry.record.version, False))
        return tuple(marks[-MOST_MARKS:])


def _events(series: Mapping[str, Series]) -> float:
    return value_of(series.get("learn", {}), "millstream_events_total", daemon="learn")


def _processor_seconds(series: Mapping[str, Series]) -> dict[str, float]:
    """Processor time that each daemon has taken since it started."""
    return {name: value_of(of, "process_cpu_seconds_total") for name, of in series.items()}


def _recent_median(now: Series, before: Series, name: str) -> float | None:
    """Median of what a histogram has observed in between; None if nothing."""
    bucket = f"{name}_bucket"
    counts = {key: count - before.get(key, 0.0) for key, count in now.items() if key[0] == bucket}
    (median,) = quantiles(counts, name, (0.5,))
    return median
