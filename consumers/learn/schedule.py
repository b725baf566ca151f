"""When a kind of commit is due, what the last one covers, and the thread that writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from pipeline.snapshots.version import Version

Task = Future[None]


@dataclass
class Cadence:
    """Due when so many seconds or so many events have passed since the last time."""

    seconds: float
    events: int
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _passed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def count(self, events: int) -> None:
        """Add events that have passed."""
        self._passed += events

    @property
    def due(self) -> bool:
        """Whether enough time or enough events have passed."""
        return self._passed >= self.events or self.clock() - self._last >= self.seconds

    def restart(self) -> None:
        """Count from now."""
        self._last, self._passed = self.clock(), 0


@dataclass
class Schedule:
    """One kind of commit, written in the background, one at a time.

    Attributes:
        cadence: when the next one is due.
        covered: the version that the last one contains, perhaps still being written; None before
            the first.
        task: its write; None before the first.
        before: what `covered` was before that write.
    """

    cadence: Cadence
    covered: Version | None = None
    task: Task | None = None
    before: Version | None = None

    def covers(self, version: Version | None) -> bool:
        """Whether the last commit contains a version."""
        return self.covered is not None and version is not None and self.covered >= version

    def is_ready(self, version: Version | None) -> bool:
        """Whether a version is not committed yet, and no write is in progress or to be taken back.

        Raises what stopped the last write, unless it was disk or store.
        """
        if self.task is not None and (not self.task.done() or self.storage_error() is not None):
            return False
        self.wait()
        return version is not None and not self.covers(version)

    def is_due(self, version: Version | None) -> bool:
        """Whether a version is ready to be committed, and it is time."""
        return self.is_ready(version) and self.cadence.due

    def begin(self, version: Version | None, threads: Executor, write: Callable[[], None]) -> None:
        """Start to write a commit that contains a version."""
        self.before, self.covered = self.covered, version
        self.cadence.restart()
        self.task = threads.submit(write)

    def storage_error(self) -> OSError | None:
        """Return why disk or store refused the last write, if they did."""
        error = self.task.exception() if self.task is not None and self.task.done() else None
        return error if isinstance(error, OSError) else None

    def take_back(self) -> None:
        """Forget the last write, which failed; the next one is due by its cadence."""
        self.covered, self.task = self.before, None

    @property
    def is_written(self) -> bool:
        """Whether the last write succeeded."""
        return self.task is None or (self.task.done() and self.task.exception() is None)

    def wait(self) -> None:
        """Wait for the write in progress, if any; raise what stopped it."""
        if self.task is not None:
            self.task.result()
