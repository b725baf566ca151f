"""Lists of items: how diverse they are, how they spread over the catalogue, and how much they change.

The figures are those of the last lists that the mixture made for a sample of the users, each before the
user's next act was learned. A list has the items that are ranked first, before rules and policies.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

CUTOFF = 20
"""Items of a list, and the last rank that is a hit."""
RECENT_LISTS = 2_000
"""Lists that the figures are of: the same number for all, because coverage grows with it."""
LEAST_NEW_LISTS, ITEMS_A_LIST = 100, 200
"""Figures are due after so many new lists, or one for so many items: they cost what sorting items costs."""
MOST_USERS = 10_000
"""Users whose last list is remembered, to see how much the next one differs."""
NO_ITEM = -1
"""In place of a row, where there are fewer items than a list has places."""
Rows = NDArray[np.int64]
Figures = dict[str, float | None]


def computed(figures: Figures) -> dict[str, float]:
    """Return the figures that there are: of nothing shown, most cannot be computed."""
    return {name: value for name, value in figures.items() if value is not None}


@dataclass(frozen=True)
class Lists:
    """Lists for some targets of a batch, one of each user.

    Attributes:
        users: ``[s]`` digests.
        rows: ``[s, CUTOFF]`` catalogue rows, best first; `NO_ITEM` in places without one.
        diversities: ``[s]`` see `diversity`.
        targets: ``[s]`` catalogue rows of the items that the users then acted on.
    """

    users: Rows
    rows: Rows
    diversities: NDArray[np.float64]
    targets: Rows


NO_ROWS = np.zeros(0, dtype=np.int64)
NO_LISTS = Lists(NO_ROWS, np.zeros((0, CUTOFF), dtype=np.int64), np.zeros(0), NO_ROWS)


def best_columns(scores: Tensor) -> Rows:
    """Return the columns ``[s, CUTOFF]`` of the best of scores ``[s, n]``, best first, but for -inf."""
    values, columns = scores.topk(min(CUTOFF, scores.shape[1]), dim=1)
    found = columns.masked_fill(values.isneginf(), NO_ITEM).cpu().numpy()
    padded = np.full((len(found), CUTOFF), NO_ITEM)
    padded[:, : found.shape[1]] = found
    return padded


def diversity(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute how unlike the items of each list are: one minus the mean cosine of their pairs.

    Intra-list diversity (Ziegler et al. 2005), of the texts.

    Args:
        vectors: ``[s, k, d]`` content; zeros for items without text, which are left out.

    Returns:
        ``[s]``; NaN for a list with fewer than two texts.
    """
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    directions = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    count = (lengths > 0).sum(axis=(1, 2)).astype(np.float64)
    cosines = np.square(directions.sum(axis=1, dtype=np.float64)).sum(axis=1) - count
    pairs = np.where(count > 1, count * (count - 1), np.nan)
    return np.asarray(np.maximum(1 - cosines / pairs, 0))  # rounded, equal texts are alike by more than 1


def gini(counts: NDArray[np.int64]) -> float | None:
    """Compute how unequally a total is divided: 0 if each has the same, near 1 if one has all.

    >>> gini(np.array([5, 5, 5, 5]))
    0.0
    >>> gini(np.array([0, 0, 0, 20]))
    0.75
    """
    n, total = counts.size, counts.sum()
    if not total:
        return None
    ranks = np.arange(1, n + 1)
    return float((2 * ranks - n - 1) @ np.sort(counts) / (n * total))


def exposure(lists: Rows, acts: NDArray[np.int64], least: int) -> Figures:
    """Compute how lists ``[s, k]`` spread over the catalogue.

    Args:
        lists: catalogue rows.
        acts: ``[n]`` number of acts on each item.
        least: an item with no more acts than this is of the tail, see `pipeline.state.head`.

    Returns:
        The share of the items that are in a list; the Gini coefficients of how often items are in lists, and
        of the acts on them; the share of places that items of the tail have.
    """
    shown = lists[lists != NO_ITEM]
    counts = np.bincount(shown, minlength=acts.size)
    return {
        "coverage@20": float((counts > 0).mean()) if shown.size else None,
        "gini@20": gini(counts),
        "gini_of_acts": gini(acts),
        "tail_share@20": float((acts[shown] <= least).mean()) if shown.size else None,
    }


def overlap(one: Rows, other: Rows) -> float:
    """Compute the Jaccard index of two lists ``[k]``: items in both, as a share of those in either."""
    mine, theirs = set(one.tolist()) - {NO_ITEM}, set(other.tolist()) - {NO_ITEM}
    return len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0


class ListQuality:
    """Figures of the last `RECENT_LISTS` lists.

    Attributes:
        figures: as they were computed last; empty before.
    """

    def __init__(self) -> None:
        self.figures: Figures = {}
        self._lists = deque[tuple[Rows, float, int]](maxlen=RECENT_LISTS)
        self._overlaps = deque[float](maxlen=RECENT_LISTS)
        self._last = OrderedDict[int, Rows]()
        self._new = 0

    def add(self, lists: Lists) -> None:
        """Add the lists of a batch."""
        columns = lists.users.tolist(), lists.rows, lists.diversities.tolist(), lists.targets.tolist()
        for user, rows, diverse, target in zip(*columns, strict=True):
            self._lists.append((rows, diverse, target))
            if user in self._last:
                self._overlaps.append(overlap(self._last[user], rows))
            self._last[user] = rows
            self._last.move_to_end(user)
            if len(self._last) > MOST_USERS:
                self._last.popitem(last=False)
        self._new += len(lists.users)

    def is_due(self, items: int) -> bool:
        """Whether there are so many new lists that figures over so many items are worth their cost."""
        return self._new >= max(LEAST_NEW_LISTS, items // ITEMS_A_LIST)

    def update(self, acts: NDArray[np.int64], least: int) -> Figures:
        """Compute the figures; see `exposure` for the arguments."""
        self._new = 0
        known = [diverse for _, diverse, _ in self._lists if not np.isnan(diverse)]
        self.figures = {
            "n": len(self._lists),
            "diversity@20": _mean(known),
            **exposure(self._rows(), acts, least),
            "jaccard@20": _mean(self._overlaps),
        }
        return self.figures

    def by_group(self, groups_of: Callable[[int], Sequence[str]]) -> dict[str, dict[str, float]]:
        """Compare what groups of items have of the places in lists, and of the acts that followed.

        Args:
            groups_of: the groups of a catalogue row.

        Returns:
            For each group its shares of both, those with most acts first.
        """
        shown = _shares(self._rows().ravel(), groups_of)
        acted = _shares(np.array([target for _, _, target in self._lists], dtype=np.int64), groups_of)
        names = sorted(shown.keys() | acted.keys(), key=lambda name: (-acted.get(name, 0), name))
        return {name: {"shown": shown.get(name, 0.0), "acted_on": acted.get(name, 0.0)} for name in names}

    def _rows(self) -> Rows:
        return np.stack([rows for rows, _, _ in self._lists]) if self._lists else NO_LISTS.rows


def _mean(values: Sequence[float] | deque[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _shares(rows: Rows, groups_of: Callable[[int], Sequence[str]]) -> dict[str, float]:
    """The share of each group; an item of several groups counts for each of them in part."""
    found, times = np.unique(rows[rows != NO_ITEM], return_counts=True)
    counts = dict[str, float]()
    for row, count in zip(found.tolist(), times.tolist(), strict=True):
        groups = groups_of(row)
        for group in groups:
            counts[group] = counts.get(group, 0.0) + count / len(groups)
    total = sum(counts.values())
    return {group: count / total for group, count in counts.items()}
