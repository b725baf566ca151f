"""What a server searches for candidates: the rows of its snapshot, as the learner does, and newer ones.

The first changes when a snapshot is swapped, while no request reads; the second belongs to one View.
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
from pipeline.model.likeness import NEARNESS, NO_ITEM
from pipeline.model.mixer import FEATURES
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.retrieval.candidates import Retrieved
from pipeline.retrieval.item_search import ItemSearch
from pipeline.retrieval.retriever import candidates_of
from pipeline.retrieval.scan import MODEL, POPULARITY, Queries, Scan, ScanResult, every_row
from pipeline.state.growing import distinct
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
        learned: searches rows as the snapshot has them.
        items: all rows of the View.
        popularity: its counts of them.
        fresh: rows, ascending, with items, texts and counts that are newer than `learned` has them.
        log_ratio: of the smoothed total of the snapshot's counts to that of the View's.
        is_complete: whether every item is scanned.
    """

    config: RetrievalConfig
    learned: ItemSearch
    items: Rows
    popularity: Popularity
    fresh: NDArray[np.int64]
    log_ratio: float
    is_complete: bool

    def retrieve(self, contexts: Contexts, recommender: Recommender, mixer: Tensor) -> Retrieved:
        """Gather the candidates of m targets; `mixer` are the weights ``[situations, features]``."""
        asked, config = Queries.of(contexts, mixer), self.config
        rows, bound = self.learned.find(recommender, asked, self.items, config.best, config.nearest)
        bound = bound + asked.weights[:, POPULARITY] * self.log_ratio
        if self.fresh.size:
            newer = self._newer(recommender, asked, config.best)
            rows, bound = np.concatenate([rows, newer.rows], axis=1), torch.maximum(bound, newer.bound)
        if not self.is_complete:
            bound = torch.full_like(bound, torch.inf)
        return candidates_of(rows, bound, contexts, config.covisited)

    def nearest(self, recommender: Recommender, direction: Tensor, count: int) -> Pool:
        """Return rows whose item vectors have the largest products with a direction ``[d]``.

        Their cosines may be smaller than those of others, for vectors have lengths.
        """
        weights = torch.zeros(1, len(FEATURES))
        weights[:, MODEL] = 1
        asked = Queries(direction[None], weights, np.full((1, len(NEARNESS)), NO_ITEM))
        found = self.learned.find(recommender, asked, self.items, count, count).rows[0]
        newer = self._newer(recommender, asked, count).rows[0]
        return Pool(distinct(found, newer), np.inf)

    def _newer(self, recommender: Recommender, asked: Queries, count: int) -> ScanResult:
        """Find the `count` best of the fresh rows for m targets."""
        if self.fresh.size <= count:
            return every_row(self.fresh, asked.users)
        return self._fresh_scan.search(recommender, asked, self.items, count)

    @cached_property
    def _fresh_scan(self) -> Scan:
        """The scan of the fresh rows; most Views have too few of them to need it, or no request before the
        next View."""
        scan = Scan()
        scan.choose(self.fresh, self.items, has_content=True)
        shares = self.popularity.log_share(self.fresh), self.popularity.trend(self.fresh)
        scan.set_popularity(*map(torch.from_numpy, shares))
        return scan

    @cached_property
    def popular(self) -> Pool:
        """The most popular rows by log-share: the snapshot's, and those that are newer."""
        shares, rows = self.learned.log_shares, self.learned.choice.rows
        order = np.argsort(-shares, kind="stable")
        best, bound = rows[order[:MOST_FRESH]], np.inf
        if self.is_complete:
            left = shares[order[MOST_FRESH : MOST_FRESH + 1]].tolist()
            bound = left[0] + self.log_ratio if left else -np.inf
        return Pool(distinct(best, self.fresh), bound)


def scans_of(
    config: RetrievalConfig,
    learned: ItemSearch,
    items: Rows,
    counts: tuple[Popularity, Popularity],
    fresh: NDArray[np.int64],
) -> Scans:
    """Make the scans of a View.

    Args:
        learned: searches the snapshot's rows.
        items: all rows of the View.
        counts: popularity in the snapshot, and in the View.
        fresh: rows that are newer than the snapshot.
    """
    (before, now), taken = counts, fresh[:MOST_FRESH]
    ratio = math.log((before.total + PRIOR * before.size) / (now.total + PRIOR * now.size))
    is_complete = learned.is_complete and taken.size == fresh.size
    return Scans(config, learned, items, now, taken, ratio, is_complete)
