"""Stop requests to long-running commands: SIGTERM and SIGINT set an event."""

from __future__ import annotations

import signal
from queue import SimpleQueue
from threading import Event, Thread


def stop_requested() -> Event:
    """Return an event that SIGTERM and SIGINT set from now on. Call it in the main thread.

    A handler runs in the main thread between any two of its steps, so also where it holds the event's lock:
    in `Event.wait`, or in the handler of the signal before. It may not wait for a lock, as `Event.set` does,
    and only hands the signal to a thread.
    """
    stopping, signals = Event(), SimpleQueue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    Thread(target=_set_at_first, args=(stopping, signals), name="signals", daemon=True).start()
    return stopping


def _set_at_first(stopping: Event, signals: SimpleQueue[int]) -> None:
    signals.get()
    stopping.set()


class Stopped(Exception):
    """Work was interrupted by a stop request; it resumes at the same point next time."""


def check_goes_on(stop: Event) -> None:
    """Interrupt the work if a stop was requested.

    Raises:
        Stopped: `stop` is set.
    """
    if stop.is_set():
        raise Stopped
