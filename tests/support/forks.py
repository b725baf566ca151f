"""Commands forked from one process that has loaded everything: a start takes milliseconds, not six seconds.

What is forked is a process as any other: with its own settings, log and exit status, and it can be killed
or frozen. That commands start as a person starts them is what other tests see: the story of a retrain, the
demo, the console, an outage, and those of each daemon.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pipeline import cli
from pipeline.demo.processes import Daemons

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.loaded"])
PR_SET_PDEATHSIG = 1


class ForkedDaemons(Daemons):
    """`Daemons` that are forked."""

    def start(self, command: str, *arguments: str) -> None:
        """Start a command in the background."""
        where = Path.cwd(), self._log_of(command)
        process = FORKS.Process(target=_run, args=((command, *arguments), self._environment, *where))
        process.start()
        self._running[command] = Forked(process)


class Forked:
    """A forked process with those methods of `subprocess.Popen` that `Daemons` calls."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Return the exit status; None while it runs, negative if a signal ended it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most so many seconds."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def enter(environment: Mapping[str, str], folder: Path, output: Path) -> None:
    """Make a new process its own, because it is forked from one that began in an earlier test.

    Args:
        environment: all of it.
        folder: the working directory.
        output: file that what the process prints is appended to.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no daemon outlives the tests
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, output: Path) -> None:
    enter(environment, folder, output)
    sys.argv = ["millstream", *arguments]
    cli.main()
