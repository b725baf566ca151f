"""What a server scans for candidates: the rows of its snapshot, and those that are newer.

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

from consumers.serve.state.loaded_snapshot import SnapshotChanges
from pipeline.config import RetrievalConfig
from pipeline.model.item_table import Rows
from pipeline.model.mixer import FEATURES
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.retrieval.candidates import Retrieved
from pipeline.retrieval.content_index import NOTHING, ContentIndex, choose_centroids
from pipeline.retrieval.retriever import candidates_of
from pipeline.retrieval.scan import MODEL, POPULARITY, Scan
from pipeline.state.popularity import PRIOR, Popularity

MOST_FRESH = 4_096
"""Rows that are newer than the snapshot and scanned; each poll copies them."""
SAMPLED = 65_536
"""Contents, or up to twice as many, among which the centroids of an index are chosen."""


class Pool(NamedTuple):
    """Rows, ascending, among which items are chosen, and what no other row's score exceeds."""

    rows: NDArray[np.int64]
    bound: float


class SnapshotScan:
    """The most popular rows of a snapshot; of a large one, all others can be found by their content.

    Attributes:
        shares: ``[r]`` log-shares of the scanned rows.
    """

    def __init__(self, items: Rows, popularity: Popularity, config: RetrievalConfig) -> None:
        """Scan a snapshot; this takes some 50 ms, and half a minute for a million items with texts."""
        self._config = config
        self.by_content: ContentIndex | None = None
        self.scan = Scan()
        has_content = any(bool(chunk.any()) for chunk in torch.split(items.content, MOST_FRESH))
        self._choose(items, popularity, has_content)
        self._set_popularity(popularity)
        self._index(items, np.arange(popularity.size))

    def update(self, items: Rows, popularity: Popularity, changes: SnapshotChanges) -> None:
        """Scan a later state of the snapshot, with what has changed; not while requests search."""
        size = popularity.size
        is_other = not self.scan.has_content and bool(items.content[torch.from_numpy(changes.content)].any())
        if is_other or size > self._capacity:  # what is scanned must follow from the snapshot alone
            self._choose(items, popularity, self.scan.has_content or is_other)
        else:
            self.scan.extend(np.arange(self.scan.rows.size, size), items)
        self.scan.refresh(np.union1d(changes.content, changes.learned), items)
        self._set_popularity(popularity)
        is_new = self.by_content is None
        self._index(items, np.arange(size) if is_new else changes.content)

    def find(self, recommender: Recommender, users: Tensor, count: int) -> list[NDArray[np.int64]]:
        """Find rows ``[m, count]`` that are not scanned by their content; no list without such rows."""
        if self.by_content is None:
            return []
        queries, _ = recommender.queries(users)
        rows = self.by_content.search(queries.numpy(), count)
        return [np.where(rows == NOTHING, self.scan.rows[0], rows)]

    def _choose(self, items: Rows, popularity: Popularity, has_content: bool) -> None:
        capacity = self._config.rows_scanned(has_content)
        rows = popularity.top(capacity) if popularity.size > capacity else np.arange(popularity.size)
        self.scan.choose(rows, capacity, items, has_content)
        if self.by_content is not None:
            self.by_content.hide(self.scan.rows)

    def _index(self, items: Rows, rows: NDArray[np.int64]) -> None:
        """Index the content of rows, if not all are scanned."""
        if len(items.bias) <= self._capacity or not self.scan.has_content:
            return
        if self.by_content is None:
            some = items.content[:: max(1, len(items.bias) // SAMPLED)]
            self.by_content = ContentIndex(choose_centroids(some[some.any(dim=1)].numpy()))
            self.by_content.hide(self.scan.rows)
        self.by_content.put_from(items, rows)

    @property
    def _capacity(self) -> int:
        return self._config.rows_scanned(self.scan.has_content)

    def _set_popularity(self, popularity: Popularity) -> None:
        self.shares = popularity.log_share(self.scan.rows)
        self.scan.set_popularity(torch.from_numpy(self.shares))


@dataclass(frozen=True)
class Scans:
    """The scans of one View.

    Attributes:
        config: how many candidates there are.
        learned: rows as the snapshot has them.
        fresh: items, texts and counts that are newer; these rows are in `learned` as they were.
        log_ratio: of the smoothed total of the snapshot's counts to that of the View's.
        is_complete: whether every item is scanned.
    """

    config: RetrievalConfig
    learned: SnapshotScan
    fresh: Scan | None
    log_ratio: float
    is_complete: bool

    def retrieve(self, contexts: Contexts, recommender: Recommender, mixer: Tensor) -> Retrieved:
        """Gather the candidates of m targets; `mixer` are the weights ``[situations, features]``."""
        weights = mixer[torch.from_numpy(contexts.situation)]
        found = self.learned.scan.search(recommender, contexts.users, weights, self.config.best)
        by_content = self.learned.find(recommender, contexts.users, self.config.nearest)
        rows, bound = [found.rows, *by_content], found.bound + weights[:, POPULARITY] * self.log_ratio
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
        scans = [self.learned.scan, *([] if self.fresh is None else [self.fresh])]
        found = [scan.search(recommender, direction[None], weights, count).rows[0] for scan in scans]
        found += [rows[0] for rows in self.learned.find(recommender, direction[None], count)]
        return Pool(np.unique(np.concatenate(found)), np.inf)

    @cached_property
    def popular(self) -> Pool:
        """The most popular rows by log-share: the snapshot's, and those that are newer."""
        shares, rows = self.learned.shares, self.learned.scan.rows
        order = np.argsort(-shares, kind="stable")
        best, bound = rows[order[:MOST_FRESH]], np.inf
        if self.is_complete:
            left = shares[order[MOST_FRESH : MOST_FRESH + 1]].tolist()
            bound = left[0] + self.log_ratio if left else -np.inf
        fresh = best if self.fresh is None else self.fresh.rows
        return Pool(np.unique(np.concatenate([best, fresh])), bound)


def scans_of(
    config: RetrievalConfig,
    learned: SnapshotScan,
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
    is_complete = learned.scan.rows.size == before.size and taken.size == fresh.size
    scan = _scan_of(taken, items, now) if taken.size else None
    return Scans(config, learned, scan, ratio, is_complete)


def _scan_of(rows: NDArray[np.int64], items: Rows, popularity: Popularity) -> Scan:
    scan = Scan()
    scan.choose(rows, rows.size, items, has_content=True)
    scan.set_popularity(torch.from_numpy(popularity.log_share(rows)))
    return scan
