"""Run daemons as child processes with the same settings, and stop them at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pipeline.errors import MillstreamError

STOP_SECONDS = 30
LOG_TAIL_LINES = 15


class DaemonDied(MillstreamError):
    """A daemon ended unexpectedly; the message contains the end of its log."""


class _Process(Protocol):
    """What is asked of a running command; see `subprocess.Popen`, of which it is a part."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


class Daemons:
    """Runs `millstream` commands concurrently, each with a log file.

    Args:
        folder: folder of the log files.
        environment: settings as ``MILLSTREAM_…`` variables, added to this process's environment.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._running: dict[str, _Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS  # of all of them: they stop side by side
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, command: str, *arguments: str) -> None:
        """Start a command in the background."""
        with self._log_of(command).open("ab") as output:
            self._running[command] = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", command, *arguments],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ended(self, command: str) -> bool:
        """Return whether a command has ended successfully.

        Raises:
            DaemonDied: the command ended with an error.
        """
        status = self._running[command].poll()
        if status:
            log_tail = self._log_of(command).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise DaemonDied(f"millstream {command} ended with status {status}:\n" + "\n".join(log_tail))
        return status is not None

    def check(self, *commands: str) -> None:
        """Check that commands are still running.

        Raises:
            DaemonDied: one of them has ended.
        """
        for command in commands:
            if self.ended(command):
                raise DaemonDied(f"millstream {command} stopped; see {self._log_of(command)}")

    def kill(self, command: str) -> None:
        """Kill a command, to simulate a crash."""
        self._running[command].kill()
        self._running[command].wait()

    def stop(self, command: str) -> None:
        """Send a command SIGTERM, and wait until it ends."""
        self._running[command].send_signal(signal.SIGTERM)
        self._running[command].wait(STOP_SECONDS)

    def _log_of(self, command: str) -> Path:
        return self._folder / f"{command}.log"


def free_port() -> int:
    """Return a port of the loopback interface that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
