"""An earlier snapshot is asked beside the one that is served: one server at a time, while it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import IO

import pytest

from consumers.console.earlier import BUSY_SECONDS, START_SECONDS, EarlierServer, EarlierUnavailable
from pipeline.config import ConsoleConfig, Settings
from tests.support.serve_tools import wait_until

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"items": []}')

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""Answers everything, in the place of a server of millstream."""
REFUSES = (
    "import sys; print('it begins', file=sys.stderr); sys.exit('SnapshotMissing: 1-9 is not in the store')"
)


class Started:
    """What was started, and with which arguments; a program stands for `millstream`."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.commands: list[list[str]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, arguments: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        self.commands.append(list(arguments))
        command = [sys.executable, "-c", self.program, arguments[-1]]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors))
        return self.processes[-1]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def earlier_server(
    program: str = SERVER, seconds: float = 300
) -> Iterator[tuple[EarlierServer, Started, Clock, Callable[[], None]]]:
    """A keeper of servers that watches them in a thread."""
    started, clock, stop = Started(program), Clock(), Event()
    settings = Settings(console=ConsoleConfig(earlier_seconds=seconds))
    earlier = EarlierServer(settings, started, clock)
    thread = Thread(target=earlier.run, args=(stop,))
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    try:
        yield earlier, started, clock, end
    finally:
        end()


def test_it_is_started_once_and_answers_when_it_is_ready() -> None:
    with earlier_server() as (earlier, started, _, end):
        assert earlier.answers("1-3") is None, "it starts"
        wait_until(lambda: earlier.answers("1-3") is not None)
        answers = earlier.answers("1-3")
        assert answers is not None and answers.for_user("ann") == {"items": []}
        (command,) = started.commands
        assert command[:3] == ["serve", "--at", "1-3"]
        end()
        assert started.processes[0].poll() is not None, "it ends with the console"


def test_one_version_is_asked_at_a_time() -> None:
    with earlier_server() as (earlier, started, clock, _):
        earlier.answers("1-3")
        with pytest.raises(EarlierUnavailable, match=r"snapshot 1-3 is being asked.*again in 60 s"):
            earlier.answers("1-4")
        clock.now += BUSY_SECONDS
        earlier.answers("1-4")
        assert [command[2] for command in started.commands] == ["1-3", "1-4"]
        assert started.processes[0].poll() is not None, "the other one gave way"


def test_it_ends_when_nobody_asks() -> None:
    with earlier_server(seconds=100) as (earlier, started, clock, _):
        earlier.answers("1-3")
        clock.now += 101
        wait_until(lambda: started.processes[0].poll() is not None)


def test_why_it_ended_is_said_and_the_next_question_starts_another() -> None:
    with earlier_server(REFUSES) as (earlier, started, _, _end):
        earlier.answers("1-9")
        started.processes[0].wait()
        with pytest.raises(EarlierUnavailable, match="SnapshotMissing: 1-9 is not in the store"):
            earlier.answers("1-9")
        assert earlier.answers("1-9") is None
        assert len(started.processes) == 2


def test_one_that_never_answers_is_given_up() -> None:
    with earlier_server("import time; time.sleep(600)") as (earlier, started, clock, _):
        earlier.answers("1-3")
        clock.now += START_SECONDS + 1
        with pytest.raises(EarlierUnavailable, match="was not ready"):
            earlier.answers("1-3")
        assert started.processes[0].poll() is not None


def test_the_settings_may_forbid_it() -> None:
    with earlier_server(seconds=0) as (earlier, started, _, _end):
        assert not earlier.is_on
        with pytest.raises(EarlierUnavailable, match="earlier_seconds = 0"):
            earlier.answers("1-3")
        assert not started.commands
