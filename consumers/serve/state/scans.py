"""What a server scans for candidates: the rows of its snapshot, and those that are newer.

Both scans belong to one View and never change, so requests need no lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import RetrievalConfig
from pipeline.model.item_table import Rows
from pipeline.model.mixer import FEATURES
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.retrieval.candidates import Retrieved
from pipeline.retrieval.retriever import candidates_of
from pipeline.retrieval.scan import MODEL, POPULARITY, Scan
from pipeline.state.popularity import PRIOR, Popularity

MOST_FRESH = 4_096
"""Rows that are newer than the snapshot and scanned; each poll copies them."""


class Pool(NamedTuple):
    """Rows, ascending, among which items are chosen, and what no other row's score exceeds."""

    rows: NDArray[np.int64]
    bound: float


@dataclass(frozen=True)
class Scans:
    """The scans of one View.

    Attributes:
        config: how many candidates there are.
        learned: rows as the snapshot has them.
        fresh: items, texts and counts that are newer; these rows are in `learned` as they were.
        before: popularity in the snapshot.
        log_ratio: of the smoothed total of its counts to that of the View's.
        is_whole: whether all that is newer is scanned.
    """

    config: RetrievalConfig
    learned: Scan
    fresh: Scan | None
    before: Popularity
    log_ratio: float
    is_whole: bool

    @property
    def is_complete(self) -> bool:
        """Whether every item is scanned."""
        return self.is_whole and self.learned.rows.size == self.before.size

    def retrieve(self, contexts: Contexts, recommender: Recommender, mixer: Tensor) -> Retrieved:
        """Gather the candidates of m targets; `mixer` are the weights ``[situations, features]``."""
        weights = mixer[torch.from_numpy(contexts.situation)]
        found = self.learned.search(recommender, contexts.users, weights, self.config.best)
        rows, bound = [found.rows], found.bound + weights[:, POPULARITY] * self.log_ratio
        if self.fresh is not None:
            newer = self.fresh.search(recommender, contexts.users, weights, self.config.best)
            rows.append(newer.rows)
            bound = torch.maximum(bound, newer.bound)
        if not self.is_complete:
            bound = torch.full_like(bound, torch.inf)
        return candidates_of(np.concatenate(rows, axis=1), bound, contexts, self.config.covisited)

    def nearest(self, recommender: Recommender, direction: Tensor, count: int) -> Pool:
        """Return rows whose item vectors have the largest products with a direction ``[d]``.

        Their cosines may be smaller than those of others, for vectors have lengths.
        """
        weights = torch.zeros(1, len(FEATURES))
        weights[:, MODEL] = 1
        scans = [self.learned, self.fresh] if self.fresh is not None else [self.learned]
        found = [scan.search(recommender, direction[None], weights, count).rows[0] for scan in scans]
        return Pool(np.unique(np.concatenate(found)), np.inf)

    @cached_property
    def popular(self) -> Pool:
        """The most popular rows by log-share: the snapshot's, and those that are newer."""
        best = self.learned.rows[:MOST_FRESH]
        bound = float(self.before.log_share(best[-1:])[0]) + self.log_ratio
        if self.is_complete and best.size == self.before.size:
            bound = -np.inf
        fresh = best if self.fresh is None else self.fresh.rows
        return Pool(np.unique(np.concatenate([best, fresh])), bound if self.is_whole else np.inf)


def scan_snapshot(items: Rows, popularity: Popularity, capacity: int) -> Scan:
    """Scan the most popular rows of a snapshot; this takes some 50 ms."""
    has_content = any(bool(chunk.any()) for chunk in torch.split(items.content, MOST_FRESH))
    return _scanned(popularity.top(capacity), items, popularity, has_content, capacity)


def scans_of(
    config: RetrievalConfig,
    learned: Scan,
    items: Rows,
    counts: tuple[Popularity, Popularity],
    fresh: NDArray[np.int64],
) -> Scans:
    """Make the scans of a View.

    Args:
        items: all rows of the View.
        counts: popularity in the snapshot, and in the View.
        fresh: rows that are newer than the snapshot.
    """
    (before, now), taken = counts, fresh[:MOST_FRESH]
    ratio = math.log((before.total + PRIOR * before.size) / (now.total + PRIOR * now.size))
    scan = _scanned(taken, items, now, True, taken.size) if taken.size else None
    return Scans(config, learned, scan, before, ratio, taken.size == fresh.size)


def _scanned(
    rows: NDArray[np.int64], items: Rows, popularity: Popularity, has_content: bool, capacity: int
) -> Scan:
    scan = Scan(min(capacity, rows.size))
    scan.choose(rows, items, has_content)
    scan.set_popularity(torch.from_numpy(popularity.log_share(rows)))
    return scan
