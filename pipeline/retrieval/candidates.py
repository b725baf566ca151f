"""Candidates: the items that are considered for each of some targets, and their scores.

A probability needs a sum over all items. Items that are candidates stand for themselves in it; the others are
represented by shared samples, each with the inverse of its expected number of draws (importance sampling), so
that log-probabilities stay honest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from pipeline.model.item_table import Rows
from pipeline.model.likeness import alike, alike_by, texts_of
from pipeline.model.mixer import BIAS_SCALE, COVISITATION_FLOOR, FEATURES, ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.state.popularity import Popularity
from pipeline.state.sorted_keys import look_up

TOGETHER = 8
"""Targets whose candidates are gathered at a time; what they take stays in the processor's cache."""
MODEL, COVISITATION = FEATURES.index("model"), FEATURES.index("covisitation")


class Samples(NamedTuple):
    """Rows ``[s]`` drawn with replacement, and the log of how often each was expected to be drawn."""

    rows: NDArray[np.int64]
    log_expected: NDArray[np.float32]


NO_SAMPLES = Samples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class Candidates:
    """The candidates of m targets, c at most of each, followed by s samples that all share.

    Attributes:
        rows: ``[m, c]`` distinct catalogue rows of each target; padded with zeros.
        counts: ``[m]`` number of candidates of each.
        samples: represent what is no candidate.
        size: number n of items in the catalogue.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    samples: Samples
    size: int

    @classmethod
    def of(
        cls, pairs: Sequence[NDArray[np.int64]], count: int, size: int, samples: Samples = NO_SAMPLES
    ) -> Candidates:
        """Make the candidates of `count` targets from pairs ``[2, p]`` of target and row, in any order."""
        keys = np.sort(np.concatenate([_keys(part, size) for part in pairs]))
        target, row = np.divmod(keys[np.append(True, keys[1:] != keys[:-1])[: keys.size]], size)
        counts = np.bincount(target, minlength=count)
        rows = np.zeros((count, counts.max(initial=1)), dtype=np.int64)
        rows[target, np.arange(target.size) - (counts.cumsum() - counts)[target]] = row
        return cls(rows, counts, samples, size)

    def joined(self, pairs: NDArray[np.int64]) -> Candidates:
        """Return these candidates and more, given as pairs ``[2, p]`` of target and row."""
        own = np.stack([self.is_candidate.nonzero()[0], self.rows[self.is_candidate]])
        return Candidates.of([own, pairs], len(self.rows), self.size, self.samples)

    @cached_property
    def is_candidate(self) -> NDArray[np.bool_]:
        """``[m, c]`` false in the padding."""
        mask: NDArray[np.bool_] = np.arange(self.rows.shape[1]) < self.counts[:, None]
        return mask

    def columns_of(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the column of each pair ``[2, p]`` of target and row; -1 where it is no candidate."""
        wanted = _keys(pairs, self.size)
        place, is_there = look_up(self._sorted_keys, wanted)
        first = (self.counts.cumsum() - self.counts)[pairs[0]]
        return np.where(is_there, place - first, -1)

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        """Keys of all pairs."""
        keys: NDArray[np.int64] = np.arange(len(self.rows))[:, None] * self.size + self.rows
        return keys[self.is_candidate]


