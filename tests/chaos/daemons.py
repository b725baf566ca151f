"""The daemons under test: forked from one process that has loaded everything, so that a start is cheap."""

from __future__ import annotations

import os
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from tests.chaos.seams import run_command
from tests.support.forks import FORKS

STOP_SECONDS = 30.0
TAIL_LINES = 12


class Daemons:
    """Runs commands as processes that can be killed, frozen, and armed to do so themselves.

    Attributes:
        killed, frozen: names of those that were killed, or frozen, on purpose.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.killed: set[str] = set()
        self.frozen: set[str] = set()
        self._environment = {**os.environ, **environment}
        self._running: dict[str, ForkServerProcess] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        self._printed_before: dict[str, int] = {}

    def start(self, name: str, *arguments: str) -> None:
        """Start a command; without arguments, as it was started last."""
        self._commands[name] = (name, *arguments) if arguments else self._commands.get(name, (name,))
        where = self.folder, self.log_of(name)
        self._printed_before[name] = self.log_size(name)
        process = FORKS.Process(target=run_command, args=(self._commands[name], self._environment, *where))
        process.start()
        self._running[name] = process
        self.killed.discard(name)

    def replace(self, name: str) -> ForkServerProcess:
        """Start a command a second time; return its first process, which is no longer ours."""
        before = self._running[name]
        self.frozen.discard(name)
        self.start(name)
        return before

    def started(self) -> list[str]:
        """Return the names of all commands that were started."""
        return list(self._running)

    def status(self, name: str) -> int | None:
        """Return the exit status of a command; None while it runs, negative if a signal ended it."""
        return self._running[name].exitcode

    def signal(self, name: str, number: Signals) -> None:
        """Send a running command a signal; wait for its end if it is SIGKILL."""
        process = self._running[name]
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, number)
            self._note(name, number)

    def arm(self, name: str, point: str, number: Signals) -> None:
        """Let a command send itself a signal at a point."""
        (self.folder / f"armed-{name}").write_text(f"{int(number)} {point}")

    def disarm(self, name: str) -> None:
        """Take back the last `arm`."""
        (self.folder / f"armed-{name}").unlink(missing_ok=True)

    def is_armed(self, name: str) -> bool:
        """Whether a command has not come to its point yet."""
        return (self.folder / f"armed-{name}").exists()

    def take_reached(self, name: str) -> str | None:
        """Return the point at which a command has sent itself a signal since the last call, if it did."""
        file = self.folder / f"reached-{name}"
        if not file.exists():
            return None
        number, point = file.read_text().split(maxsplit=1)
        file.unlink()
        self._note(name, Signals(int(number)))
        return point

    def stop(self, name: str) -> int | None:
        """Send SIGTERM, wait, and return the exit status; None if it did not end."""
        self.signal(name, SIGCONT)
        self.signal(name, SIGTERM)
        self._running[name].join(STOP_SECONDS)
        return self._running[name].exitcode

    def close(self) -> None:
        """Kill all that is left."""
        for name in self._running:
            self.signal(name, SIGKILL)

    def log_of(self, name: str) -> Path:
        """Return the file of what a command prints."""
        return self.folder / f"{name}.log"

    def log_size(self, name: str) -> int:
        """Return the size of what a command has printed, in bytes."""
        log = self.log_of(name)
        return log.stat().st_size if log.exists() else 0

    def printed(self, name: str, since: int = 0) -> str:
        """Return what a command has printed since a size of its log."""
        log = self.log_of(name)
        return log.read_bytes()[since:].decode(errors="replace") if log.exists() else ""

    def has_said(self, name: str, text: str) -> bool:
        """Whether a command has printed something since it was started last."""
        return text in self.printed(name, self._printed_before[name])

    def tail(self, name: str) -> str:
        """Return the last lines of what a command has printed."""
        return "\n".join(self.printed(name).splitlines()[-TAIL_LINES:])

    def _note(self, name: str, number: Signals) -> None:
        if number is SIGKILL:
            self._running[name].join(STOP_SECONDS)
            self.killed.add(name)
        if number is SIGSTOP:
            self.frozen.add(name)
        else:
            self.frozen.discard(name)
