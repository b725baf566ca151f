"""Impressions: the items shown and the query they answer, written to the log in the background.

A request only puts its impression into a bounded queue, so it neither waits for the log nor
fails with it. Impressions that could not be written are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Annotated, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Json, PlainSerializer, ValidationError

from consumers.serve.query import ALL_TYPES, NO_TYPES, RecommendationQuery
from pipeline import metrics
from pipeline.errors import InvalidEvent, MillstreamError
from pipeline.eventlog.port import EventLog, LogWriter
from pipeline.events import Context, Impression, InteractionType, encode, validate

MAX_QUEUED = 10_000
MAX_BATCH = 500
POLL_SECONDS = 0.2
GATHER_SECONDS = 0.05
"""How long an impression waits for others. A commit costs the same for one as for many, and where several
workers commit without a pause, the learner hardly gets SQLite's lock."""
MAX_CONTEXT_CHARACTERS = 512
"""Maximum length of one value of an impression's context."""

log = logging.getLogger(__name__)

Fields = Mapping[str, object]
"""The fields of an `Impression`, not yet validated."""


class NotRepeatable(MillstreamError):
    """The answer of this impression cannot be reproduced."""


AS_THEY_ARE = (
    "k",
    "category",
    "exclude_seen",
    "hide_disliked_ms",
    "exclude_shown_ms",
    "owner_attribute",
    "diversity",
    "most_per_category",
    "shown",
)
"""The fields of a query that are stored as they are; to explain an answer changes nothing in it."""


def _listed(stored: object) -> object:
    """Read types divided by commas; older impressions have true for all types."""
    if isinstance(stored, bool):
        return ALL_TYPES if stored else NO_TYPES
    return stored.split(",") if isinstance(stored, str) else stored


def _joined(types: frozenset[InteractionType]) -> str:
    return ",".join(sorted(types))


class StoredQuery(BaseModel):
    """The query of an answer, as stored in the context of its impression.

    Attributes:
        asked: whether the whole query is stored; ``partial`` if it was too long.
        session: see `recommend`.
        exclude, only: the items to leave out, and to choose among, as JSON lists.
        pending_texts: number of new texts that the server had not encoded yet.
        said: the context of the query, as a JSON list of pairs.
        rules: digest of what business rules made the answer depend on; empty without rules.

    All others are fields of `RecommendationQuery`.
    """

    model_config = ConfigDict(frozen=True)

    asked: Literal["whole", "partial"]
    k: int
    session: str | None = None
    category: str | None = None
    exclude_seen: Annotated[
        frozenset[InteractionType], BeforeValidator(_listed), PlainSerializer(_joined)
    ] = NO_TYPES
    hide_disliked_ms: int = 0
    exclude_shown_ms: int = 0
    owner_attribute: str | None = None
    diversity: float = 0.0
    most_per_category: int | None = None
    shown: int | None = None
    exclude: Json[tuple[str, ...]] = ()
    only: Json[tuple[str, ...] | None] = None
    pending_texts: int = 0
    said: Json[tuple[tuple[str, str], ...]] = ()
    rules: str = ""

    @classmethod
    def from_query(
        cls, query: RecommendationQuery, session: str | None, pending_texts: int, rules: str = ""
    ) -> Self:
        """Store the query of an answer given now."""
        exclude = orjson.dumps(sorted(query.exclude)).decode()
        only = orjson.dumps(None if query.only is None else sorted(query.only)).decode()
        said = orjson.dumps(query.context).decode()
        fits = max(len(exclude), len(said), len(only)) <= MAX_CONTEXT_CHARACTERS
        return cls.model_validate(
            {
                **{name: getattr(query, name) for name in AS_THEY_ARE},
                "asked": "whole" if fits else "partial",
                "session": session,
                "exclude": exclude if fits else "[]",
                "only": only if fits else "null",
                "pending_texts": pending_texts,
                "said": said if fits else "[]",
                "rules": rules,
            }
        )

    @classmethod
    def from_context(cls, context: Context) -> Self:
        """Read the query from the context of an impression.

        Raises:
            NotRepeatable: the context does not hold the whole query.
        """
        try:
            stored = cls.model_validate(context)
        except ValidationError:
            raise NotRepeatable("the impression does not store its query; older ones do not") from None
        if stored.asked == "partial":
            raise NotRepeatable(
                "the query excluded more items, or had a longer context, than the impression can store"
            )
        return stored

    @property
    def query(self) -> RecommendationQuery:
        """The query without session and pending texts."""
        fields = {name: getattr(self, name) for name in AS_THEY_ARE}
        only = None if self.only is None else frozenset(self.only)
        return RecommendationQuery(exclude=frozenset(self.exclude), only=only, context=self.said, **fields)

    def context(self) -> Context:
        """The context to write into the impression."""
        return self.model_dump(exclude_defaults=True, round_trip=True)


