"""Doubts: what of the data keeps the figures of a backtest from saying what they seem to say."""

from __future__ import annotations

from pipeline.evaluation.lists import CUTOFF, Figures

MOST_CAPPED = 0.1
"""Up to this share of the acts, caps cut what a few busy users do; beyond it, they shape the figures."""
LEAST_ACTS = 100
"""Acts below which nothing is said."""


class CappedActs:
    """Counts the acts that count less, because their users had reached a cap."""

    def __init__(self) -> None:
        self._n = self._capped = 0

    def add(self, acts: int, capped: int) -> None:
        """Add the numbers of acts of a batch, and of those among them that a cap has reduced."""
        self._n, self._capped = self._n + acts, self._capped + capped

    def warning(self) -> str | None:
        """Say that caps reduced many acts, and which settings would not; None if they did not."""
        if self._n < LEAST_ACTS or self._capped <= MOST_CAPPED * self._n:
            return None
        return (
            f"{self._capped:,} of {self._n:,} acts count less, because their users had reached "
            "signals.user_cap, or signals.item_cap on one item: those beyond item_cap are neither scored nor "
            "learned, and are missing from n. If a few users did most of them, see whether these are people; "
            "if people act on the same items again and again, as with music, raise signals.item_cap"
        )


def small_catalogue(items: int) -> str | None:
    """Say that lists are as long as the catalogue; None if they are not."""
    if items > CUTOFF:
        return None
    return (
        f"a list of {CUTOFF} has room for all the items that are known, {items}, so that every hr@{CUTOFF} "
        "is 1 and says nothing: compare by MRR, NDCG and log-loss"
    )


def no_lists(lists: Figures, events: int, one_in: int) -> str | None:
    """Say why there are no figures of lists, which one user in so many has; None if there are some."""
    if lists["n"] or events < LEAST_ACTS:
        return None
    return (
        f"there are no figures of lists: they are of one user in {one_in}, chosen by a hash of the id, and "
        "none of these users is chosen: they need some dozens of users with several acts"
    )
