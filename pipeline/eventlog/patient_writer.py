"""A writer that outlasts a log that is away, for producers whose events have ids."""

from __future__ import annotations

from threading import Event
from typing import NamedTuple, Self

from pipeline.errors import DeliveryError, LogUnavailable
from pipeline.eventlog.patience import patiently
from pipeline.eventlog.port import EventLog, LogWriter, check_record
from pipeline.signals import Stopped


class _Append(NamedTuple):
    topic: str
    key: str | None
    value: bytes | None
    partition: int | None


class PatientWriter:
    """Appends what was not acknowledged again, to a new writer, once the log is back. See `LogWriter`.

    A record may be stored twice, when the log stored it and could not say so: consumers drop it by
    its event id. While the log is away, `append` and `flush` wait; they raise Stopped if `stop` is set.
    """

    def __init__(self, event_log: EventLog, stop: Event, max_in_flight: int = 20_000) -> None:
        self._log = event_log
        self._stop = stop
        self._max_in_flight = max_in_flight
        self._unacknowledged: list[_Append] = []
        self._writer: LogWriter | None = None

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """See `LogWriter.append`."""
        check_record(key, value)
        if len(self._unacknowledged) >= self._max_in_flight:
            self.flush()
        append = _Append(topic, key, value, partition)
        self._unacknowledged.append(append)
        try:
            _append(self._open(), append)
        except (DeliveryError, LogUnavailable):
            self._append_again()

    def flush(self) -> None:
        """See `LogWriter.flush`."""
        try:
            self._open().flush()
        except (DeliveryError, LogUnavailable):
            self._append_again()
        self._unacknowledged.clear()

    def close(self) -> None:
        """Close the writer; raise nothing about records that were never flushed."""
        if self._writer is not None:
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> LogWriter:
        if self._writer is None:
            self._writer = self._log.writer(max_in_flight=self._max_in_flight)
        return self._writer

    def _append_again(self) -> None:
        """Append and flush everything unacknowledged with a new writer, as often as it takes."""

        def attempt() -> bool:
            self._abandon()
            try:
                writer = self._open()
                for append in self._unacknowledged:
                    _append(writer, append)
                writer.flush()
            except DeliveryError as error:
                raise LogUnavailable(str(error)) from error
            return True

        if patiently(attempt, self._stop, self._log) is None:
            raise Stopped
        self._unacknowledged.clear()

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except (DeliveryError, LogUnavailable):
                return  # it has failed already; its records are appended again


def _append(writer: LogWriter, append: _Append) -> None:
    writer.append(append.topic, append.key, append.value, partition=append.partition)
