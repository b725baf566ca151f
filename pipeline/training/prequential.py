"""The prequential test of a batch: rank its targets among all items, or among their candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.lists import CUTOFF, NO_ITEM, NO_LISTS, best_columns
from pipeline.evaluation.prequential import (
    FULL_RANKING,
    Targets,
    TargetScores,
    concatenate,
    rank_among,
    rank_by_shared_scores,
    rank_targets,
)
from pipeline.model.device import fast_products
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives
from pipeline.model.mixer import Mixer, ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import TARGETS_AT_ONCE, Contexts, score_contexts
from pipeline.retrieval.candidates import Candidates, Samples, score_candidates
from pipeline.retrieval.retriever import Retriever
from pipeline.state.popularity import Popularity

HASH = 0x9E3779B97F4A7C15
"""An odd number whose multiples are spread over all 64-bit numbers (Knuth's multiplicative hashing)."""


class Scorers(NamedTuple):
    """All that scores items, over the rows of one table."""

    recommender: Recommender
    table: ItemTable
    popularity: Popularity
    mixer: Mixer
    retriever: Retriever


class Lesson(NamedTuple):
    """What the mixer learns from a block of m targets.

    Attributes:
        outputs: of all scorers.
        columns: ``[m]`` where the targets are among their items.
        is_found: ``[m]`` which targets were retrieved; None where all items are scored.
        later: ``[2, p]`` a target that opens a basket, and where a later one there is among its items, if it
            is; None of none.
    """

    outputs: ScorerOutputs
    columns: Tensor
    is_found: Tensor | None = None
    later: Tensor | None = None


class Scored(NamedTuple):
    """The result of a test.

    Attributes:
        by_scorer: scores of the m targets by each scorer.
        lessons: of blocks of targets.
        listed: ``[m]`` which targets have a list.
        lists: ``[s, CUTOFF]`` catalogue rows that are ranked first for these.
        audited: ``[m]`` which targets were ranked in full, too; None if all were, or none.
    """

    by_scorer: dict[str, TargetScores]
    lessons: list[Lesson]
    listed: NDArray[np.bool_]
    lists: NDArray[np.int64]
    audited: NDArray[np.bool_] | None = None


@fast_products()
def score_in_full(contexts: Contexts, targets: Tensor, scorers: Scorers, listed: NDArray[np.bool_]) -> Scored:
    """Rank targets, of catalogue rows ``[m]``, among all items; those `listed` get a list."""
    table, popularity = scorers.table.padded(), scorers.popularity
    has_content = scorers.table.has_content
    outputs = score_contexts(contexts, scorers.recommender, table, popularity, has_content)
    later = _later_by_block(contexts, targets)
    blocks, parts, lists = list[Lesson](), [], [NO_LISTS.rows]
    splits = zip(outputs, later, *_split(targets, torch.from_numpy(listed)), strict=True)
    for given, pairs, own, chosen in splits:
        blocks.append(Lesson(given, own, later=torch.from_numpy(pairs).to(own.device)))
        mixed = scorers.mixer.log_probabilities(given)
        by_name = {"model": given.model, "covisitation": given.covisitation, "mixture": mixed}
        parts.append({scorer: rank_targets(of_all, own) for scorer, of_all in by_name.items()})
        lists.append(best_columns(mixed[chosen]))
    popular = blocks[0].outputs.popularity
    by_scorer = _joined(parts, rank_by_shared_scores(popular, popular[targets], len(popular)))
    return Scored(by_scorer, blocks, listed, np.concatenate(lists))


def score_among_candidates(
    contexts: Contexts,
    targets: Tensor,
    scorers: Scorers,
    listed: NDArray[np.bool_],
    negatives: Negatives,
    audited: NDArray[np.bool_],
) -> Scored:
    """Rank targets, of catalogue rows ``[m]``, among candidates; those that are `audited` in full, too.

    Those `listed` get a list.

    `negatives` represent all items that are no candidates.
    """
    samples = Samples(negatives.items.cpu().numpy(), negatives.log_expected(negatives.items).cpu().numpy())
    blocks, parts, lists = list[Lesson](), list[dict[str, TargetScores]](), [NO_LISTS.rows]
    retrieved = scorers.retriever.retrieve(
        contexts, scorers.recommender, scorers.mixer.weights, scorers.table.all(), samples
    )
    later = _later_by_block(contexts, targets)
    columns = _split(targets, *map(torch.from_numpy, (audited, listed)))
    splits = zip(contexts.blocks, retrieved, later, *columns, strict=True)
    for block, (found, _, _), pairs, own, checked, chosen in splits:
        full = _audit(block, own, found, scorers, checked.nonzero().flatten())
        given, ranked, best = _ranked(block, own, found, scorers, chosen, pairs)
        lists.append(best)
        blocks.append(given)
        parts.append({**ranked, FULL_RANKING: full})
    scanned, rows = (
        torch.from_numpy(scorers.popularity.log_share(some))
        for some in (scorers.retriever.choice.rows, targets.cpu().numpy())
    )
    by_scorer = _joined(parts, rank_by_shared_scores(scanned, rows, len(scorers.table)))
    return Scored(by_scorer, blocks, listed, np.concatenate(lists), audited)


def is_audited(known: Targets, users: NDArray[np.int64], size: int, scores: int) -> NDArray[np.bool_]:
    """Choose the targets ``[m]`` that are ranked in full: some `scores` of a target on average.

    By a hash of user and place in the history, so that a choice does not depend on batches.

    Args:
        known: the m targets.
        users: ``[m]`` digests of their users.
        size: number n of items, which a full ranking scores.
        scores: of a target, on average.
    """
    hashed = (users.astype(np.uint64) + known.pasts.astype(np.uint64)) * np.uint64(HASH)
    chosen: NDArray[np.bool_] = (hashed >> np.uint64(32)) * size < scores << 32
    return chosen


def _later_by_block(contexts: Contexts, targets: Tensor) -> list[NDArray[np.int64]]:
    """Return for each block what `Contexts.later` pairs with its targets, which are numbered in the block."""
    pairs = contexts.later(targets.cpu().numpy())
    starts = np.arange(0, len(contexts), TARGETS_AT_ONCE)
    parts = np.split(pairs, np.searchsorted(pairs[0], starts[1:]), axis=1)
    return [np.stack([part[0] - start, part[1]]) for part, start in zip(parts, starts, strict=True)]


def _ranked(
    block: Contexts,
    targets: Tensor,
    found: Candidates,
    scorers: Scorers,
    listed: Tensor,
    later: NDArray[np.int64],
) -> tuple[Lesson, dict[str, TargetScores], NDArray[np.int64]]:
    """Score a block of targets among their candidates; list the best for those `listed`.

    `later` ``[2, p]`` pairs targets with the rows of later ones.
    """
    own = np.stack([np.arange(len(block)), targets.cpu().numpy()])
    candidates = found.joined(own)
    table = scorers.table
    outputs = score_candidates(
        block, candidates, scorers.recommender, table.all(), table.has_content, scorers.popularity
    )
    c = candidates.rows.shape[1]
    retrieved = later[:, found.columns_of(later) >= 0]
    columns, is_candidate, is_found, pairs = (
        torch.from_numpy(array).to(targets.device)
        for array in (
            candidates.columns_of(own),
            candidates.is_candidate,
            found.columns_of(own) >= 0,
            np.stack([retrieved[0], candidates.columns_of(retrieved)]),
        )
    )
    mixed = scorers.mixer.log_probabilities(outputs)
    by_name = {"model": outputs.model, "covisitation": outputs.covisitation, "mixture": mixed}
    size = candidates.size
    ranked = {n: rank_among(p[:, :c], columns, is_candidate, is_found, size) for n, p in by_name.items()}
    best = _listed(mixed[:, :c], columns, is_candidate, is_found, listed, candidates)
    return Lesson(outputs, columns, is_found, pairs), ranked, best


def _listed(
    mixed: Tensor,
    columns: Tensor,
    is_candidate: Tensor,
    is_found: Tensor,
    listed: Tensor,
    candidates: Candidates,
) -> NDArray[np.int64]:
    """List the best candidates; a target that was not found is none."""
    may_be_listed = is_candidate.scatter(1, columns.unsqueeze(1), is_found.unsqueeze(1))
    chosen = listed.to(mixed.device)
    best = best_columns(mixed[chosen].masked_fill(~may_be_listed[chosen], -torch.inf))
    rows = np.take_along_axis(candidates.rows[listed.numpy()], np.maximum(best, 0), axis=1)
    return np.where(best == NO_ITEM, NO_ITEM, rows)


def _audit(
    block: Contexts, targets: Tensor, found: Candidates, scorers: Scorers, chosen: Tensor
) -> TargetScores:
    """Rank chosen targets of a block among all items; the figures of the others are not numbers."""
    ranks, log_probabilities, recalls = (np.full(len(block), np.nan) for _ in range(3))
    at = chosen.cpu().numpy()
    if at.size:
        scored = score_in_full(block.select(at), targets[chosen], scorers, np.zeros(at.size, dtype=np.bool_))
        (outputs, *_), full = scored.lessons[0], scored.by_scorer["mixture"]
        ranks[at], log_probabilities[at] = full.ranks, full.log_probabilities
        best = scorers.mixer.log_probabilities(outputs).topk(min(CUTOFF, found.size), dim=1).indices
        pairs = np.stack([np.repeat(at, best.shape[1]), best.flatten().cpu().numpy()])
        recalls[at] = (found.columns_of(pairs) >= 0).reshape(at.size, -1).mean(axis=1)
    return TargetScores(ranks, log_probabilities, recalls)


def _split(*columns: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    return tuple(torch.split(column, TARGETS_AT_ONCE) for column in columns)


def _joined(parts: list[dict[str, TargetScores]], popularity: TargetScores) -> dict[str, TargetScores]:
    by_scorer = {scorer: concatenate([part[scorer] for part in parts]) for scorer in parts[0]}
    return {**by_scorer, "popularity": popularity}
