"""The query of one user: acts, what is asked for, and what business rules and policies do to the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.serve.query import RecommendationQuery
from consumers.serve.state.shown import NOTHING_SHOWN, ShownLately
from pipeline.policy.draws import NO_EXPLORATION, Exploration
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History
from pipeline.state.profiles import NO_ATTRIBUTES


@dataclass(frozen=True)
class UserQuery:
    """What one answer is to be found for.

    Attributes:
        history: the user's acts, oldest first; acts on unknown items are ignored.
        session: the user's current session; None continues the last act's.
        query: what is asked for.
        older: items of the acts before the history, which count for what is left out, too.
        shaping: what business rules do to the answer.
        shown: digests of items that were shown just now, and are not to be shown again.
        user: whose own items are left out, if the query names the attribute of owners.
        exploration: what makes the slate; it draws nothing unless the answer is recorded.
        lately: what the user was shown lately.
        attributes: of the user, as they are stored.
    """

    history: History
    session: str | None
    query: RecommendationQuery
    older: OlderItems = field(default_factory=lambda: NO_ITEMS)
    shaping: Shaping = NO_SHAPING
    shown: NDArray[np.int64] = field(default_factory=lambda: NO_ITEMS)
    user: str | None = None
    exploration: Exploration = NO_EXPLORATION
    lately: ShownLately = NOTHING_SHOWN
    attributes: bytes = NO_ATTRIBUTES
