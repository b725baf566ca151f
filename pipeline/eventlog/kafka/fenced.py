"""The only writer of a topic: one transaction per record, so that a successor fences it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Self

from kafka import errors as kafka_errors

from pipeline.errors import DeliveryError, Fenced
from pipeline.eventlog.kafka.client import close_producer
from pipeline.eventlog.kafka.refusals import translated
from pipeline.eventlog.port import check_record

APPEND_SECONDS = 5.0
"""How long an append may take. After a short outage a transaction of this client can stay stuck for a
minute, although the broker is back; a new writer is not."""


class KafkaFencedWriter:
    """A transactional producer with one transaction per record. See `FencedWriter`."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._error: DeliveryError | Fenced | None = None
        try:
            producer.init_transactions()
        except kafka_errors.KafkaError as error:
            close_producer(producer, at_once=True)
            raise translated(f"{topic}: cannot take over", error) from error

    def append(self, value: bytes) -> int:
        """See `FencedWriter.append`."""
        check_record(None, value)
        if self._error is not None:
            raise type(self._error)(str(self._error)) from self._error
        try:
            # The client's commit has no timeout of its own.
            return _within(APPEND_SECONDS, lambda: self._append(value))
        except (kafka_errors.KafkaError, TimeoutError) as error:
            self._error = self._translated(error)
            raise self._error from error

    def close(self) -> None:
        """Close the client; a transaction left open is aborted by the next writer."""
        close_producer(self._producer, at_once=self._error is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _append(self, value: bytes) -> int:
        self._producer.begin_transaction()
        future = self._producer.send(self._topic, value, partition=0)
        self._producer.commit_transaction()
        offset: int = future.get(timeout=APPEND_SECONDS).offset
        return offset

    def _translated(self, error: Exception) -> DeliveryError | Fenced:
        fencing = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
        # kafka-python may wrap the cause in the arguments of another error.
        if any(isinstance(reason, fencing) for reason in (error, *error.args)):
            return Fenced(f"{self._topic}: another process has taken over; this process must stop")
        return DeliveryError(str(translated(self._topic, error)))


def _within(seconds: float, call: Callable[[], int]) -> int:
    """Run a call that may block for ever in a thread, and abandon the thread after a timeout.

    Raises:
        TimeoutError: the time is up; the abandoned call may still complete.
    """
    outcome: Future[int] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except kafka_errors.KafkaError as error:
            outcome.set_exception(error)

    Thread(target=run, name="kafka-bounded-call", daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
