"""An earlier snapshot asked beside the one that is served, by a server of its own on this machine.

It is `millstream serve --at`, so what it answers is what a server would that served this snapshot now: with
today's histories, catalogue and rules, and the weights of then. There is one at a time, begun when somebody
asks and ended when nobody does, because it needs the memory of a server.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from socket import create_server
from threading import Event, Lock
from typing import IO
from urllib.request import urlopen

from consumers.console.answers import Answers
from consumers.console.commands import last_line
from pipeline.config import Settings
from pipeline.errors import MillstreamError

BUSY_SECONDS = 60.0
"""That a version is kept for those who ask, while others ask for another one."""
START_SECONDS = 300.0
LOOK_SECONDS = 1.0
STOP_SECONDS = 10.0
READY_SECONDS = 2.0
Start = Callable[[Sequence[str], IO[bytes]], "subprocess.Popen[bytes]"]

log = logging.getLogger(__name__)


class EarlierUnavailable(MillstreamError):
    """An earlier snapshot cannot be asked now; names the reason."""


def start_command(arguments: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `millstream` with arguments, with this process's settings."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


class _Running:
    """A server of one version."""

    def __init__(self, version: str, settings: Settings, start: Start, now: float) -> None:
        self.version, self.began, self.asked = version, now, now
        with create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.answers = Answers(self.url, settings)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self._process = start(["serve", "--at", version, "--port", str(port)], self._errors)
        self._is_ready = False

    def is_ready(self) -> bool:
        """Whether it answers.

        Raises:
            EarlierUnavailable: it has ended.
        """
        if self._process.poll() is not None:
            self._errors.seek(0)
            raise EarlierUnavailable(last_line(self._errors.read().decode(errors="replace")))
        if not self._is_ready:
            try:
                with urlopen(f"{self.url}/readyz", timeout=READY_SECONDS):
                    self._is_ready = True
            except OSError:  # as HTTPError is
                return False
        return True

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class EarlierServer:
    """Keeps at most one server of an earlier snapshot, for as long as it is asked."""

    def __init__(
        self,
        settings: Settings,
        start: Start = start_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._start, self._clock = settings, start, clock
        self._kept_seconds = settings.console.earlier_seconds
        self._lock = Lock()
        self._running: _Running | None = None

    @property
    def is_on(self) -> bool:
        """Whether the settings let earlier snapshots be asked."""
        return self._kept_seconds > 0

    def answers(self, version: str) -> Answers | None:
        """Return who answers by a version; None while that starts.

        Raises:
            EarlierUnavailable: the settings forbid it, others ask for another version, or its server ended.
        """
        if not self.is_on:
            raise EarlierUnavailable("console.earlier_seconds = 0: no earlier snapshot is asked")
        with self._lock:
            running = self._running_of(version)
            try:
                is_ready = running.is_ready()
            except EarlierUnavailable:
                self._end()
                raise
            if not is_ready and self._clock() - running.began > START_SECONDS:
                self._end()
                raise EarlierUnavailable(f"a server of {version} was not ready in {START_SECONDS:.0f} s")
        return running.answers if is_ready else None

    def run(self, stop: Event) -> None:
        """End the server when nobody asks it, and when `stop` is set."""
        while not stop.wait(LOOK_SECONDS):
            with self._lock:
                if self._running and self._clock() - self._running.asked > self._kept_seconds:
                    self._end()
        with self._lock:
            self._end()

    def _running_of(self, version: str) -> _Running:
        now, running = self._clock(), self._running
        if running is not None and running.version != version:
            left = BUSY_SECONDS - (now - running.asked)
            if left > 0:
                raise EarlierUnavailable(
                    f"snapshot {running.version} is being asked, and one earlier snapshot is at a time: ask "
                    f"for it, or again in {left:.0f} s"
                )
            self._end()
        if self._running is None:
            self._running = _Running(version, self._settings, self._start, now)
            log.info("a server of snapshot %s starts", version)
        self._running.asked = now
        return self._running

    def _end(self) -> None:
        if self._running is not None:
            self._running.end()
            log.info("the server of snapshot %s has ended", self._running.version)
            self._running = None
