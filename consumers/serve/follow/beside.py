"""Topics that are read beside the follower: answers neither wait for them nor fail with them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from pipeline.errors import LogUnavailable, OffsetsExpired, TopicError, TopicRenewed
from pipeline.eventlog.patience import wait_until_back
from pipeline.eventlog.port import EventLog

RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


def read_beside(read: Callable[[Event], None], event_log: EventLog, stop: Event, unknown: str) -> None:
    """Read a topic until `stop` is set; after a fault of the log, read again from where `read` begins.

    Args:
        read: reads until `stop` is set.
        unknown: what is not known until the log is back, for the log of the server.
    """
    while not stop.is_set():
        try:
            read(stop)
        except (LogUnavailable, OffsetsExpired, TopicError, TopicRenewed) as error:
            log.warning("%s until the log is back: %s", unknown, error)
            stop.wait(RETRY_SECONDS)
            wait_until_back(event_log, stop)
