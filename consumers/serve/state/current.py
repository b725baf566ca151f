"""What follower and requests share: the current View, the histories, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from consumers.serve.state.serving_state import View
from pipeline.state.histories import Histories, History


@dataclass(frozen=True)
class Refusal:
    """A snapshot that was not taken, and why."""

    version: str
    reason: str


class CurrentState:
    """One reference that is replaced as a whole; a request never sees half of anything."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._view: View | None = None
        self._histories = Histories(length=1)
        self.refusal: Refusal | None = None

    @property
    def view(self) -> View | None:
        """What is known; None while the log is still being read for the first time."""
        return self._view

    @property
    def users(self) -> int:
        """How many users have a history."""
        return len(self._histories)

    def of(self, user: str) -> tuple[View | None, History]:
        """What is known, and a user's acts as of the same offsets."""
        with self._lock:
            return self._view, self._histories.of(user)

    def show(self, view: View, histories: Histories, ahead: Mapping[str, History]) -> None:
        """Replace the view and move histories on; `histories` are from here on written to only here."""
        with self._lock:
            for user, history in ahead.items():
                histories.put(user, history)
            self._view, self._histories = view, histories
