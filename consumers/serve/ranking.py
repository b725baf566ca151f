"""Ranking: select the eligible items that score highest, and explain them if asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from consumers.serve.diversity import diversified, pool_size
from consumers.serve.eligibility import Eligibility, eligibility_of
from consumers.serve.explanation import Explanation, explain, explain_cosines, explain_popular
from consumers.serve.query import RecommendationQuery
from consumers.serve.scoring import NOTHING_REJECTED, mixture, popular, shares
from consumers.serve.state.item_rows import ItemRows
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.model.item_table import Rows
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.rules.slate import Cap, Slate
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History

Source = Literal["model", "popular"]
Reason = Literal["no_snapshot", "unknown_user", "unknown_item", "nothing_eligible"]
"""Why an answer has popular items: no snapshot yet; an unknown user, or a history of unknown or rejected
items only; an item with neither a text nor learned weights. Or why it has none: all are left out."""


@dataclass(frozen=True)
class Answer:
    """Items to show, best first.

    Attributes:
        rows: rows of the items in the View's index.
        scores: of each item; a recommendation's is its probability among all eligible items.
        source: what ranked the items.
        reason: why the model did not.
        explanations: of each item, if the query asked for them.
        slate: the rows, and what rules placed or held back.
    """

    rows: list[int]
    scores: list[float]
    source: Source
    reason: Reason | None = None
    explanations: list[Explanation] | None = None
    slate: Slate = Slate([])


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
    shown: NDArray[np.int64] = NO_ITEMS,
    user: str | None = None,
) -> Answer:
    """Return the items that a user is most likely to act on next; popular ones for an unknown user.

    Args:
        history: the user's acts, oldest first; acts on unknown items are ignored.
        session: the user's current session; None continues the last act's.
        context: number of the latest acts that the model reads.
        older: items of the acts before the history, which count for what is left out, too.
        shaping: what business rules do to the answer.
        now: ms since the epoch, at which the items must be on sale.
        shown: digests of items that were shown just now, and are not to be shown again.
        user: whose own items are left out, if the query names the attribute of owners.
    """
    known = [act for act in history if view.index.row(act.item) is not None]
    reading = view.signals.read(known)
    eligibility = eligibility_of(view.index, query, now, shaping, history, older, shown, user)
    rows = _eligible(view, eligibility)
    if view.snapshot is None or view.items is None:
        return _popular(view, rows, query, "no_snapshot", shaping, reading.rejected())
    if not reading.acts:
        return _popular(view, rows, query, "unknown_user", shaping, reading.rejected())
    share = partial(_shares, rows, shaping)
    logits = mixture(view, view.snapshot, view.items, known, session, context)
    answer = _answer(view, query, rows, shaping.shifted(logits[rows], rows), share(logits), shaping)
    if not query.explain:
        return answer
    found = explain(view, view.snapshot, view.items, known, session, context, share, answer.rows)
    return _explained(answer, found, shaping)


def similar(
    view: View, item: str, query: RecommendationQuery, shaping: Shaping = NO_SHAPING, *, now: int
) -> Answer:
    """Return the items whose vectors have the smallest angle to an item's; the score is its cosine.

    They must be on sale at `now`, in ms since the epoch. Boosts and buries move items as in the model's
    logits, where a cosine counts by its learned scale; the score stays the cosine. Returns popular items if
    there is no snapshot, or if the item has no text and no learned weights.

    Raises:
        KeyError: the item is unknown.
    """
    row = view.index.row(item)
    if row is None:
        raise KeyError(item)
    excluded = np.append(view.index.rows_of(query.exclude), row)
    rows = _eligible(view, Eligibility(view.index, query, now, shaping, excluded))
    if view.snapshot is None or view.items is None:
        return _popular(view, rows, query, "no_snapshot", shaping)
    cosines = _cosines(view.snapshot, view.items, row)
    if not cosines.any():
        return _popular(view, rows, query, "unknown_item", shaping)
    per_nat = 1 / view.snapshot.recommender.log_scale.detach().exp().item()
    by = shaping.shifted(cosines[rows], rows, per_nat)
    answer = _answer(view, query, rows, by, cosines, shaping)
    return replace(answer, explanations=explain_cosines(cosines, answer.rows)) if query.explain else answer


def _cosines(snapshot: LoadedSnapshot, items: ItemRows, row: int) -> NDArray[np.float64]:
    vectors = _directions(snapshot, items, np.arange(items.size))
    cosines: NDArray[np.float64] = (vectors @ vectors[row]).astype(np.float64)
    return cosines


@torch.inference_mode()
def _directions(snapshot: LoadedSnapshot, items: ItemRows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the items' vectors ``[m, d]``, of length 1; those of items without any are zero."""
    chosen = Rows(*(column[torch.from_numpy(rows)] for column in items.sparse))
    vectors: NDArray[np.float32] = normalize(snapshot.recommender.item_vectors(chosen), dim=1).numpy()
    return vectors


