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
from pipeline.model.likeness import MOST_ALIKE, alike
from pipeline.model.mixer import ALIKE, BIAS_SCALE, COVISITATION_FLOOR, FEATURES, ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.state.popularity import Popularity

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
    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct rows ``[r]`` of candidates and samples, and where each column is: ``[m, c + s]``."""
        every = np.concatenate([self.rows.ravel(), self.samples.rows])
        rows, where = np.unique(every, return_inverse=True)
        own, shared = np.split(where, [self.rows.size])
        m = len(self.rows)
        columns = [own.reshape(m, -1), np.broadcast_to(shared, (m, shared.size))]
        return rows, np.concatenate(columns, axis=1)

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
        scanned = self.scan - weights[:, MODEL] * outputs.log_sums
        alike = weights[:, ALIKE] * MOST_ALIKE
        return scanned + weights[:, COVISITATION] * shares.to(weights) + alike


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

    rows, where = candidates.distinct
    at, gathered = tensor(rows), tensor(where)
    of_content, of_residual = recommender.queries(contexts.users)
    residual, bias = (column.index_select(0, at) for column in (items.residual, items.bias))
    logits = torch.addmm(bias, of_residual, residual.T)
    if has_content:
        logits.addmm_(of_content, items.content.index_select(0, at).float().T)
    logits, log_weights = logits.gather(1, gathered), tensor(_log_weights(candidates))
    log_sums = torch.logsumexp(logits + log_weights, dim=1)
    fact, target, item = contexts.facts[0]
    columns = candidates.columns_of(np.stack([target, item]))
    return ScorerOutputs(
        model=logits - log_sums.unsqueeze(1),
        covisitation=tensor(_log_shares(contexts, rows, where)),
        popularity=tensor(popularity.log_share(rows)[where]),
        bias=BIAS_SCALE * bias[gathered],
        alike=alike(tensor(contexts.latest), items, at).gather(1, gathered),
        indices=tensor(np.stack([fact, target, columns])),
        values=tensor(contexts.facts[1]),
        situation=tensor(contexts.situation),
        log_weights=log_weights,
        log_sums=log_sums,
    )


def _log_weights(candidates: Candidates) -> NDArray[np.float32]:
    """How many items each column stands for, as logs ``[m, c + s]``."""
    is_candidate, (rows, where) = candidates.is_candidate, candidates.distinct
    m, c = is_candidate.shape
    is_own = np.zeros((m, rows.size), dtype=np.bool_)
    target, column = is_candidate.nonzero()
    is_own[target, where[target, column]] = True
    own = np.where(is_candidate, 0, -np.inf)
    others = np.where(is_own[:, where[0, c:]], -np.inf, -candidates.samples.log_expected)
    return np.concatenate([own, others], axis=1).astype(np.float32)


def _log_shares(contexts: Contexts, rows: NDArray[np.int64], where: NDArray[np.int64]) -> NDArray[np.float32]:
    """Look up the log-shares of covisitation, as `from_shares` has them over all items.

    Of distinct rows ``[r]``, gathered by their indices ``[m, c]``.
    """
    suggested = contexts.shares
    target = np.repeat(np.arange(len(where)), np.diff(suggested.indptr))
    place = np.minimum(np.searchsorted(rows, suggested.indices), rows.size - 1)
    found = rows[place] == suggested.indices
    shares = np.full((len(where), rows.size), COVISITATION_FLOOR)
    shares[target[found], place[found]] += suggested.data[found]
    logs = np.log(np.take_along_axis(shares, where, axis=1) / _share_sums(contexts)[:, None])
    return logs.astype(np.float32)


def _share_sums(contexts: Contexts) -> NDArray[np.float64]:
    """Sum the shares ``[m]`` of all items, with the floor of each."""
    floors = contexts.shares.shape[1] * COVISITATION_FLOOR
    return np.asarray(contexts.shares.sum(axis=1), dtype=np.float64) + floors