@lru_cache(1_024)
def stored_context(
    query: RecommendationQuery, session: str | None, pending_texts: int, rules: str
) -> Context:
    """Return the context of an impression that stores a query; see `StoredQuery`."""
    return StoredQuery.from_query(query, session, pending_texts, rules).context()


class ImpressionWriter:
    """Writes impressions in its own thread until it is closed."""

    def __init__(self, event_log: EventLog, topic: str) -> None:
        self._log = event_log
        self._topic = topic
        self._queue: Queue[Fields] = Queue(MAX_QUEUED)
        self._closing = Event()
        self._thread = Thread(target=self._write, name="impressions", daemon=True)
        self._thread.start()

    def submit(self, fields: Fields) -> None:
        """Queue one impression; drop and count it if the queue is full."""
        try:
            self._queue.put_nowait(fields)
        except Full:
            metrics.IMPRESSIONS.labels("dropped").inc()

    def close(self) -> None:
        """Write the queued impressions, if the log accepts them, then stop."""
        self._closing.set()
        self._thread.join()

    def _write(self) -> None:
        """Write until closed; open a new writer after each failure, because a failed one stays failed.

        The same reason for a failure is logged once, until there is another one.
        """
        reason = ""
        while True:
            last_try = self._closing.is_set()
            try:
                with self._log.writer() as writer:
                    self._write_with(writer)
                return
            except MillstreamError as error:
                if str(error) != reason:
                    reason = str(error)
                    log.warning("impressions are lost: %s", error)
            if last_try:
                metrics.IMPRESSIONS.labels("dropped").inc(self._queue.qsize())
                return
            self._closing.wait(POLL_SECONDS)

    def _write_with(self, writer: LogWriter) -> None:
        while batch := self._next_batch():
            valid = [record for fields in batch if (record := _record(fields)) is not None]
            try:
                for user, wire in valid:
                    writer.append(self._topic, user, wire)
                writer.flush()
            except MillstreamError:
                metrics.IMPRESSIONS.labels("failed").inc(len(valid))
                raise
            metrics.IMPRESSIONS.labels("written").inc(len(valid))

    def _next_batch(self) -> list[Fields]:
        """Wait for queued impressions and return them; return none when closing with an empty queue."""
        batch: list[Fields] = []
        while not batch and not (self._closing.is_set() and self._queue.empty()):
            batch = self._drain()
        return batch

    def _drain(self) -> list[Fields]:
        """Return the queued impressions, at most `MAX_BATCH`; wait a moment for the first."""
        batch: list[Fields] = []
        try:
            batch.append(self._queue.get(timeout=POLL_SECONDS))
            self._closing.wait(GATHER_SECONDS)
            while len(batch) < MAX_BATCH:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch


def _record(fields: Fields) -> tuple[str, bytes] | None:
    """Return key and value; count an invalid impression (too many ids, or too long) and return None."""
    try:
        impression = validate(Impression, fields)
        return impression.user, encode(impression)
    except InvalidEvent as error:
        log.warning("impression refused: %s", error)
        metrics.IMPRESSIONS.labels("failed").inc()
        return None
