"""What a View answers to one history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer, recommend_all
from consumers.serve.scoring import HistoryQuery, score
from consumers.serve.state.serving_state import View
from consumers.serve.user_query import UserQuery
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import Act, History


def recommend(
    view: View,
    history: History,
    session: str | None,
    query: RecommendationQuery,
    context: int,
    older: OlderItems = NO_ITEMS,
    shaping: Shaping = NO_SHAPING,
    *,
    now: int,
) -> Answer:
    """The items that one user is most likely to act on next; see `recommend_all`."""
    (answer,) = recommend_all(view, [UserQuery(history, session, query, older, shaping)], context, now)
    return answer


def mixture(view: View, known: Sequence[Act], session: str | None, context: int) -> NDArray[np.float64]:
    """The log-probabilities ``[n]`` of the next act over a catalogue that is scored whole."""
    model = view.with_model
    assert model is not None
    (scored,) = score(model, [HistoryQuery(known, session)], context)
    return scored.logits
