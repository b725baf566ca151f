"""Stop requests: a signal sets the event, and a storm of signals locks nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.documents import ROOT

HANGS_SECONDS = 30
STORM = """
import os, subprocess, sys
from pipeline.signals import stop_requested

SEND = "import os, signal\\nfor _ in range(20_000): os.kill({}, signal.SIGTERM)"
stop = stop_requested()
sender = subprocess.Popen([sys.executable, "-c", SEND.format(os.getpid())])
while sender.poll() is None:
    stop.wait(0.001)
print(stop.wait(10))
"""
ONE = """
import signal
from pipeline.signals import stop_requested

stop = stop_requested()
assert not stop.is_set()
signal.raise_signal(signal.{name})
print(stop.wait(10))
"""


def _printed(program: str) -> str:
    """What a program prints; it is killed where it hangs."""
    command = [sys.executable, "-c", program]
    return subprocess.check_output(command, cwd=ROOT, text=True, timeout=HANGS_SECONDS).strip()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_sets_the_event(name: str) -> None:
    assert _printed(ONE.format(name=name)) == "True"


def test_signals_on_the_heels_of_others_lock_nothing() -> None:
    """A group's signal and a parent's reach a daemon together: it must stop all the same."""
    assert _printed(STORM) == "True"
