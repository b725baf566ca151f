"""Tools of the server's tests that do not depend on the simulated shop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Self

from pipeline.eventlog.port import LogWriter


class Writer:
    """A log writer that calls `before_announcement`, if set, before it announces a snapshot."""

    def __init__(self, writer: LogWriter, announcements: str) -> None:
        self._writer = writer
        self._announcements = announcements
        self.before_announcement: Callable[[], None] | None = None
        self.flush, self.close = writer.flush, writer.close

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        if topic == self._announcements and self.before_announcement:
            self.before_announcement()
        self._writer.append(topic, key, value, partition=partition)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until another thread makes the condition true; fail after `seconds`, many times what it takes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


@contextmanager
def following(follow: Callable[[Event], object]) -> Iterator[None]:
    """Let a thread follow the log meanwhile; raises what it raised, or that it does not end when asked to."""
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(follow, stop)
        try:
            yield
        finally:
            stop.set()
        running.result(timeout=10)
