"""Sign-ins that have ended: on the control topic, so that every console knows, and after a restart, too."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Event

from pipeline.control.actions import SignOut
from pipeline.eventlog.patience import patiently
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.topics import Topics

MOST_RECORDS = 1_000
POLL_SECONDS = 0.5


class SignOuts:
    """The sessions that ended within the time that a cookie is good for; a thread follows those of others."""

    def __init__(self, event_log: EventLog, topics: Topics, session_seconds: float) -> None:
        self._log, self._topics, self._seconds = event_log, topics, session_seconds
        self._ended: dict[str, float] = {}
        self._caught_up = Event()

    @property
    def are_known(self) -> bool:
        """Whether all that ended before the start have been read."""
        return self._caught_up.is_set()

    def has(self, session: str) -> bool:
        """Return whether a session has ended, by its digest."""
        return session in self._ended

    def end(self, session: str) -> None:
        """End a session here at once, and for all consoles by a record.

        Raises:
            LogUnavailable, DeliveryError: the log does not take the record; it ended here alone.
        """
        self._ended[session] = time.time()
        record = SignOut(session=session)
        with self._log.writer() as writer:
            writer.append(self._topics.control, record.key, record.encode())
            writer.flush()

    def follow(self, stop: Event) -> None:
        """Read what ended before, and what ends, until `stop` is set."""
        patiently(lambda: self._follow(stop), stop, self._log)

    def _follow(self, stop: Event) -> None:
        topics = [self._topics.control]
        ends = self._log.end_offsets(topics)
        oldest = max(0, int((time.time() - self._seconds) * 1000))
        with self._log.reader(self._log.offsets_at(topics, oldest)) as reader:
            while not stop.is_set():
                if all(reader.positions()[source] >= end for source, end in ends.items()):
                    self._caught_up.set()
                self._read(reader.poll(MOST_RECORDS, POLL_SECONDS))

    def _read(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.value and (record.key or "").startswith(SignOut.key_prefix):
                self._add(record.value, record.append_time / 1000)
        oldest = time.time() - self._seconds
        for session in [session for session, ended in list(self._ended.items()) if ended < oldest]:
            del self._ended[session]

    def _add(self, wire: bytes, ended: float) -> None:
        try:
            self._ended[SignOut.decode(wire).session] = ended
        except ValueError:  # damaged, or a stranger's; read_history logs it
            return
