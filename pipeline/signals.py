"""Stop requests to long-running commands: SIGTERM and SIGINT set an event."""

from __future__ import annotations

import signal
from threading import Event


def stop_requested() -> Event:
    """Return an event that SIGTERM and SIGINT set from now on. Call it in the main thread."""
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


class Stopped(Exception):
    """Work was interrupted by a stop request; it resumes at the same point next time."""


def check_goes_on(stop: Event) -> None:
    """Interrupt the work if a stop was requested.

    Raises:
        Stopped: `stop` is set.
    """
    if stop.is_set():
        raise Stopped
