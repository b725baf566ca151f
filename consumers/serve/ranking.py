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
from consumers.serve.explanation import Explanation, explain, explain_cosines, explain_popular
from consumers.serve.query import RecommendationQuery
from consumers.serve.scoring import NOTHING_REJECTED, mixture, popular, shares
from consumers.serve.state.item_index import NO_CATEGORY, ItemIndex
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.events import InteractionType
from pipeline.model.item_table import Rows
from pipeline.rules.columns import Column
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.rules.conditions import key_of
from pipeline.rules.slate import Cap, Slate
from pipeline.state.acted_items import NO_ITEMS, OlderItems, digests_of
from pipeline.state.histories import History, disliked

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
    eligible = _eligible(view, query, now) & _wanted(view, query, history, older, now)
    if query.owner_attribute is not None and user is not None:
        eligible &= ~view.index.columns.of(query.owner_attribute).having([key_of(user)])
    if shown.size:
        eligible &= ~np.isin(view.index.item_digests, shown)
    known = [act for act in history if view.index.row(act.item) is not None]
    reading = view.signals.read(known)
    eligible = shaping.filtered(eligible)
    if view.snapshot is None or view.items is None:
        return _popular(view, eligible, query, "no_snapshot", shaping, reading.rejected())
    if not reading.acts:
        return _popular(view, eligible, query, "unknown_user", shaping, reading.rejected())
    share = partial(_shares, eligible, shaping)
    logits = shaping.shifted(mixture(view, view.snapshot, view.items, known, session, context))
    answer = _answer(shares(logits, eligible), _slate(view, query, logits, eligible, shaping), "model")
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
    answer = _answer(cosines, _slate(view, query, by, eligible, shaping), "model")
    return replace(answer, explanations=explain_cosines(cosines, answer.rows)) if query.explain else answer


def _cosines(snapshot: LoadedSnapshot, items: Rows, row: int) -> NDArray[np.float64]:
    vectors = _directions(snapshot, items, np.arange(len(items.bias)))
    cosines: NDArray[np.float64] = (vectors @ vectors[row]).astype(np.float64)
    return cosines


@torch.inference_mode()
def _directions(snapshot: LoadedSnapshot, items: Rows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the items' vectors ``[m, d]``, of length 1; those of items without any are zero."""
    chosen = Rows(*(column[torch.from_numpy(rows)] for column in items))
    vectors: NDArray[np.float32] = normalize(snapshot.recommender.item_vectors(chosen), dim=1).numpy()
    return vectors


def _eligible(view: View, query: RecommendationQuery, now: int) -> NDArray[np.bool_]:
    eligible = view.index.available_at(now)
    if query.category is not None:
        eligible &= view.index.in_category(query.category)
    eligible[view.index.rows_of(query.exclude)] = False
    return eligible if query.only is None else eligible & view.index.mask_of(query.only)


def _wanted(
    view: View, query: RecommendationQuery, history: History, older: OlderItems, now: int
) -> NDArray[np.bool_]:
    """``[n]`` mask of the items that the user's own acts do not exclude.

    The time of a dislike that left the history is not known: it lasts as long as dislikes hide anything.
    """
    items = {act.item for act in history if act.type in query.exclude_seen}
    types = set(query.exclude_seen)
    if query.hide_disliked_ms:
        items |= disliked(history, now - query.hide_disliked_ms)
        types.add(InteractionType.DISLIKE)
    wanted = np.ones(len(view.index), dtype=np.bool_)
    wanted[view.index.rows_of(items)] = False
    if older.size and types:
        wanted &= ~np.isin(view.index.item_digests, digests_of(older, types))
    return wanted


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
    answer = _answer(
        _shares(eligible, shaping, scores),
        _slate(view, query, shaping.shifted(scores), eligible, shaping),
        "popular",
        reason,
    )
    if not query.explain:
        return answer
    return _explained(answer, explain_popular(view, scores, answer.rows), shaping)


def _slate(
    view: View,
    query: RecommendationQuery,
    relevance: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    shaping: Shaping,
) -> Slate:
    """Choose the k eligible rows to show: best first but for diversity, pins and caps; ties by row."""
    rows = np.flatnonzero(eligible)
    rows = rows[np.argsort(-relevance[rows], kind="stable")]
    if query.diversity and view.snapshot is not None and view.items is not None:
        size = pool_size(query.k)
        vectors = _directions(view.snapshot, view.items, rows[:size])
        order = diversified(relevance[rows[:size]], vectors, query.diversity)
        rows = np.concatenate([rows[:size][order], rows[size:]])
    if query.most_per_category is not None:
        shaping = replace(shaping, caps=(*shaping.caps, _category_cap(view.index, query.most_per_category)))
    return shaping.slate(rows, eligible, query.k)


def _category_cap(index: ItemIndex, most: int) -> Cap:
    rows = np.flatnonzero(index.categories != NO_CATEGORY)
    column = Column(len(index), rows, index.categories[rows], np.full(rows.size, np.nan), {})
    return Cap(None, most, column, np.ones(len(index), dtype=np.bool_))


def _answer(
    scores: NDArray[np.float64], slate: Slate, source: Source, reason: Reason | None = None
) -> Answer:
    found: Reason | None = reason if slate.rows else "nothing_eligible"
    return Answer(slate.rows, scores[slate.rows].tolist(), source, found, slate=slate)


def _shares(
    eligible: NDArray[np.bool_], shaping: Shaping, logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probabilities of the eligible items after boosts and buries."""
    return shares(shaping.shifted(logits), eligible)


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
