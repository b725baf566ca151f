"""Candidates: the items that are considered for each of some targets, and their scores.

A probability needs a sum over all items. Items that are candidates stand for themselves in it; the others are
represented by shared samples, each with the inverse of its expected number of draws (importance sampling), so
that log-probabilities stay honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.item_table import Rows
from pipeline.model.mixer import BIAS_SCALE, COVISITATION_FLOOR, FEATURES, ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.state.popularity import Popularity

PAIRS_AT_ONCE = 2_048
"""Rows that are gathered at a time to be multiplied; 3 MB of them stay in the cache."""


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
        place = np.searchsorted(self._sorted_keys[:-1], wanted)
        first = (self.counts.cumsum() - self.counts)[pairs[0]]
        return np.where(self._sorted_keys[place] == wanted, place - first, -1)

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        """Keys of all pairs, and one that none has."""
        keys = (np.arange(len(self.rows))[:, None] * self.size + self.rows)[self.is_candidate]
        return np.append(keys, -1)


def _keys(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = pairs[0] * size + pairs[1]
    return keys


class Retrieved(NamedTuple):
    """Candidates of m targets, and bounds of what all other items can have.

    Attributes:
        candidates: what was found.
        scan: ``[m]`` most that model, popularity and bias give together, as the mixer weighs them.
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
        return (
            self.scan - weights[:, MODEL] * outputs.log_sums + weights[:, COVISITATION] * shares.to(weights)
        )


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

    drawn = np.broadcast_to(candidates.samples.rows, (len(contexts), candidates.samples.rows.size))
    rows = np.concatenate([candidates.rows, drawn], axis=1)
    of_content, of_residual = recommender.queries(contexts.users)
    bias, logits = items.bias[tensor(rows)], _products(of_residual, candidates, items.residual)
    logits = logits + bias
    if has_content:
        logits += _products(of_content, candidates, items.content)
    log_weights = tensor(_log_weights(candidates))
    log_sums = torch.logsumexp(logits + log_weights, dim=1)
    fact, target, item = contexts.facts[0]
    columns = candidates.columns_of(np.stack([target, item]))
    return ScorerOutputs(
        model=logits - log_sums.unsqueeze(1),
        covisitation=tensor(_log_shares(contexts, rows)),
        popularity=tensor(popularity.log_share(rows.ravel()).reshape(rows.shape)),
        bias=BIAS_SCALE * bias,
        indices=tensor(np.stack([fact, target, columns])),
        values=tensor(contexts.facts[1]),
        situation=tensor(contexts.situation),
        log_weights=log_weights,
        log_sums=log_sums,
    )


def _products(queries: Tensor, candidates: Candidates, matrix: Tensor) -> Tensor:
    """Multiply queries ``[m, d]`` with candidates' and samples' rows of a matrix: ``[m, c + s]``."""
    own, samples = (torch.from_numpy(a).to(matrix.device) for a in (candidates.rows, candidates.samples.rows))
    step = max(1, PAIRS_AT_ONCE // own.shape[1])
    parts = [
        torch.bmm(matrix[own[start : start + step]], queries[start : start + step].unsqueeze(2)).squeeze(2)
        for start in range(0, len(own), step)
    ]
    return torch.cat([torch.cat(parts), queries @ matrix[samples].T], dim=1)


def _log_weights(candidates: Candidates) -> NDArray[np.float32]:
    """How many items each column stands for, as logs ``[m, c + s]``."""
    own = np.where(candidates.is_candidate, 0, -np.inf)
    m, drawn = len(own), candidates.samples
    pairs = np.stack([np.repeat(np.arange(m), drawn.rows.size), np.tile(drawn.rows, m)])
    is_own = candidates.columns_of(pairs).reshape(m, -1) >= 0
    others = np.where(is_own, -np.inf, -drawn.log_expected)
    return np.concatenate([own, others], axis=1).astype(np.float32)


def _log_shares(contexts: Contexts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Look up the log-shares of covisitation of rows ``[m, c]``, as `from_shares` has them over all items."""
    shares, size = contexts.shares, contexts.shares.shape[1]
    given = np.repeat(np.arange(len(rows)), np.diff(shares.indptr))
    keys = given * size + shares.indices
    wanted = np.arange(len(rows))[:, None] * size + rows
    place = np.searchsorted(keys, wanted)
    found = np.append(keys, -1)[place] == wanted
    values = np.where(found, np.append(shares.data, 0)[place], 0) + COVISITATION_FLOOR
    logs: NDArray[np.float32] = np.log(values / _share_sums(contexts)[:, None]).astype(np.float32)
    return logs


def _share_sums(contexts: Contexts) -> NDArray[np.float64]:
    """Sum the shares ``[m]`` of all items, with the floor of each."""
    floors = contexts.shares.shape[1] * COVISITATION_FLOOR
    return np.asarray(contexts.shares.sum(axis=1), dtype=np.float64) + floors
