"""What the console changes it changes by the commands, each in a process of its own.

So there is one way to do a thing, with its checks and messages, and the console never loads torch. Who asked
for what is in the log before it is tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.control.actions import ActionName, OperatorAction
from pipeline.control.records import ControlRecord, Refusal
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics

MOST_SECONDS = 300.0


class CommandResult(NamedTuple):
    """How a command ended: its exit status, and what it printed."""

    status: int
    text: str

    @property
    def is_done(self) -> bool:
        """Whether it did what it was asked."""
        return self.status == 0


Run = Callable[[Sequence[str]], CommandResult]
"""Runs `millstream` with arguments."""


def run_command(arguments: Sequence[str]) -> CommandResult:
    """Run `millstream` with arguments, with this process's settings, and wait until it ends."""
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "160", "MILLSTREAM_LOGGING__FORMAT": "text"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            env={**os.environ, **plain},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return CommandResult(1, f"it took more than {MOST_SECONDS:.0f} s and was stopped")
    return CommandResult(done.returncode, done.stdout.strip() or last_line(done.stderr))


def last_line(errors: str) -> str:
    """Return the last line that a command wrote to stderr: it names the error; those before are its log."""
    lines = [line.strip(" │") for line in errors.splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")


class Actions:
    """Carries out what operators ask for, after writing down who asked."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        run: Run = run_command,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._topics, self._run, self._clock = event_log, topics, run, clock

    def look(self, *arguments: str) -> CommandResult:
        """Run a command that changes nothing."""
        return self._run(list(arguments))

    def act(
        self, by: str, action: ActionName, subject: str, reason: str, arguments: Sequence[str]
    ) -> CommandResult:
        """Record who asks for an action, run its command, and record if it is refused.

        Raises:
            LogUnavailable, DeliveryError: the log does not take the record; nothing was done then.
        """
        asked = OperatorAction(
            by=by, action=action, subject=subject, reason=reason, asked_at=int(self._clock() * 1000)
        )
        self._append(asked)
        result = self._run(arguments)
        if not result.is_done:
            self._append(Refusal(order=asked.key, reason=result.text or f"exit status {result.status}"))
        return result

    def _append(self, record: ControlRecord) -> None:
        with self._log.writer() as writer:
            writer.append(self._topics.control, record.key, record.encode())
            writer.flush()
