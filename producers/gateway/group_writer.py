"""Make the records of requests durable, with one flush for all that wait at the same time.

One thread writes. While it flushes, further requests gather; together they are the next group. When the log
does not acknowledge a group, its requests fail, and so does every other at once until the log is back: their
senders try again, and the ids of the events tell what was stored already.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Event, Lock
from typing import NamedTuple

from pipeline import metrics
from pipeline.errors import DeliveryError, LogUnavailable, MillstreamError
from pipeline.eventlog.patience import wait_until_back
from pipeline.eventlog.port import EventLog, LogWriter
from producers.gateway.acceptance import GatewayRecord

PAUSE_SECONDS = 1.0
"""How long nothing is tried after a failure, so that a full disk costs one line a second."""
ASK_SECONDS = 2.0

log = logging.getLogger(__name__)


class _Submission(NamedTuple):
    records: Sequence[GatewayRecord]
    done: Future[None]


class GroupWriter:
    """Writes submitted records until it is closed; `run` is for a thread of its own.

    Attributes:
        event_log: the log that it writes to.
    """

    def __init__(self, event_log: EventLog, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.event_log = event_log
        self._pause_seconds = pause_seconds
        self._changed = Condition()
        self._waiting: list[_Submission] = []
        self._away = False
        self._closing = Event()
        self._asking = Lock()
        self._answers, self._ask_at = True, -math.inf

    @property
    def is_away(self) -> bool:
        """Whether the log is away, so that nothing can be submitted."""
        return self._away

    def log_answers(self) -> bool:
        """Whether the log answers; asks it at most once in `PAUSE_SECONDS`."""
        with self._asking:
            if time.monotonic() >= self._ask_at:
                self._answers = _answers(self.event_log)
                self._ask_at = time.monotonic() + PAUSE_SECONDS
            return self._answers

    def submit(self, records: Sequence[GatewayRecord]) -> Future[None]:
        """Submit the records of one request; the future ends when they are durable, or fails.

        Raises:
            DeliveryError: the log is away, or the writer is closed. The future fails with it, too.
        """
        submission = _Submission(records, Future())
        with self._changed:
            if self._away or self._closing.is_set():
                raise DeliveryError("the event log is away")
            self._waiting.append(submission)
            self._changed.notify()
        return submission.done

    def run(self) -> None:
        """Write until closed, and what was submitted before; open a new writer after each failure.

        Raises:
            TopicError: a topic is missing; waiting does not help.
        """
        try:
            while not self._closing.is_set():
                try:
                    with self.event_log.writer() as writer:
                        self._write_with(writer)
                except (DeliveryError, LogUnavailable) as error:
                    self._wait_for_the_log(error)
        finally:
            self._closing.set()
            self._fail_waiting(DeliveryError("the gateway stops"))

    def close(self) -> None:
        """Let `run` end once everything submitted is written, or at once if the log is away."""
        with self._changed:
            self._closing.set()
            self._changed.notify()

    def _write_with(self, writer: LogWriter) -> None:
        while group := self._next_group():
            try:
                for submission in group:
                    for record in submission.records:
                        writer.append(record.topic, record.key, record.value)
                writer.flush()
            except MillstreamError as error:
                _fail(group, error)
                raise
            for submission in group:
                submission.done.set_result(None)

    def _next_group(self) -> list[_Submission]:
        """Wait for submissions and take all, without those given up meanwhile; return none when closing."""
        group: list[_Submission] = []
        while not group:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if not self._waiting:
                    return []
                taken, self._waiting = self._waiting, []
            group = [submission for submission in taken if submission.done.set_running_or_notify_cancel()]
        return group

    def _wait_for_the_log(self, error: MillstreamError) -> None:
        with self._changed:
            self._away = True
        metrics.PAUSES.labels("gateway").inc()
        log.warning("events were not acknowledged, their senders may send them again: %s", error)
        self._fail_waiting(error)
        self._closing.wait(self._pause_seconds)
        if wait_until_back(self.event_log, self._closing):
            with self._changed:
                self._away = False

    def _fail_waiting(self, error: MillstreamError) -> None:
        with self._changed:
            taken, self._waiting = self._waiting, []
        _fail([submission for submission in taken if submission.done.set_running_or_notify_cancel()], error)


def _answers(event_log: EventLog) -> bool:
    try:
        event_log.ping(ASK_SECONDS)
    except MillstreamError:
        return False
    return True


def _fail(group: Sequence[_Submission], error: MillstreamError) -> None:
    for submission in group:
        failure = DeliveryError("the event log did not acknowledge the events")
        failure.__cause__ = error
        submission.done.set_exception(failure)
