"""State shared by the follower and requests: the current View, the histories, and the last refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from consumers.serve.state.serving_state import View
from pipeline.state.histories import Histories, History


@dataclass(frozen=True)
class Refusal:
    """A snapshot that was refused, and the reason."""

    version: str
    reason: str


class CurrentState:
    """One View, replaced as a whole, so that no request sees a half-updated state."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._view: View | None = None
        self._histories = Histories(length=1)
        self.refusal: Refusal | None = None

    @property
    def view(self) -> View | None:
        """The current View; None until the log was read to its end once."""
        return self._view

    @property
    def users(self) -> int:
        """Number of users with a history."""
        return len(self._histories)

    def for_user(self, user: str) -> tuple[View | None, History]:
        """Return the current View, and a user's acts as of the same offsets."""
        with self._lock:
            return self._view, self._histories.of(user)

    def replace(self, view: View, histories: Histories, updated: Mapping[str, History]) -> None:
        """Replace the View and update histories by user; from here on only this method writes them."""
        with self._lock:
            for user, history in updated.items():
                histories.put(user, history)
            self._view, self._histories = view, histories
