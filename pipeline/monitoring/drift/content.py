"""Content drift: the shares of acts by content cluster, and how far they have moved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor
from typing_extensions import TypedDict

from pipeline.bounded import Count
from pipeline.config import ContentConfig

log = logging.getLogger(__name__)

SAMPLE = 4_096
"""Items that clusters are computed from; more would cost time and change little."""
PRIOR = 0.5
"""Acts added to every cluster (Jeffreys prior), so that no share is zero."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Shift:
    """An index above the threshold, and the shares of the cluster that moved most."""

    index: float
    share_before: float
    share_after: float


class ContentState(TypedDict):
    """Acts of the unfinished block by cluster, counts of finished blocks, cluster centres."""

    rest: list[Count]
    blocks: list[list[Count]]
    centres: list[list[float]]


class ContentWatch:
    """Detects when users act on other content than before.

    Items are clustered by their content vectors with k-means (k-means++, Arthur & Vassilvitskii
    2007), once, from the current catalogue. So it needs no categories, and a later item belongs
    to the nearest cluster.
    """

    def __init__(self, config: ContentConfig) -> None:
        self._config = config
        self._rest: list[int] = []
        self._blocks: list[Counts] = []
        self._centres = np.zeros((0, 0))
        self._unwatched = 0

    def update(self, rows: NDArray[np.int64], content: Tensor) -> Shift | None:
        """Update with acts on rows of the content table ``[n, d]``; return the last shift found, if any.

        Acts on items without content are left out: they say nothing of what users turn to.
        """
        if not rows.size or not self._ensure_clusters(content, rows.size):
            return None
        vectors = _vectors(content[rows])
        self._rest += self._assign(vectors[vectors.any(axis=1)]).tolist()
        shift, block = None, self._config.block
        while len(self._rest) >= block:
            acts, self._rest = self._rest[:block], self._rest[block:]
            shift = self._compare(np.bincount(acts, minlength=self._config.clusters)) or shift
        return shift

    def state(self) -> ContentState:
        """Return the whole state as plain data; later updates do not change it."""
        blocks = [counts.tolist() for counts in self._blocks]
        return {"rest": list(self._rest), "blocks": blocks, "centres": self._centres.tolist()}

    def load(self, state: ContentState) -> None:
        """Restore a state returned by `state`; with another number of clusters, begin with new ones.

        Raises:
            ValueError: it is no such state.
        """
        sizes = {len(counts) for counts in state["blocks"]} | {len(state["centres"])}
        if len(sizes) > 1 or any(cluster not in range(max(sizes)) for cluster in state["rest"]):
            raise ValueError("acts and blocks do not match the clusters")
        if len(state["centres"]) not in {0, self._config.clusters}:
            state = {"rest": [], "blocks": [], "centres": []}
        self._rest = list(state["rest"])
        self._blocks = [np.array(counts, dtype=np.int64) for counts in state["blocks"]]
        self._centres = np.array(state["centres"] or np.zeros((0, 0)), dtype=np.float64)

    def _compare(self, counts: Counts) -> Shift | None:
        """Compare the recent blocks with the reference; after a shift, they become the reference."""
        self._blocks = [*self._blocks, counts][-(self._config.reference + self._config.recent) :]
        if len(self._blocks) < self._config.reference + self._config.recent:
            return None
        before = _shares(self._blocks[: self._config.reference])
        after = _shares(self._blocks[self._config.reference :])
        contributions = (after - before) * np.log(after / before)
        index = float(contributions.sum())
        if index <= self._config.threshold:
            return None
        self._blocks = self._blocks[self._config.reference :]
        moved = int(contributions.argmax())
        return Shift(index, float(before[moved]), float(after[moved]))

    def _ensure_clusters(self, content: Tensor, acts: int) -> bool:
        """Compute the clusters once there are as many different items; return whether they exist."""
        if self._centres.size:
            return True
        sample = _vectors(content[:: -(-len(content) // SAMPLE)])
        different = np.unique(sample[sample.any(axis=1)], axis=0)
        if len(different) < self._config.clusters:
            self._wait(acts, len(different))
            return False
        self._centres = _centres(different, self._config.clusters)
        return True

    def _wait(self, acts: int, different: int) -> None:
        """Warn once that nothing is watched, when so many acts have passed that a shift could be found."""
        enough = self._config.block * (self._config.reference + self._config.recent)
        if self._unwatched < enough <= self._unwatched + acts:
            log.warning(
                "drift of content is not watched: there are %s items with different content, and "
                "drift.content.clusters is %s: lower it",
                different,
                self._config.clusters,
            )
        self._unwatched += acts

    def _assign(self, vectors: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cluster of each vector: the one with the nearest centre."""
        nearness = vectors @ self._centres.T - np.square(self._centres).sum(axis=1) / 2
        clusters: NDArray[np.int64] = nearness.argmax(axis=1)
        return clusters


def _vectors(content: Tensor) -> NDArray[np.float64]:
    return content.double().cpu().numpy()


def _shares(blocks: Sequence[Counts]) -> NDArray[np.float64]:
    counts = np.sum(blocks, axis=0) + PRIOR
    return np.asarray(counts / counts.sum())


def _centres(vectors: NDArray[np.float64], clusters: int) -> NDArray[np.float64]:
    # Fixed seed: a learner that recovers must compute the same clusters.
    found: tuple[NDArray[Any], Any] = kmeans2(vectors, clusters, minit="++", rng=np.random.default_rng(0))
    return np.asarray(found[0], dtype=np.float64)
