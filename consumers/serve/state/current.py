"""State shared by the follower and requests: the current View, the histories, and the last refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from consumers.serve.state.followed import FollowedEvents
from consumers.serve.state.serving_state import View
from consumers.serve.state.steering import Steering, UserAttributes
from consumers.serve.state.swap_lock import SwapLock
from pipeline.state.acted_items import OlderItems
from pipeline.state.histories import Histories, History

NOTHING_OLDER: Mapping[str, OlderItems] = {}


@dataclass(frozen=True)
class Refusal:
    """A snapshot that was refused, and the reason."""

    version: str
    reason: str


@dataclass(frozen=True)
class Degradation:
    """Answers come from memory: the log does not answer, or is not the one that was learned from.

    Attributes:
        since: wall clock in seconds.
        reason: names the fault and the remedy.
    """

    since: float
    reason: str


class UserState(NamedTuple):
    """A user's acts, the items of those that have left the history, and attributes as they are stored."""

    history: History
    older: OlderItems
    attributes: bytes


class CurrentState:
    """One View, replaced as a whole, so that no request sees a half-updated state.

    Attributes:
        lock: held to read what a View refers to, and to change that in place.
        refusal: the last snapshot that was refused, until another one is served.
        degradation: set while nothing newer can be read; None while the log is followed.
        followed: events that are traced, and whose users have not asked since.
    """

    def __init__(self) -> None:
        self.lock = SwapLock()
        self._lock = Lock()
        self._view: View | None = None
        self._histories = Histories(length=1)
        self._attributes = UserAttributes()
        self.refusal: Refusal | None = None
        self.degradation: Degradation | None = None
        self.followed = FollowedEvents()

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

    def for_users(self, users: Sequence[str]) -> tuple[View | None, list[UserState]]:
        """Return the current View, and what is known of users as of the same offsets."""
        with self._lock:
            return self._view, [
                UserState(
                    self._histories.of(user), self._histories.older(user), self._attributes.stored(user)
                )
                for user in users
            ]

    def older(self, user: str) -> OlderItems:
        """Return the items of the acts that have left a user's history."""
        with self._lock:
            return self._histories.older(user)

    def attributes(self, user: str) -> bytes:
        """Return a user's attributes as they are stored."""
        with self._lock:
            return self._attributes.stored(user)

    def with_view(self, view: View) -> CurrentState:
        """Return a state with another View over the same users, for comparison; it is not kept up to date."""
        other = CurrentState()
        other.lock = self.lock
        with self._lock:
            other._view, other._histories, other._attributes = view, self._histories, self._attributes
        return other

    def replace(
        self,
        view: View,
        histories: Histories,
        updated: Mapping[str, History],
        older: Mapping[str, OlderItems] = NOTHING_OLDER,
        steering: Steering | None = None,
    ) -> None:
        """Replace the View, update histories by user, and apply what `steering` read of users.

        From here on only this method writes them.
        """
        with self._lock:
            for user, history in updated.items():
                histories.put(user, history, older.get(user))
            if steering is not None:
                steering.apply()
                self._attributes = steering.users
            self._view, self._histories = view, histories
