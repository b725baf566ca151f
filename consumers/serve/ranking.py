"""Ranking: select the eligible items that score highest, and explain them if asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.diversity import diversified, pool_size
from consumers.serve.eligibility import Eligibility, eligibility_of
from consumers.serve.explanation import Explanation, explain, explain_cosines, explain_popular
from consumers.serve.features import AnswerFeatures, values_of
from consumers.serve.query import RecommendationQuery
from consumers.serve.scoring import NOTHING_REJECTED, Basis, HistoryQuery, ItemScores, popular, score, shares
from consumers.serve.state.scans import Pool, Scans
from consumers.serve.state.serving_state import ModelView, View
from consumers.serve.user_query import UserQuery
from pipeline.model.scoring import TARGETS_AT_ONCE
from pipeline.policy.draws import NO_EXPLORATION, Exploration, no_values
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.rules.slate import Cap, Slate
from pipeline.state.acted_items import NO_ITEMS
from pipeline.state.growing import distinct
from pipeline.state.histories import Act
from pipeline.state.profiles import declared
from pipeline.state.signals import Reading

Source = Literal["model", "popular"]
OTHERS_AMONG = 100
"""Of so many of the best items some are named that were not shown, or of the pool if that is larger."""
MOST_NEAR = 1_000
"""Candidates for similar items, whose vectors have other lengths than the scan assumes."""
Reason = Literal["no_snapshot", "unknown_user", "unknown_item", "nothing_eligible"]
"""Why an answer has popular items: no snapshot yet; an unknown user, or a history of unknown or rejected
items only; an item with neither a text nor learned weights. Or why it has none: all are left out."""


@dataclass(frozen=True)
class Answer:
    """Items to show, in their order.

    Attributes:
        rows: rows of the items in the View's index.
        scores: of each item; a recommendation's is its probability among all eligible items.
        source: what ranked the items.
        reason: why the model did not.
        explanations: of each item, if the query asked for them.
        slate: the rows, and what rules placed or held back.
        is_exact: whether it is certain that a ranking of all items has the same.
        is_full: whether the best of what was ranked fill the answer.
        features: of what may be shown to a user; None without a snapshot.
        others: some rows that could have been shown, for who learns from what was not.
    """

    rows: list[int]
    scores: list[float]
    source: Source
    reason: Reason | None = None
    explanations: list[Explanation] | None = None
    slate: Slate = Slate([])
    is_exact: bool = True
    is_full: bool = True
    features: AnswerFeatures | None = field(default=None, compare=False, repr=False)
    others: NDArray[np.int64] = field(default_factory=lambda: NO_ITEMS, compare=False, repr=False)

    def first(self, amount: int | None) -> Answer:
        """Return the first items alone, `amount` at most; None for all."""
        if amount is None:
            return self
        slate = replace(self.slate, rows=self.slate.rows[:amount])
        return replace(self, rows=self.rows[:amount], scores=self.scores[:amount], slate=slate)


class _Draft(NamedTuple):
    """An answer before its items are scored: the user's acts on known items, and what they say.

    `attributes` are those of the user that the model reads.
    """

    asked: UserQuery
    eligibility: Eligibility
    known: list[Act]
    reading: Reading
    attributes: bytes

    @property
    def is_readable(self) -> bool:
        """Whether the model has something to go by."""
        return bool(self.reading.acts or self.attributes)

    @property
    def to_score(self) -> HistoryQuery:
        """What is to be scored."""
        selected, named = self.eligibility.selected(), self.asked.shaping.named
        discovers = self.eligibility.leaves_out([act.item for act in self.reading.acts])
        return HistoryQuery(self.known, self.asked.session, selected, named, self.attributes, discovers)

    def features(self, model: ModelView, basis: Basis | None = None) -> AnswerFeatures:
        """Return what is known of the user and the items."""
        return AnswerFeatures(model, self.known, basis, self.eligibility.now, self.asked.lately)


def recommend_all(view: View, asked: Sequence[UserQuery], context: int, now: int) -> list[Answer]:
    """Return the items that users are most likely to act on next; popular ones for unknown users.

    Args:
        asked: share one pass of the model.
        context: number of the latest acts that the model reads.
        now: ms since the epoch, at which the items must be on sale.
    """
    drafts = [_draft(view, one, now) for one in asked]
    model = view.with_model
    if model is None:
        return [_popular_draft(view, draft, "no_snapshot") for draft in drafts]
    readable = [draft for draft in drafts if draft.is_readable]
    found: list[ItemScores] = []
    for start in range(0, len(readable), TARGETS_AT_ONCE):
        block = [draft.to_score for draft in readable[start : start + TARGETS_AT_ONCE]]
        found += score(model, block, context)
    scored = iter(found)
    return [
        _ranked(model, draft, next(scored), context)
        if draft.is_readable
        else _popular_draft(view, draft, "unknown_user")
        for draft in drafts
    ]


def _draft(view: View, asked: UserQuery, now: int) -> _Draft:
    rows = view.index.rows_by_item([act.item for act in asked.history])
    known = [act for act in asked.history if act.item in rows]
    eligibility = eligibility_of(view.index, asked, now)
    names = view.snapshot.manifest.sizes.user_attributes if view.snapshot and len(view.index) else ()
    return _Draft(asked, eligibility, known, view.signals.read(known), declared(asked.attributes, names))


def _ranked(model: ModelView, draft: _Draft, scored: ItemScores, context: int) -> Answer:
    """Choose among the items that were scored, or among all if those do not fill the answer."""
    shaping = draft.asked.shaping
    rows, answer = _chosen(model, draft, scored)
    if not answer.is_full and scored.bound > -np.inf:
        every = np.arange(len(model.view.index))
        all_rows = draft.to_score._replace(rows=every[draft.eligibility.among(every)])
        (scored,) = score(model, [all_rows], context)
        rows, answer = _chosen(model, draft, scored)
    if not draft.asked.query.explain:
        return answer

    def share(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return shares(shaping.shifted(logits, rows))

    found = explain(model, draft.to_score, context, share, rows, answer.rows)
    return _explained(answer, found, shaping)


def _chosen(model: ModelView, draft: _Draft, scored: ItemScores) -> tuple[NDArray[np.int64], Answer]:
    """Choose among items; return the rows that were eligible, too."""
    shaping, is_eligible = draft.asked.shaping, draft.eligibility.among(scored.rows)
    rows = scored.rows[is_eligible]
    relevance = shaping.shifted(scored.logits[is_eligible], rows)
    features = draft.features(model, scored.basis)
    ranked = _Ranked(rows, relevance, shares(relevance), scored.bound + shaping.most_nats, features)
    return rows, _answer(model.view, draft.eligibility, ranked, draft.asked.exploration)


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
    eligibility, model = Eligibility(view.index, query, now, shaping, excluded), view.with_model
    if model is None:
        return _popular(view, eligibility, "no_snapshot")
    directions, items, recommender = model.snapshot.directions, model.items, model.snapshot.recommender
    own = directions.at(items, np.array([row]))[0]
    if not own.any():
        return _popular(view, eligibility, "unknown_item")

    def among(rows: NDArray[np.int64], bound: float) -> Answer:
        cosines = (directions.at(items, rows) @ own).astype(np.float64)
        relevance = shaping.shifted(cosines, rows, per_nat=1 / recommender.log_scale.detach().exp().item())
        return _answer(view, eligibility, _Ranked(rows, relevance, cosines, bound))

    def near(scans: Scans) -> Pool:
        return scans.nearest(recommender, torch.from_numpy(own), MOST_NEAR)

    answer = _of_pool(view, eligibility, near, among)
    return replace(answer, explanations=explain_cosines(answer.scores)) if query.explain else answer


def _of_pool(
    view: View,
    eligibility: Eligibility,
    pool: Callable[[Scans], Pool],
    answer: Callable[[NDArray[np.int64], float], Answer],
) -> Answer:
    """Answer from the eligible rows of a pool if there are many items; from all if that does not fill it.

    Args:
        pool: what to choose among.
        answer: takes eligible rows, ascending, and what no other one's score exceeds.
    """
    selected = eligibility.selected()
    if selected is None and view.scans is not None:
        rows, bound = pool(view.scans)
        rows = distinct(rows, eligibility.shaping.named)
        found = answer(rows[eligibility.among(rows)], bound)
        if found.is_full:
            return found
    rows = np.arange(len(view.index)) if selected is None else selected
    return answer(rows[eligibility.among(rows)], -np.inf)


def _popular_draft(view: View, draft: _Draft, reason: Reason) -> Answer:
    model, rejected = view.with_model, draft.reading.rejected()
    features = draft.features(model) if model else None
    return _popular(view, draft.eligibility, reason, rejected, draft.asked.exploration, features)


def _popular(
    view: View,
    eligibility: Eligibility,
    reason: Reason,
    rejected: Mapping[str, float] = NOTHING_REJECTED,
    exploration: Exploration = NO_EXPLORATION,
    features: AnswerFeatures | None = None,
) -> Answer:
    """Return popular items; those that the user rejected, with the strengths given, are lowered."""
    shaping = eligibility.shaping

    def among(rows: NDArray[np.int64], bound: float) -> Answer:
        relevance = shaping.shifted(popular(view, rows, rejected), rows)
        ranked = _Ranked(rows, relevance, shares(relevance), bound + shaping.most_nats, features)
        return _answer(view, eligibility, ranked, exploration, "popular", reason)

    answer = _of_pool(view, eligibility, lambda scans: scans.popular, among)
    if not eligibility.query.explain:
        return answer
    return _explained(answer, explain_popular(view, np.array(answer.rows, dtype=np.int64), rejected), shaping)


class _Ranked(NamedTuple):
    """Eligible items.

    Attributes:
        rows: ``[m]``, ascending.
        relevance: ``[m]`` by which they are chosen.
        scores: ``[m]`` that are shown.
        bound: what the relevance of no other eligible item exceeds.
        features: of the items.
    """

    rows: NDArray[np.int64]
    relevance: NDArray[np.float64]
    scores: NDArray[np.float64]
    bound: float
    features: AnswerFeatures | None = None


def _answer(
    view: View,
    eligibility: Eligibility,
    ranked: _Ranked,
    exploration: Exploration = NO_EXPLORATION,
    source: Source = "model",
    reason: Reason | None = None,
) -> Answer:
    """Show the eligible items that the policy chooses: the best, but for what it explores."""
    slate, is_exact, best = _slate(view, eligibility, ranked, exploration)
    found: Reason | None = reason if slate.rows else "nothing_eligible"
    scores = ranked.scores[np.searchsorted(ranked.rows, slate.rows)].tolist()
    is_full = _is_full(view, eligibility, ranked, slate)
    return Answer(
        slate.rows,
        scores,
        source,
        found,
        slate=slate,
        is_exact=is_exact,
        is_full=is_full,
        features=ranked.features,
        others=exploration.draw_others(_without(best, slate.rows)) if exploration.others else NO_ITEMS,
    )


def _without(rows: NDArray[np.int64], shown: list[int]) -> NDArray[np.int64]:
    """Return rows ``[m]`` but for those that are shown; NumPy's sets take several times as long."""
    left_out = set(shown)
    return np.array([row for row in rows.tolist() if row not in left_out], dtype=np.int64)


