"""The rating that a user would give an item, as the snapshot and the user's own ratings predict it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from consumers.serve.state.serving_state import View
from pipeline.ratings.acts import ratings_in
from pipeline.ratings.model import RatedItems, predicted
from pipeline.state.histories import History


class Prediction(NamedTuple):
    """A rating, and from how many of the user's own ratings it follows."""

    rating: float
    known: int


def predict_rating(view: View, history: History, row: int) -> Prediction | None:
    """Predict a user's rating of the item in a row; None if no rating was learned."""
    model = view.with_model
    ratings = model.snapshot.ratings if model else None
    if model is None or ratings is None:
        return None
    known = [
        (of_item, value)
        for item, value in ratings_in(history)[-ratings.config.history :]
        if (of_item := view.index.row(item)) is not None
    ]
    rows = np.array([*(of_item for of_item, _ in known), row], dtype=np.int64)
    content = model.items.at(rows).text.double().numpy()
    items = RatedItems(content, ratings.effects_of(rows))
    values = np.array([value for _, value in known])
    return Prediction(predicted(ratings.head, items, values, ratings.config), len(known))
