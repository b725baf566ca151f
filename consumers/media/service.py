"""The daemon's loop: read records of items, make vectors that are due, publish what differs.

A record is noted before it is appended, so that it is known when it is read back, also after a crash; see
`consumers.media.entry` for why. Nothing is published before the log was read to its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from consumers.media.entry import ItemEntry, Numbers, after, after_ours
from consumers.media.maker import VectorMaker, given_up
from consumers.media.store import ItemMedium, MediaStore
from pipeline import metrics
from pipeline.config import MediaConfig
from pipeline.errors import (
    DeliveryError,
    EncoderUnavailable,
    InvalidEvent,
    LogUnavailable,
    MediaReason,
    MediaRefused,
    OffsetsExpired,
    StorageUnavailable,
    TopicRenewed,
)
from pipeline.eventlog.intake import item_of
from pipeline.eventlog.patience import Pauses
from pipeline.eventlog.port import EventLog, LogReader, LogWriter, Record, lag
from pipeline.eventlog.topic_watch import TopicWatch
from pipeline.media.encoders import spec_of

MAX_RECORDS = 500
"""Records per poll, of up to 64 KB each."""
MAX_CHECKS = 200
"""Items between two polls that are checked, each with a record of up to 64 KB."""
POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)

Append = tuple[str, bytes | None]
"""Item, and the value of its record."""


class MediaService:
    """Follows the topic of items until it is stopped."""

    def __init__(
        self,
        event_log: EventLog,
        topic: str,
        config: MediaConfig,
        store: MediaStore,
        maker: VectorMaker,
        stop: Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`topic` is that of items; `clock` is in seconds."""
        self._log, self._topic, self._store, self._maker = event_log, topic, store, maker
        self._digests = {name: spec_of(one).digest for name, one in config.encoders.items()}
        self._stop, self._clock = stop, clock
        self._pauses, self._is_lost = Pauses("media", "media wait", stop), False

    def run(self) -> None:
        """Follow until stopped; wait while the log, the disk or the encoding process is away.

        Raises:
            TopicError: the topic is gone.
        """
        while not self._stop.is_set():
            try:
                self.follow()
            except (OffsetsExpired, TopicRenewed) as error:
                log.warning("reading all items again: %s", error)
                self._is_lost = True
            except (LogUnavailable, DeliveryError, StorageUnavailable, EncoderUnavailable) as error:
                self._pauses.pause(error, PAUSE_SECONDS, self._log)

    def follow(self) -> None:
        """Read from where it was left, until stopped.

        Raises:
            MillstreamError: to be repeated, see `run`.
        """
        begins, ends = self._log.begin_offsets([self._topic]), self._log.end_offsets([self._topic])
        watch = TopicWatch(self._log, [self._topic])
        self._store.begin(watch.ids[self._topic], self._digests, again=self._is_lost)
        self._is_lost = False
        with self._log.reader(self._store.positions(begins)) as reader, self._log.writer() as writer:
            while any(at < ends[source] for source, at in reader.positions().items()):
                if self._stop.is_set():
                    return
                self._read(reader, POLL_SECONDS)
            self._store.give_up_sent()
            log.info("caught up with the items; %s media wait to be fetched", self._store.pending())
            is_busy = True
            while not self._stop.is_set():
                is_busy = self.turn(reader, writer, 0 if is_busy else POLL_SECONDS)
                watch.check()

    def turn(self, reader: LogReader, writer: LogWriter, poll_seconds: float) -> bool:
        """Read, make, and publish once; return whether there may be more to do at once."""
        self._read(reader, poll_seconds)
        made = self._maker.make()
        appends, checked = self._decide()
        for item, value in appends:
            writer.append(self._topic, item, value)
        if appends:
            writer.flush()
        behind = lag(self._log.end_offsets([self._topic]), reader.positions())
        metrics.LAG.labels("media").set(sum(behind.values()))
        return bool(made or checked)

    def _read(self, reader: LogReader, poll_seconds: float) -> None:
        records = reader.poll(MAX_RECORDS, poll_seconds)
        if records:
            with self._store.transaction():
                for record in records:
                    self._fold(record)
                self._store.advance(reader.positions())

    def _fold(self, record: Record) -> None:
        """Note what a record says; what it is refused for, the learner says."""
        try:
            found = item_of(record)
        except InvalidEvent:
            return
        item = found if isinstance(found, str) else found.item
        before = self._store.entry(item)
        if before is not None and self._store.take_sent(item, record.value):
            entry = after_ours(before, record.value)
        else:
            entry = after(before, found)
            entry = entry._replace(own=self._store.without_ours(entry.own))
        self._store.put_entry(item, entry)

    def _decide(self) -> tuple[list[Append], int]:
        """Check some items; return the records to append, which are noted, and how many were checked."""
        appends: list[Append] = []
        with self._store.transaction():
            items = self._store.take_unchecked(MAX_CHECKS)
            for item in items:
                appends += self._check(item)
        return appends, len(items)

    def _check(self, item: str) -> Sequence[Append]:
        """Look for media of an item that are new; return the record to append, if it says anything new."""
        entry = self._store.entry(item)
        if entry is None or entry.is_never_on_sale or self._store.is_sent(item):
            return ()  # it is checked when the record is read back, or its times are mended
        self._plan(item, entry)
        vectors = self._wanted(item, entry)
        if vectors == entry.published and not entry.is_replaced:
            return ()
        try:
            value = entry.record(vectors)
        except InvalidEvent as error:
            self._give_up(item, MediaRefused(MediaReason.TOO_LARGE, f"with its vector, the item is: {error}"))
            return ()
        self._store.put_sent(item, value)
        metrics.MEDIA_RECORDS.labels("repair" if entry.is_replaced else "vectors").inc()
        return ((item, value),)

    def _plan(self, item: str, entry: ItemEntry) -> None:
        """Note which media are to be fetched: those without a vector of their sender's, whose URL is new."""
        urls = {name: entry.media[name] for name in self._digests.keys() & entry.media.keys()}
        known = self._store.media(item)
        for name in known.keys() - (urls.keys() - entry.own.keys()):
            self._store.remove_medium(item, name)
        for name in urls.keys() - entry.own.keys():
            if name not in known or known[name].url != urls[name]:
                self._store.put_medium(ItemMedium(item, name, urls[name], due=self._clock()))

    def _wanted(self, item: str, entry: ItemEntry) -> Mapping[str, Numbers]:
        """The vectors that an item should have; one of an earlier medium stays until there is a new one."""
        vectors = dict(entry.own)
        for name, medium in self._store.media(item).items():
            made = medium.content and self._store.vector(self._digests[name], medium.content)
            if made:
                vectors[name] = made
            elif medium.due is not None and name in entry.published:
                vectors[name] = entry.published[name]
        return vectors

    def _give_up(self, item: str, refused: MediaRefused) -> None:
        """Refuse all media of an item, and check it again."""
        for medium in self._store.media(item).values():
            self._store.put_medium(given_up(medium._replace(content=None), refused))
        self._store.uncheck(item)
