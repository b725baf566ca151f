"""Daemons as child processes, all with the same settings, all stopped at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import MillstreamError

STOP_SECONDS = 30
TOLD_LINES = 15


class DaemonDied(MillstreamError):
    """A daemon ended before its time; the message has its last words."""


class Daemons:
    """Runs `millstream` commands beside each other; a log file each.

    Args:
        folder: where their logs go.
        environment: settings as ``MILLSTREAM_…`` variables, on top of ours.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, command: str, *arguments: str) -> None:
        """Start a command."""
        with self._log_of(command).open("ab") as output:
            self._running[command] = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", command, *arguments],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ended(self, command: str) -> bool:
        """Whether a command has done its work.

        Raises:
            DaemonDied: it ended with an error.
        """
        status = self._running[command].poll()
        if status:
            last = self._log_of(command).read_text(errors="replace").splitlines()[-TOLD_LINES:]
            raise DaemonDied(f"millstream {command} ended with status {status}:\n" + "\n".join(last))
        return status is not None

    def check(self, *commands: str) -> None:
        """Raise DaemonDied if one of the commands has ended."""
        for command in commands:
            if self.ended(command):
                raise DaemonDied(f"millstream {command} stopped; see {self._log_of(command)}")

    def kill(self, command: str) -> None:
        """End a command at once, as a crash would."""
        self._running[command].kill()
        self._running[command].wait()

    def stop(self, command: str) -> None:
        """Ask a command to end, and wait until it has."""
        self._running[command].send_signal(signal.SIGTERM)
        self._running[command].wait(STOP_SECONDS)

    def _log_of(self, command: str) -> Path:
        return self._folder / f"{command}.log"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
