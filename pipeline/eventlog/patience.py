"""Outlast an event log that is away: retry until it is back, and say so once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event
from typing import TypeVar

from pipeline import metrics
from pipeline.config import LogConfig
from pipeline.errors import LogRefused, LogUnavailable
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.signals import Stopped

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 2.0
_PING_SECONDS = 2.0


def patiently(
    action: Callable[[], T],
    stop: Event,
    event_log: EventLog | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    is_start: bool = False,
) -> T | None:
    """Run an action, and repeat it while it raises LogUnavailable, until it works or `stop` is set.

    Logs one line when the log goes away and one when it is back. With `event_log`, the time until
    it is back is passed with pings: an action may itself wait 30 s for an answer, during which
    `stop` is not seen. The action must be safe to repeat; a writer that failed is not, open another
    one in the action.

    Args:
        is_start: whether the process begins with this, and ends if the log refuses it.

    Returns:
        What the action returned, or None if `stop` was set before it worked.

    Raises:
        LogRefused: only at the start.
    """
    away_since: float | None = None
    pause = _FIRST_PAUSE_SECONDS
    while not stop.is_set():
        try:
            if away_since is not None and event_log is not None:
                event_log.ping(_PING_SECONDS)
            result = action()
        except LogUnavailable as error:
            if is_start and isinstance(error, LogRefused):
                raise
            if away_since is None:
                away_since = clock()
                logger.warning("the event log is away, waiting until it is back: %s", error)
            stop.wait(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        else:
            if away_since is not None:
                logger.warning("the event log is back after %.1f s", clock() - away_since)
            return result
    return None


@contextmanager
def opened(url: str, options: Mapping[str, str], stop: Event) -> Iterator[EventLog]:
    """Open the event log at a URL, waiting for it as long as it takes; close it at the end.

    A file that seems never to have been made is not waited for, because nobody would make it. One that goes
    missing later is.

    Raises:
        InvalidSettings, TopicError: see `open_log`.
        Stopped: `stop` was set before it could be opened.
    """
    event_log = patiently(lambda: open_log(url, options, create=False), stop)
    if event_log is None:
        raise Stopped
    with closing(event_log):
        yield event_log


@contextmanager
def checked(config: LogConfig, stop: Event) -> Iterator[tuple[EventLog, Topics]]:
    """Open the event log of the settings as `opened` does, and check its topics; wait for both.

    Raises:
        TopicError: topics are missing or differ from the settings.
        LogRefused: the log refuses this login, or what it may see.
        InvalidSettings, Stopped: see `opened`.
    """
    topics = Topics(config.prefix)
    with opened(config.url, config.secrets, stop) as event_log:
        patiently(lambda: topics.check(event_log, *config.topic_sizes), stop, event_log, is_start=True)
        yield event_log, topics


class Pauses:
    """The pauses of a daemon while something that it needs is away.

    Each is counted; the same reason is logged once, until there is another one.
    """

    def __init__(self, daemon: str, pausing: str, stop: Event) -> None:
        """`daemon` is the label of the metric, `pausing` begins the line of the log."""
        self._daemon, self._pausing, self._stop = daemon, pausing, stop
        self._reason = ""

    def pause(self, error: Exception, seconds: float, *event_logs: EventLog) -> None:
        """Pause because of an error, then until the event logs answer or `stop` is set."""
        if str(error) != self._reason:
            self._reason = str(error)
            logger.warning("%s: %s", self._pausing, error)
        metrics.PAUSES.labels(self._daemon).inc()
        self._stop.wait(seconds)
        for event_log in event_logs:
            wait_until_back(event_log, self._stop)


def wait_until_back(event_log: EventLog, stop: Event) -> bool:
    """Wait until the log answers; return whether it does, or False if `stop` was set before."""

    def ping() -> bool:
        event_log.ping(_PING_SECONDS)
        return True

    return patiently(ping, stop) is not None
