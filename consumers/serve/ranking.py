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

from consumers.serve.explanation import Explanation, explain, explain_cosines, explain_popular
from consumers.serve.scoring import NOTHING_REJECTED, mixture, popular, shares
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.events import Scalar
from pipeline.model.item_table import Rows
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.rules.slate import Slate
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History

Source = Literal["model", "popular"]
Reason = Literal["no_snapshot", "unknown_user", "unknown_item"]
"""Why an answer has popular items: no snapshot yet; an unknown user, or a history of unknown or rejected
items only; an item with neither a text nor learned weights."""


@dataclass(frozen=True)
class RecommendationQuery:
    """Select at most `k` items: not excluded, and of the category if there is one.

    `context` is what the request says of itself to business rules, by name.
    """

    k: int
    exclude: frozenset[str] = frozenset()
    category: str | None = None
    exclude_seen: bool = False
    explain: bool = False
    context: tuple[tuple[str, str], ...] = ()


QueryKind = Literal["user", "history", "similar"]


def facts_of(query: RecommendationQuery, kind: QueryKind) -> dict[str, Scalar]:
    """Return what a request carries, for the conditions of business rules."""
    own: dict[str, Scalar] = {"query": kind, "k": query.k}
    return {**dict(query.context), **own, **({"category": query.category} if query.category else {})}


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
) -> Answer:
    """Return the items that a user is most likely to act on next; popular ones for an unknown user.

    Args:
        history: the user's acts, oldest first; acts on unknown items are ignored.
        session: the user's current session; None continues the last act's.
        context: number of the latest acts that the model reads.
        older: items of the acts before the history, which `exclude_seen` leaves out, too.
        shaping: what business rules do to the answer.
        now: ms since the epoch, at which the items must be on sale.
    """
    eligible = _eligible(view, query, now)
    if query.exclude_seen:
        eligible[view.index.rows_of(act.item for act in history)] = False
        if older.size:
            eligible &= ~np.isin(view.index.item_digests, older)
    known = [act for act in history if view.index.row(act.item) is not None]
    reading = view.signals.read(known)
    eligible = shaping.filtered(eligible)
    if view.snapshot is None or view.items is None:
        return _popular(view, eligible, query, "no_snapshot", shaping, reading.rejected())
    if not reading.acts:
        return _popular(view, eligible, query, "unknown_user", shaping, reading.rejected())
    share = partial(_shares, eligible, shaping)
    probabilities = share(mixture(view, view.snapshot, view.items, known, session, context))
    answer = _shaped(probabilities, probabilities, eligible, query.k, shaping, "model")
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
    eligible = _eligible(view, query, now)
    eligible[row] = False
    eligible = shaping.filtered(eligible)
    if view.snapshot is None or view.items is None:
        return _popular(view, eligible, query, "no_snapshot", shaping)
    cosines = _cosines(view.snapshot, view.items, row)
    if not cosines.any():
        return _popular(view, eligible, query, "unknown_item", shaping)
    by = shaping.shifted(cosines, per_nat=1 / view.snapshot.recommender.log_scale.detach().exp().item())
    answer = _shaped(cosines, by, eligible, query.k, shaping, "model")
    return replace(answer, explanations=explain_cosines(cosines, answer.rows)) if query.explain else answer


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
    query: RecommendationQuery,
    reason: Reason,
    shaping: Shaping,
    rejected: Mapping[str, float] = NOTHING_REJECTED,
) -> Answer:
    """Return popular items; those that the user rejected, with the strengths given, are lowered."""
    scores = popular(view, rejected)
    probabilities = _shares(eligible, shaping, scores)
    answer = _shaped(probabilities, probabilities, eligible, query.k, shaping, "popular", reason)
    if not query.explain:
        return answer
    return _explained(answer, explain_popular(view, scores, answer.rows), shaping)


def _shares(
    eligible: NDArray[np.bool_], shaping: Shaping, logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probabilities of the eligible items after boosts and buries."""
    return shares(shaping.shifted(logits), eligible)


def _shaped(
    scores: NDArray[np.float64],
    by: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    k: int,
    shaping: Shaping,
    source: Source,
    reason: Reason | None = None,
) -> Answer:
    """Answer with the k eligible rows that are highest `by` these values, but for pins and caps.

    Ties are in the order of rows.
    """
    rows = np.flatnonzero(eligible)
    slate = shaping.slate(rows[np.argsort(-by[rows], kind="stable")], eligible, k)
    return Answer(slate.rows, scores[slate.rows].tolist(), source, reason, slate=slate)


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
