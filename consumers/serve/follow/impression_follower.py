"""A thread that reads impressions, so that a server knows what other servers have shown, too.

It is apart from the follower: answers neither wait for it nor fail with it.
"""

from __future__ import annotations

from threading import Event

from consumers.serve.follow.beside import read_beside
from consumers.serve.state.shown import ShownItems
from pipeline.clock import now_ms
from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.events import Impression, build, parse

MAX_RECORDS = 1_000


class ImpressionFollower:
    """Adds the impressions of the last hours, and then each new one, to what was shown."""

    def __init__(
        self, event_log: EventLog, topic: str, shown: ShownItems, keep_ms: int, poll_seconds: float
    ) -> None:
        self._log, self._topic, self._shown = event_log, topic, shown
        self._keep_ms, self._poll_seconds = keep_ms, poll_seconds
        self._refusals = RefusalLog("serve")

    def run(self, stop: Event) -> None:
        """Read until `stop` is set; after a fault of the log, read again: adding one twice is harmless."""
        read_beside(self._follow, self._log, stop, "what other servers show is not known")

    def _follow(self, stop: Event) -> None:
        since = now_ms() - self._keep_ms
        with self._log.reader(self._log.offsets_at([self._topic], since)) as reader:
            while not stop.is_set():
                for record in reader.poll(MAX_RECORDS, 0):  # if it waited, it looked after each commit
                    self._add(record)
                self._refusals.settle()
                stop.wait(self._poll_seconds)

    def _add(self, record: Record) -> None:
        try:
            fields = parse(record.value or b"")
            if self._shown.first(str(fields.get("impression_id"))):
                return  # this server's own; to check it costs a tenth of the answer
            shown = build(Impression, fields)
        except InvalidEvent as error:
            self._refusals.add(record, error)
        else:
            self._shown.add(shown.impression_id, shown.user, shown.items, shown.time)
