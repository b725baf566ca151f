"""Impressions: what was shown and what had been asked, written to the log behind the request's back.

A request only puts its impression into a bounded queue; it never waits for the log and never
fails with it. What could not be written is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Json, ValidationError

from consumers.serve.ranking import RecommendationQuery
from pipeline import metrics
from pipeline.errors import InvalidEvent, MillstreamError
from pipeline.eventlog.port import EventLog, LogWriter
from pipeline.events import Context, Impression, encode, validate

MOST_WAITING = 10_000
MOST_AT_ONCE = 500
POLL_SECONDS = 0.2
MOST_CHARACTERS = 512
"""As much as one value of an impression's context may have."""

log = logging.getLogger(__name__)

Fields = Mapping[str, object]
"""The fields of an `Impression`, not yet validated."""


class NotRepeatable(MillstreamError):
    """What was answered cannot be asked again as it was."""


class Asked(BaseModel):
    """What was asked, as an impression's context remembers it.

    Attributes:
        asked: partial where the excluded items were too many to remember.
        k, session, category, exclude_seen: see `Wish` and `recommend`.
        exclude: the items not to show, as a JSON list.
        untold: how many new texts the server had not encoded yet.
    """

    model_config = ConfigDict(frozen=True)

    asked: Literal["whole", "partial"]
    k: int
    session: str | None = None
    category: str | None = None
    exclude_seen: bool = False
    exclude: Json[tuple[str, ...]] = ()
    pending_texts: int = 0

    @classmethod
    def to(cls, query: RecommendationQuery, session: str | None, pending_texts: int) -> Self:
        """What is asked of a server now."""
        exclude = orjson.dumps(sorted(query.exclude)).decode()
        fits = len(exclude) <= MOST_CHARACTERS
        return cls.model_validate(
            {
                "asked": "whole" if fits else "partial",
                "k": query.k,
                "session": session,
                "category": query.category,
                "exclude_seen": query.exclude_seen,
                "exclude": exclude if fits else "[]",
                "pending_texts": pending_texts,
            }
        )

    @classmethod
    def of(cls, context: Context) -> Self:
        """What the context of an impression says.

        Raises:
            NotRepeatable: it does not say all.
        """
        try:
            asked = cls.model_validate(context)
        except ValidationError:
            raise NotRepeatable("the impression does not say what was asked, as older ones do not") from None
        if asked.asked == "partial":
            raise NotRepeatable("more items were excluded than the impression could remember")
        return asked

    @property
    def query(self) -> RecommendationQuery:
        """As the engine takes it."""
        return RecommendationQuery(self.k, frozenset(self.exclude), self.category, self.exclude_seen)

    def context(self) -> Context:
        """As an impression writes it."""
        return self.model_dump(exclude_defaults=True, round_trip=True)


class ImpressionWriter:
    """Writes impressions from a thread of its own, until it is closed."""

    def __init__(self, event_log: EventLog, topic: str) -> None:
        self._log = event_log
        self._topic = topic
        self._queue: Queue[Fields] = Queue(MOST_WAITING)
        self._closing = Event()
        self._thread = Thread(target=self._write, name="impressions", daemon=True)
        self._thread.start()

    def submit(self, fields: Fields) -> None:
        """Hand over one impression; dropped and counted if too many wait."""
        try:
            self._queue.put_nowait(fields)
        except Full:
            metrics.IMPRESSIONS.labels("dropped").inc()

    def close(self) -> None:
        """Write what waits, if the log takes it, then stop."""
        self._closing.set()
        self._thread.join()

    def _write(self) -> None:
        """A writer that lost a record stays failed, so that each failure takes a new one."""
        while True:
            last_try = self._closing.is_set()
            try:
                with self._log.writer() as writer:
                    self._write_with(writer)
                return
            except MillstreamError as error:
                log.warning("impressions were lost: %s", error)
            if last_try:
                metrics.IMPRESSIONS.labels("dropped").inc(self._queue.qsize())
                return
            self._closing.wait(POLL_SECONDS)

    def _write_with(self, writer: LogWriter) -> None:
        while batch := self._batch():
            valid = [record for fields in batch if (record := _record(fields)) is not None]
            try:
                for user, wire in valid:
                    writer.append(self._topic, user, wire)
                writer.flush()
            except MillstreamError:
                metrics.IMPRESSIONS.labels("failed").inc(len(valid))
                raise
            metrics.IMPRESSIONS.labels("written").inc(len(valid))

    def _batch(self) -> list[Fields]:
        """What waits, as soon as there is any; empty when closing and all is written."""
        batch: list[Fields] = []
        while not batch and not (self._closing.is_set() and self._queue.empty()):
            batch = self._waiting()
        return batch

    def _waiting(self) -> list[Fields]:
        batch: list[Fields] = []
        try:
            batch.append(self._queue.get(timeout=POLL_SECONDS))
            while len(batch) < MOST_AT_ONCE:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch


def _record(fields: Fields) -> tuple[str, bytes] | None:
    """Key and value; None, and counted, where there are more or longer ids than an event may have."""
    try:
        impression = validate(Impression, fields)
        return impression.user, encode(impression)
    except InvalidEvent as error:
        log.warning("impression refused: %s", error)
        metrics.IMPRESSIONS.labels("failed").inc()
        return None
