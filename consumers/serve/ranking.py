"""The engine: from one history and a View to the items to show; exactly the learner's mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.model.item_table import Rows
from pipeline.model.mixer import mix
from pipeline.model.scoring import score_segments, users_before_last
from pipeline.state.histories import Act, History
from pipeline.state.segments import Segment, segment_of

Source = Literal["model", "popular"]
Reason = Literal["no_snapshot", "unknown_user", "unknown_item"]
"""Why items are merely popular: no snapshot yet; a user, or a history of items, that nobody
knows; an item with neither a text nor anything learned."""


@dataclass(frozen=True)
class RecommendationQuery:
    """What is asked for: at most `k` items, of a category if given, without the excluded ones."""

    k: int
    exclude: frozenset[str] = frozenset()
    category: str | None = None
    exclude_seen: bool = False


@dataclass(frozen=True)
class Answer:
    """Items to show, best first.

    Attributes:
        rows: of the items on the View's shelf.
        scores: of each; of recommendations, its probability among all that was eligible.
        source: who chose them.
        reason: why not the model.
    """

    rows: list[int]
    scores: list[float]
    source: Source
    reason: Reason | None = None


def recommend(
    view: View, history: History, session: str | None, query: RecommendationQuery, context: int
) -> Answer:
    """Items that a user is most likely to act on next; popular ones where nothing is known.

    Args:
        history: the user's acts, oldest first; those on items that nobody knows are ignored.
        session: of the user now; None goes on with that of the last act.
        context: how many of the last acts the model reads.
    """
    eligible = _eligible(view, query)
    if query.exclude_seen:
        eligible[view.index.rows_of(act.item for act in history)] = False
    if view.base is None or view.items is None:
        return _popular(view, eligible, query.k, "no_snapshot")
    known = [act for act in history if view.index.row(act.item) is not None]
    if not known:
        return _popular(view, eligible, query.k, "unknown_user")
    scores = mixture(view, view.base, view.items, known, session, context)
    return Answer(*_best(_shares(scores, eligible), eligible, query.k), "model")


def similar(view: View, item: str, query: RecommendationQuery) -> Answer:
    """Items whose vectors have the smallest angle to an item's; the score is its cosine.

    Popular items where there is no snapshot, or nothing to compare: no text, nothing learned.

    Raises:
        KeyError: nobody knows the item.
    """
    row = view.index.row(item)
    if row is None:
        raise KeyError(item)
    eligible = _eligible(view, query)
    eligible[row] = False
    if view.base is None or view.items is None:
        return _popular(view, eligible, query.k, "no_snapshot")
    cosines = _cosines(view.base, view.items, row)
    if not cosines.any():
        return _popular(view, eligible, query.k, "unknown_item")
    return Answer(*_best(cosines, eligible, query.k), "model")


@torch.inference_mode()
def mixture(
    view: View, base: LoadedSnapshot, items: Rows, known: list[Act], session: str | None, context: int
) -> NDArray[np.float64]:
    """Log-probabilities ``[n]`` of the next act, by the learner's mixture.

    Args:
        known: acts on items of the shelf, at least one.
        session, context: see `recommend`.
    """
    segment = _expecting(view, known, session)
    user = users_before_last([segment], base.recommender, items, context)
    (given,) = score_segments([segment], user, base.recommender, items, view.covisitation, view.popularity)
    mixed: NDArray[np.float64] = mix(base.mixer, given)[0].double().numpy()
    return mixed


def _expecting(view: View, known: list[Act], session: str | None) -> Segment:
    """The acts and the next one."""

    def row(item: str) -> int:
        place = view.index.row(item)
        assert place is not None
        return place

    return segment_of([*known, known[-1].coming(session)], len(known), row)


@torch.inference_mode()
def _cosines(base: LoadedSnapshot, items: Rows, row: int) -> NDArray[np.float64]:
    vectors = normalize(base.recommender.item_vectors(items), dim=1)
    cosines: NDArray[np.float64] = (vectors @ vectors[row]).double().numpy()
    return cosines


def _eligible(view: View, query: RecommendationQuery) -> NDArray[np.bool_]:
    eligible = view.index.available.copy()
    if query.category is not None:
        eligible &= view.index.in_category(query.category)
    eligible[view.index.rows_of(query.exclude)] = False
    return eligible


def _popular(view: View, eligible: NDArray[np.bool_], k: int, reason: Reason) -> Answer:
    shares = _shares(view.popularity.log_share().astype(np.float64), eligible)
    return Answer(*_best(shares, eligible, k), "popular", reason)


def _shares(log_probabilities: NDArray[np.float64], eligible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Probabilities among the eligible items, zero for the others."""
    if not eligible.any():
        return np.zeros_like(log_probabilities)
    masked = np.where(eligible, log_probabilities, -np.inf)
    weights = np.exp(masked - masked.max())
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _best(scores: NDArray[np.float64], eligible: NDArray[np.bool_], k: int) -> tuple[list[int], list[float]]:
    """The k eligible rows with the highest scores; equal ones in the order of rows."""
    rows = np.flatnonzero(eligible)
    best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
    return best.tolist(), scores[best].tolist()
