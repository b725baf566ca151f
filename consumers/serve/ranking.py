"""Ranking: score a history against a View with exactly the learner's mixture, and select items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.model.item_table import Rows
from pipeline.model.mixer import REJECTED_WEIGHT, mix
from pipeline.model.scoring import score_segments, users_before_last
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.evidence import rejection
from pipeline.state.histories import Act, History
from pipeline.state.segments import Segment, segment_of

Source = Literal["model", "popular"]
Reason = Literal["no_snapshot", "unknown_user", "unknown_item"]
"""Why an answer has popular items: no snapshot yet; an unknown user, or a history of unknown or rejected
items only; an item with neither a text nor learned weights."""


@dataclass(frozen=True)
class RecommendationQuery:
    """Select at most `k` items: not excluded, and of the category if there is one."""

    k: int
    exclude: frozenset[str] = frozenset()
    category: str | None = None
    exclude_seen: bool = False


@dataclass(frozen=True)
class Answer:
    """Items to show, best first.

    Attributes:
        rows: rows of the items in the View's index.
        scores: of each item; a recommendation's is its probability among all eligible items.
        source: what ranked the items.
        reason: why the model did not.
    """

    rows: list[int]
    scores: list[float]
    source: Source
    reason: Reason | None = None


def recommend(
    view: View,
    history: History,
    session: str | None,
    query: RecommendationQuery,
    context: int,
    older: OlderItems = NO_ITEMS,
    *,
    now: int,
) -> Answer:
    """Return the items that a user is most likely to act on next; popular ones for an unknown user.

    Args:
        history: the user's acts, oldest first; acts on unknown items are ignored.
        session: the user's current session; None continues the last act's.
        context: number of the latest acts that the model reads.
        older: items of the acts before the history, which `exclude_seen` leaves out, too.
        now: ms since the epoch, at which the items must be on sale.
    """
    eligible = _eligible(view, query, now)
    if query.exclude_seen:
        eligible[view.index.rows_of(act.item for act in history)] = False
        if older.size:
            eligible &= ~np.isin(view.index.item_digests, older)
    known = [act for act in history if view.index.row(act.item) is not None]
    reading = view.signals.read(known)
    if view.snapshot is None or view.items is None:
        return _popular(view, eligible, query.k, "no_snapshot", reading.rejected())
    if not reading.acts:
        return _popular(view, eligible, query.k, "unknown_user", reading.rejected())
    scores = mixture(view, view.snapshot, view.items, known, session, context)
    return Answer(*_best(_shares(scores, eligible), eligible, query.k), "model")


def similar(view: View, item: str, query: RecommendationQuery, *, now: int) -> Answer:
    """Return the items whose vectors have the smallest angle to an item's; the score is its cosine.

    They must be on sale at `now`, in ms since the epoch. Returns popular items if there is no snapshot, or
    if the item has no text and no learned weights.

    Raises:
        KeyError: the item is unknown.
    """
    row = view.index.row(item)
    if row is None:
        raise KeyError(item)
    eligible = _eligible(view, query, now)
    eligible[row] = False
    if view.snapshot is None or view.items is None:
        return _popular(view, eligible, query.k, "no_snapshot")
    cosines = _cosines(view.snapshot, view.items, row)
    if not cosines.any():
        return _popular(view, eligible, query.k, "unknown_item")
    return Answer(*_best(cosines, eligible, query.k), "model")


@torch.inference_mode()
def mixture(
    view: View, snapshot: LoadedSnapshot, items: Rows, known: list[Act], session: str | None, context: int
) -> NDArray[np.float64]:
    """Return the log-probabilities ``[n]`` of the next act under the learner's mixture.

    Args:
        known: acts on items of the index, at least one of them of positive weight.
        session, context: see `recommend`.
    """
    segment, model = _segment_with_next(view, known, session), snapshot.recommender
    user = users_before_last([segment], model, items, context)
    (outputs,) = score_segments([segment], user, model, items, view.covisitation, view.popularity)
    mixed: NDArray[np.float64] = mix(snapshot.mixer, outputs)[0].double().numpy()
    return mixed


def _segment_with_next(view: View, known: list[Act], session: str | None) -> Segment:
    """Return the acts as a Segment whose last act is the one to predict."""

    def row(item: str) -> int:
        found = view.index.row(item)
        assert found is not None
        return found

    reading = view.signals.read(known)
    coming = reading.acts[-1].coming(session)
    return segment_of(reading, len(reading.acts), view.signals, row, coming)


@torch.inference_mode()
def _cosines(snapshot: LoadedSnapshot, items: Rows, row: int) -> NDArray[np.float64]:
    vectors = normalize(snapshot.recommender.item_vectors(items), dim=1)
    cosines: NDArray[np.float64] = (vectors @ vectors[row]).double().numpy()
    return cosines


def _eligible(view: View, query: RecommendationQuery, now: int) -> NDArray[np.bool_]:
    eligible = view.index.available_at(now)
    if query.category is not None:
        eligible &= view.index.in_category(query.category)
    eligible[view.index.rows_of(query.exclude)] = False
    return eligible


def _popular(
    view: View,
    eligible: NDArray[np.bool_],
    k: int,
    reason: Reason,
    rejected: Mapping[str, float] = MappingProxyType({}),
) -> Answer:
    """Return popular items; those that the user rejected, with the strengths given, are lowered."""
    scores = view.popularity.log_share().astype(np.float64)
    for item, strength in rejected.items():
        row = view.index.row(item)
        if row is not None:
            scores[row] += REJECTED_WEIGHT * rejection(np.array(strength))
    shares = _shares(scores, eligible)
    return Answer(*_best(shares, eligible, k), "popular", reason)


def _shares(log_probabilities: NDArray[np.float64], eligible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Normalise to probabilities among the eligible items; the others get zero."""
    if not eligible.any():
        return np.zeros_like(log_probabilities)
    masked = np.where(eligible, log_probabilities, -np.inf)
    weights = np.exp(masked - masked.max())
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _best(scores: NDArray[np.float64], eligible: NDArray[np.bool_], k: int) -> tuple[list[int], list[float]]:
    """Return the k eligible rows with the highest scores; ties in the order of rows."""
    rows = np.flatnonzero(eligible)
    best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
    return best.tolist(), scores[best].tolist()