def _keys(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = pairs[0] * size + pairs[1]
    return keys


class Retrieved(NamedTuple):
    """Candidates of m targets, and bounds of what all other items can have.

    Attributes:
        candidates: what was found.
        scan: ``[m]`` most that model, popularity, bias, trend and likeness give together, as the mixer
            weighs them.
        shares: ``[m]`` most that covisitation suggests.
    """

    candidates: Candidates
    scan: Tensor
    shares: NDArray[np.float64]

    def bound(self, weights: Tensor, contexts: Contexts, outputs: ScorerOutputs) -> Tensor:
        """Return what the blended score of no item that is not a candidate exceeds: ``[m]``.

        Args:
            weights: ``[m, features]`` the mixer's weights for each target.
            contexts: of the targets.
            outputs: of the candidates.
        """
        assert outputs.log_sums is not None
        shares = torch.from_numpy(np.log((self.shares + COVISITATION_FLOOR) / _share_sums(contexts)))
        scanned = self.scan - weights[:, MODEL] * outputs.log_sums
        return scanned + weights[:, COVISITATION] * shares.to(weights)


def score_candidates(
    contexts: Contexts,
    candidates: Candidates,
    recommender: Recommender,
    items: Rows,
    has_content: bool,
    popularity: Popularity,
) -> ScorerOutputs:
    """Score candidates and samples of m targets with every scorer, exactly: ``[m, c + s]``.

    Args:
        contexts: of the m targets; all items of their facts must be candidates.
        candidates: what is scored.
        recommender: scores users against `items`.
        items: all rows of the catalogue.
        has_content: whether any row has content that is not zero.
        popularity: counts of the same rows.
    """

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(contexts.users.device)

    shared, of_residual = candidates.samples.rows, recommender.of_residual(contexts.users)
    of_content = recommender.of_content(of_residual) if has_content else None
    parts = [_of_own(contexts, of_residual, of_content, tensor(candidates.rows), items)]
    if shared.size:
        parts.append(_of_shared(contexts, of_residual, of_content, tensor(shared), items))
    logits, bias, likeness = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
    log_weights = tensor(_log_weights(candidates))
    log_sums = torch.logsumexp(logits + log_weights, dim=1)
    fact, target, item = contexts.facts[0]
    columns = candidates.columns_of(np.stack([target, item]))
    return ScorerOutputs(
        model=logits - log_sums.unsqueeze(1),
        covisitation=tensor(_log_shares(contexts, candidates)),
        popularity=tensor(_of_rows(popularity.log_share, candidates)),
        bias=BIAS_SCALE * bias,
        alike=likeness,
        trend=tensor(_of_rows(popularity.trend, candidates)),
        indices=tensor(np.stack([fact, target, columns])),
        values=tensor(contexts.facts[1]),
        situation=tensor(contexts.situation),
        log_weights=log_weights,
        log_sums=log_sums,
    )


class _RowScores(NamedTuple):
    """What the model and texts say of rows ``[m, c]``."""

    logits: Tensor
    bias: Tensor
    alike: Tensor


@torch.no_grad()
def _of_own(
    contexts: Contexts, of_residual: Tensor, of_content: Tensor | None, rows: Tensor, items: Rows
) -> _RowScores:
    """Score rows ``[m, c]``, of each target its own, with what was gathered of a few targets at a time.

    `of_residual` and `of_content` are what users multiply both with; None if no item has content.

    Measured, 64 targets with 220 candidates each, 6,100 distinct: 6 ms instead of 34 for the products of all
    targets with all distinct candidates; 32 targets with 1,800 distinct ones 2.1 instead of 4.1.
    """
    latest, content_asked = torch.from_numpy(contexts.latest).to(rows.device), None
    if of_content is not None:
        texts = texts_of(latest, items)
        padded = pad(texts, (0, of_content.shape[1] - texts.shape[2]))
        content_asked = torch.cat([of_content.unsqueeze(1), padded], dim=1)
    parts = []
    for start in range(0, len(rows), TOGETHER):
        some = slice(start, start + TOGETHER)
        own, flat = rows[some], rows[some].flatten()
        residual, bias = (column.index_select(0, flat) for column in (items.residual, items.bias))
        bias = bias.view(own.shape)
        logits = _products(of_residual[some].unsqueeze(1), residual)[:, 0].add_(bias)
        likeness = torch.zeros_like(logits)
        if content_asked is not None:
            products = _products(content_asked[some], items.content.index_select(0, flat).float())
            logits += products[:, 0]
            likeness = alike_by(products[:, 1:], latest[some], own)
        parts.append(_RowScores(logits, bias, likeness))
    return _RowScores(*map(torch.cat, zip(*parts, strict=True)))


def _products(asked: Tensor, vectors: Tensor) -> Tensor:
    """Multiply ``[b, q, d]`` with vectors ``[b * c, d]`` of each of b targets: ``[b, q, c]``."""
    return torch.bmm(asked, vectors.view(len(asked), -1, vectors.shape[1]).transpose(1, 2))


@torch.no_grad()
def _of_shared(
    contexts: Contexts, of_residual: Tensor, of_content: Tensor | None, rows: Tensor, items: Rows
) -> _RowScores:
    """Score rows ``[s]``, the same for all targets, as `_of_own` does; they may recur."""
    residual, bias = (column.index_select(0, rows) for column in (items.residual, items.bias))
    logits = torch.addmm(bias, of_residual, residual.T)
    likeness = torch.zeros_like(logits)
    if of_content is not None:
        logits.addmm_(of_content, items.content.index_select(0, rows).float().T)
        likeness = alike(torch.from_numpy(contexts.latest).to(rows.device), items, rows)
    return _RowScores(logits, bias.expand_as(logits), likeness)


def _log_weights(candidates: Candidates) -> NDArray[np.float32]:
    """How many items each column stands for, as logs ``[m, c + s]``."""
    is_candidate, samples = candidates.is_candidate, candidates.samples
    own = np.where(is_candidate, 0, -np.inf)
    targets, columns = is_candidate.nonzero()
    marks = np.ones(targets.size, dtype=np.bool_)
    is_own = _among(targets, candidates.rows[targets, columns], marks, samples.rows, len(own))
    others = np.where(is_own, -np.inf, -samples.log_expected)
    return np.concatenate([own, others], axis=1).astype(np.float32)


def _log_shares(contexts: Contexts, candidates: Candidates) -> NDArray[np.float32]:
    """Look up the log-shares of covisitation ``[m, c + s]``, as `from_shares` has them over all items."""
    suggested, (m, size) = contexts.shares, contexts.shares.shape
    target = np.repeat(np.arange(m), np.diff(suggested.indptr))
    known, wanted = target * size + suggested.indices, np.arange(m)[:, None] * size + candidates.rows
    at, is_known = look_up(known, wanted)
    own = np.zeros(wanted.shape, dtype=suggested.data.dtype)
    own[is_known] = suggested.data[at[is_known]]
    shared = _among(target, suggested.indices, suggested.data, candidates.samples.rows, m)
    shares = np.concatenate([own, shared], axis=1) + COVISITATION_FLOOR
    return np.log(shares / _share_sums(contexts)[:, None]).astype(np.float32)


def _among(
    targets: NDArray[np.int64],
    rows: NDArray[Any],
    values: NDArray[Any],
    shared: NDArray[np.int64],
    count: int,
) -> NDArray[Any]:
    """Lay out the values of pairs ``[p]`` by `count` targets and shared rows, which may recur: ``[m, s]``."""
    kept, numbers = np.unique(shared, return_inverse=True)
    place, found = look_up(kept, rows)
    laid_out = np.zeros((count, kept.size), dtype=values.dtype)
    laid_out[targets[found], place[found]] = values[found]
    return laid_out[:, numbers]


def _of_rows(
    value: Callable[[NDArray[np.int64]], NDArray[np.float32]], candidates: Candidates
) -> NDArray[np.float32]:
    """Return a value of the candidates, and beside them of the samples, by their rows: ``[m, c + s]``."""
    own, shared = value(candidates.rows.ravel()), value(candidates.samples.rows)
    laid_out = own.reshape(candidates.rows.shape)
    return np.concatenate([laid_out, np.broadcast_to(shared, (len(laid_out), shared.size))], axis=1)


def _share_sums(contexts: Contexts) -> NDArray[np.float64]:
    """Sum the shares ``[m]`` of all items, with the floor of each."""
    floors = contexts.shares.shape[1] * COVISITATION_FLOOR
    return np.asarray(contexts.shares.sum(axis=1), dtype=np.float64) + floors
