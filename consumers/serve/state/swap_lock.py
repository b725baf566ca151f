"""A lock for what requests read and a swap changes in place: many read at a time, or one changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class SwapLock:
    """Lets a swap wait for the requests that have begun, and new ones for the swap."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._readers = 0
        self._is_swapping = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read what a swap would change; a thread must not do so twice at a time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_swapping)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Change what requests read; for one thread."""
        with self._changed:
            self._is_swapping = True
            self._changed.wait_for(lambda: not self._readers)
        try:
            yield
        finally:
            with self._changed:
                self._is_swapping = False
                self._changed.notify_all()
