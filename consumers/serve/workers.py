"""Workers: several server processes at one port, and the parent that starts, watches and stops them.

Each worker is a server of its own: it follows log and snapshots by itself, and the kernel divides new
connections among those that listen. A worker listens once it has read the log to its end, so a request never
meets one that cannot answer. The parent holds no state and answers nothing; it imports no torch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from threading import Event
from typing import NamedTuple

from pipeline.config import Settings
from pipeline.errors import MillstreamError
from pipeline.http.sockets import reserved
from pipeline.metrics import check_port
from pipeline.signals import stop_requested

POLL_SECONDS = 0.2
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
"""Before a worker that ended is replaced; each time twice as long as the time before."""
STEADY_SECONDS = 60.0
"""A worker that has run so long is replaced after the first pause again."""
SPAWN = get_context("spawn")
"""A forked process would share torch's locks and SQLite's files with its parent."""

log = logging.getLogger(__name__)


class WorkerDied(MillstreamError):
    """A worker ended before any worker could answer."""


class Worker(NamedTuple):
    """What a worker process knows of itself.

    Attributes:
        number: from 0; it keeps that of the process whose place it takes.
        restarts: processes that had this number before it.
        ready: takes a byte once it can answer.
    """

    number: int
    restarts: int
    ready: Connection


Work = Callable[[Settings, Worker], None]
"""What a worker process does until it is stopped; a function of a module, because it is pickled."""


def run(settings: Settings, work: Work) -> None:
    """Run the workers until SIGTERM or SIGINT; return when all have answered what they had accepted.

    Raises:
        InvalidSettings: the address, or that of a worker's metrics, cannot be listened at.
        WorkerDied: one ended before any could answer, as with wrong settings.
    """
    serve, stop, measured = settings.serve, stop_requested(), settings.metrics
    for number in range(serve.workers if measured.serve else 0):
        check_port(measured.host, measured.serve + number)
    with reserved(serve.host, serve.port, "serve"):
        watch([Slot(settings, work, number) for number in range(serve.workers)], stop)
    log.info("all workers stopped")


def watch(slots: list[Slot], stop: Event) -> None:
    """Start all workers, replace those that end, and stop them once `stop` is set.

    Raises:
        WorkerDied: one ended before any could answer.
    """
    try:
        for slot in slots:
            slot.start()
        can_answer = False
        while not stop.wait(POLL_SECONDS):
            can_answer = can_answer or any(slot.can_answer() for slot in slots)
            for slot in slots:
                slot.replace_ended(can_answer)
    finally:
        for slot in slots:
            slot.stop()
        for slot in slots:
            slot.join()


class Slot:
    """The process of one worker, and those that take its place.

    Attributes:
        process: the one that runs, or has just ended.
    """

    process: SpawnProcess

    def __init__(
        self, settings: Settings, work: Work, number: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._work, self._number, self._clock = settings, work, number, clock
        self._restarts, self._pause = 0, FIRST_PAUSE_SECONDS
        self._restart_at: float | None = None

    def start(self) -> None:
        """Start a process."""
        self._ready, sender = SPAWN.Pipe(duplex=False)
        worker = Worker(self._number, self._restarts, sender)
        self.process = SPAWN.Process(
            target=self._work, args=(self._settings, worker), name=f"worker {self._number}"
        )
        self.process.start()
        self._started_at = self._clock()
        sender.close()
        found = {"worker": self._number, "process_id": self.process.pid}
        log.info("worker %s is process %s", *found.values(), extra=found)

    def can_answer(self) -> bool:
        """Return whether the process has said that it can answer."""
        if not self._ready.poll():
            return False
        try:
            self._ready.recv_bytes()
        except EOFError:  # it has ended
            return False
        return True

    def replace_ended(self, can_answer: bool) -> None:
        """Start another process if this one ended a while ago.

        Raises:
            WorkerDied: it ended, and no worker could answer yet.
        """
        if self.process.is_alive():
            return
        if not can_answer:
            raise WorkerDied(f"{self._end}, before any could answer; the lines above say why")
        if self._restart_at is None:
            self._plan_restart()
        elif self._clock() >= self._restart_at:
            self._restarts, self._restart_at = self._restarts + 1, None
            self._ready.close()
            self.start()

    def stop(self) -> None:
        """Ask the process to end."""
        self.process.terminate()

    def join(self) -> None:
        """Wait until it has ended."""
        self.process.join()
        self._ready.close()

    @property
    def _end(self) -> str:
        return f"worker {self._number} ended with status {self.process.exitcode}"

    def _plan_restart(self) -> None:
        now = self._clock()
        if now - self._started_at >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        log.error("%s; another one takes its place in %s s", self._end, self._pause)
        self._restart_at, self._pause = now + self._pause, min(2 * self._pause, MAX_PAUSE_SECONDS)