def _eligible(view: View, eligibility: Eligibility) -> NDArray[np.int64]:
    """Return the rows, ascending, that may be shown."""
    selected = eligibility.selected()
    rows = np.arange(len(view.index)) if selected is None else selected
    eligible: NDArray[np.int64] = rows[eligibility.among(rows)]
    return eligible


def _popular(
    view: View,
    rows: NDArray[np.int64],
    query: RecommendationQuery,
    reason: Reason,
    shaping: Shaping,
    rejected: Mapping[str, float] = NOTHING_REJECTED,
) -> Answer:
    """Return popular items; those that the user rejected, with the strengths given, are lowered."""
    scores = popular(view, rejected)
    by = shaping.shifted(scores[rows], rows)
    answer = _answer(view, query, rows, by, _shares(rows, shaping, scores), shaping, "popular", reason)
    if not query.explain:
        return answer
    return _explained(answer, explain_popular(view, scores, answer.rows), shaping)


def _answer(
    view: View,
    query: RecommendationQuery,
    rows: NDArray[np.int64],
    relevance: NDArray[np.float64],
    scores: NDArray[np.float64],
    shaping: Shaping,
    source: Source = "model",
    reason: Reason | None = None,
) -> Answer:
    """Show the best of the eligible rows ``[m]`` by their relevance ``[m]``, with the scores ``[n]``."""
    slate = _slate(view, query, relevance, rows, shaping)
    found: Reason | None = reason if slate.rows else "nothing_eligible"
    return Answer(slate.rows, scores[slate.rows].tolist(), source, found, slate=slate)


def _slate(
    view: View,
    query: RecommendationQuery,
    relevance: NDArray[np.float64],
    rows: NDArray[np.int64],
    shaping: Shaping,
) -> Slate:
    """Choose the k of the rows ``[m]`` to show: best first but for diversity, pins and caps; ties by row."""
    if query.most_per_category is not None:
        cap = Cap(None, query.most_per_category, view.index.columns.of(None))
        shaping = replace(shaping, caps=(*shaping.caps, cap))
    pool = pool_size(query.k) if query.diversity else query.k
    order = best_first(relevance, rows.size if shaping.pins or shaping.caps else pool)
    if query.diversity and view.snapshot is not None and view.items is not None:
        near = order[:pool]
        vectors = _directions(view.snapshot, view.items, rows[near])
        order = np.concatenate([near[diversified(relevance[near], vectors, query.diversity)], order[pool:]])
    return shaping.slate(rows[order], query.k)


def best_first(scores: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the positions of at least `most` of the scores ``[m]``, if there are so many, the highest first.

    Equal scores are in the order of their positions.
    """
    positions = np.arange(scores.size)
    if most < scores.size:
        positions = np.flatnonzero(scores >= np.partition(scores, scores.size - most)[scores.size - most])
    return positions[np.argsort(-scores[positions], kind="stable")]


def _shares(rows: NDArray[np.int64], shaping: Shaping, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities ``[n]`` of the eligible rows after boosts and buries; the others get zero."""
    probabilities = np.zeros_like(logits)
    probabilities[rows] = shares(shaping.shifted(logits[rows], rows))
    return probabilities


def _explained(answer: Answer, found: Sequence[Explanation], shaping: Shaping) -> Answer:
    """Add what rules gave an item to its logit."""
    with_rules = [
        explanation._replace(
            logit=explanation.logit + nats,
            parts={**explanation.parts, "rules": nats} if nats else explanation.parts,
        )
        for explanation, nats in zip(found, map(shaping.nats, answer.rows), strict=True)
    ]
    return replace(answer, explanations=with_rules)