def _is_full(view: View, eligibility: Eligibility, ranked: _Ranked, slate: Slate) -> bool:
    """Whether the best items fill an answer.

    Within caps a drawn slate may be shorter or longer than that of the best items. These decide, because from
    what is drawn must not follow what it is drawn from: the propensities would be others.
    """
    query = eligibility.query
    has_caps = bool(eligibility.shaping.caps) or query.most_per_category is not None
    if slate.drawn.draws and has_caps and ranked.bound > -np.inf:
        slate, *_ = _slate(view, eligibility, ranked, NO_EXPLORATION)
    return len(slate.rows) >= query.k


def _slate(
    view: View, eligibility: Eligibility, ranked: _Ranked, exploration: Exploration
) -> tuple[Slate, bool, NDArray[np.int64]]:
    """Choose the k rows to show: best first but for diversity, pins, caps and draws; ties by row.

    Also returns whether it is certain that no other item belongs there, or into the pool of the draws; and
    the best rows, `OTHERS_AMONG` or more if some are to be named that are not shown. Of a diverse order,
    draws take the scores as they fall from place to place, whichever item has the place.
    """
    query, shaping = eligibility.query, eligibility.shaping
    if query.most_per_category is not None:
        cap = Cap(None, query.most_per_category, view.index.columns.of(None))
        shaping = replace(shaping, caps=(*shaping.caps, cap))
    pool = max(pool_size(query.k) if query.diversity else query.k, exploration.policy.pool)
    size, takes_all = ranked.rows.size, bool(shaping.pins or shaping.caps)
    most = max(pool, OTHERS_AMONG) if exploration.others else pool
    order = best_first(ranked.relevance, size if takes_all else most)
    least = ranked.relevance[order[pool - 1]] if size >= pool and not takes_all else -np.inf
    features, impression = ranked.features, exploration.impression
    values = no_values if features is None else values_of(features, impression, shaping)
    sampler = exploration.sampler(ranked.relevance[order], values)
    if query.diversity and (model := view.with_model) is not None:
        near = order[: pool_size(query.k)]
        vectors = model.snapshot.directions.at(model.items, ranked.rows[near])
        picked = diversified(ranked.relevance[near], vectors, query.diversity)
        order = np.concatenate([near[picked], order[near.size :]])
    best = ranked.rows[order]
    slate = shaping.slate(best, query.k, sampler)
    return slate, ranked.bound == -np.inf or bool(least > ranked.bound), best[:most]


def best_first(scores: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the positions of at least `most` of the scores ``[m]``, if there are so many, the highest first.

    Equal scores are in the order of their positions.
    """
    positions = np.arange(scores.size)
    if most < scores.size:
        positions = np.flatnonzero(scores >= np.partition(scores, scores.size - most)[scores.size - most])
    return positions[np.argsort(-scores[positions], kind="stable")]


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
