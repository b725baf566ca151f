"""How a long-running command is asked to stop."""

from __future__ import annotations

import signal
from threading import Event


def stop_requested() -> Event:
    """An event that SIGTERM and SIGINT set from now on; to be called in the main thread."""
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


class Stopped(Exception):
    """Work was left unfinished because somebody asked to stop; it goes on from there next time."""


def check_goes_on(stop: Event) -> None:
    """Leave unfinished work once somebody asked to stop.

    Raises:
        Stopped: `stop` is set.
    """
    if stop.is_set():
        raise Stopped
