"""A request for recommendations: for a user, or for a history that it brings."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from consumers.serve.query import RecommendationQuery
from consumers.serve.schemas import AnonymousAct
from consumers.serve.state.current import UserState
from pipeline.events import Attributes
from pipeline.state.acted_items import NO_ITEMS
from pipeline.state.histories import Act
from pipeline.state.profiles import stored_attributes


class UserRequest(NamedTuple):
    """A request for recommendations, and who makes it.

    Attributes:
        impression: id of the impression from which what the policy draws follows; None draws nothing.
        attributes: of somebody who brings a history; those of a user are known.
    """

    user: str | None
    session: str | None
    query: RecommendationQuery
    history: Sequence[AnonymousAct] | None = None
    impression: str | None = None
    attributes: Attributes | None = None

    def stranger(self, now: int) -> UserState:
        """Return what is known at a time, in ms, of somebody who is no user: what the request brings."""
        acts = _acts(self.history or (), now)
        return UserState(acts, NO_ITEMS, stored_attributes(self.attributes or {}))


def _acts(history: Sequence[AnonymousAct], now: int) -> tuple[Act, ...]:
    """Convert to acts of the log, in the order of their times, as a user's are.

    An act without a time gets that of the act before it, or of the first.
    """
    acts: list[Act] = []
    time = next((act.time for act in history if act.time is not None), now)
    for act in history:
        time = time if act.time is None else act.time
        acts.append(Act(act.item, act.type, time, act.value, act.session))
    return tuple(sorted(acts, key=attrgetter("time")))
