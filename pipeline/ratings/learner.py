"""The learner: predicts each new rating from what came before it, then learns it.

A user's ratings are whitened by their covariance, so that what everyone gives is learned by generalised
least squares: a user who rates everything high, or hundreds of items, does not count as many users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from pipeline.config import RatingsConfig
from pipeline.ratings.acts import UserRatings
from pipeline.ratings.model import Floats, RatedItems, covariance, noisy_factor
from pipeline.state.growing import ChangedRows, GrowingArray
from pipeline.value.checks import check_names, read_array
from pipeline.value.port import Arrays

Rows = NDArray[np.int64]
LARGEST = 1e12
"""Of a sum in a state."""
FIRST = 1.0
"""Penalty of the constant: it is known after some ratings."""
USUAL = 2 / 3
"""Where the constant begins, between the lowest rating and the highest: most people rate what they like."""


class RatingErrors(NamedTuple):
    """Predictions of m new ratings minus the ratings.

    Attributes:
        errors: ``[m]``, no larger than the scale is wide: one rating far beyond it must not hide all others.
        known: ``[m]`` how many ratings of the user were known before.
    """

    errors: Floats
    known: Rows


NO_HEAD = np.zeros(0, dtype=np.float32)
NO_ERRORS = RatingErrors(np.zeros(0), np.zeros(0, dtype=np.int64))


class RatingLearner:
    """What everyone gives n items: a head over content of width d, and an effect of each item.

    Attributes:
        config: the settings.
        learned: number of ratings learned.
        errors: of the ratings of the last batch.
    """

    def __init__(self, config: RatingsConfig, width: int) -> None:
        self.config = config
        self.learned = 0
        self.errors = NO_ERRORS
        self._usual = config.lowest + USUAL * (config.highest - config.lowest)
        self._moments = np.zeros((width + 2, width + 2))
        self._sums, self._counts = GrowingArray[np.float64](np.float64), GrowingArray[np.float64](np.float64)
        self._changed = ChangedRows()
        self._head: Floats | None = None

    @property
    def head(self) -> Floats:
        """Constant and weights, ``[1 + d]``; solved for when it is needed first after a batch."""
        if self._head is None:
            self._head = self._fitted()
        return self._head

    def grow(self, size: int) -> None:
        """Extend to `size` items; of new ones, nothing but the content is known."""
        for array in (self._sums, self._counts, self._changed):
            array.grow(size)

    def effects(self, rows: Rows) -> Floats:
        """Return what items ``[k]`` add to what their content says: their mean residual, shrunk."""
        found: Floats = self._sums.values[rows] / (self._counts.values[rows] + self.config.item)
        return found

    def learn(self, batch: Iterable[UserRatings], content: Callable[[Rows], Floats]) -> None:
        """Predict the new ratings of a batch, then learn them; `content` gathers vectors of rows."""
        found = [self._tested(ratings, content(ratings.rows)) for ratings in batch]
        self.errors = _joined([errors for errors, _, _ in found])
        for _, rows, residuals in found:
            np.add.at(self._sums.values, rows, residuals)
            np.add.at(self._counts.values, rows, 1)
            self._forget(rows)
            self._changed.add(rows)
        if found:
            self.learned += len(self.errors.errors)
            self._head = None

    def _tested(self, ratings: UserRatings, content: Floats) -> tuple[RatingErrors, Rows, Floats]:
        """Predict a user's new ratings; return rows and residuals from which their effects are learned.

        The factor of the first k ratings is a part of that of all, so one is enough to predict each rating
        from those before it. The moments take in the whitened ratings here, and the head changes later.
        """
        rows, new, config = ratings.rows, ratings.first_new, self.config
        items = RatedItems(content, self.effects(rows))
        values = np.clip(ratings.values, config.lowest, config.highest)
        expected, factor = items.expected(self.head), noisy_factor(covariance(content, config))
        design = np.column_stack([np.ones(len(rows)), content, values - self._usual, values - expected])
        whitened = solve_triangular(factor, design, lower=True, check_finite=False)[new:]
        self._moments += whitened[:, :-1].T @ whitened[:, :-1]
        surprises = factor.diagonal()[new:] * whitened[:, -1]
        predictions = np.clip(values[new:] - surprises, config.lowest, config.highest)
        known = ratings.known + np.arange(len(rows) - new)
        width = config.highest - config.lowest
        errors = RatingErrors(np.clip(predictions - ratings.values[new:], -width, width), known)
        once = _first_of_each(rows, new)
        return errors, rows[once], (surprises + items.effects[new:])[once - new]

    def _forget(self, rows: Rows) -> None:
        """Let older ratings of items count less, where there are more than are remembered."""
        most = self.config.remembered
        full = rows[self._counts.values[rows] > most]
        self._sums.values[full] *= most / self._counts.values[full]
        self._counts.values[full] = most

    def _fitted(self) -> Floats:
        """Solve for the head."""
        size = len(self._moments) - 1
        penalties = np.diag([FIRST, *[self.config.text] * (size - 1)])
        factor = cho_factor(self._moments[:-1, :-1] + penalties, check_finite=False)
        head: Floats = cho_solve(factor, self._moments[:-1, -1], check_finite=False)
        head[0] += self._usual
        return head

    def model(self) -> NDArray[np.float32]:
        """Return a copy of the head, for a snapshot; empty before the first rating."""
        return self.head.astype(np.float32) if self.learned else NO_HEAD

    def take_changed(self) -> Rows:
        """Return the rows whose effects changed since they were last taken, ascending."""
        return self._changed.take()

    def rated_rows(self) -> Rows:
        """Return the rows of all items that were rated, ascending."""
        return np.flatnonzero(self._counts.values)

    def state(self) -> Arrays:
        """Return copies of the whole state, for a checkpoint; none before the first rating."""
        if not self.learned:
            return {}
        return {
            "moments": self._moments.copy(),
            "sums": self._sums.values.copy(),
            "counts": self._counts.values.copy(),
            "learned": np.array([self.learned]),
        }

    def load(self, state: Arrays, size: int) -> None:
        """Restore a new learner's state, of `size` items.

        Raises:
            ValueError: it is of other sizes, not finite, or no state.
        """
        self.grow(size)
        if not state:
            return
        check_names(state, {"moments", "sums", "counts", "learned"})
        moments = read_array(state, "moments", self._moments.shape, np.float64)
        sums, counts = (read_array(state, name, (size,), np.float64) for name in ("sums", "counts"))
        learned = int(read_array(state, "learned", (1,), np.int64)[0])
        if max(np.abs(moments).max(), np.abs(sums).max(initial=0), counts.max(initial=0), learned) > LARGEST:
            raise ValueError("a sum of ratings is out of range")
        if not np.allclose(moments, moments.T) or (moments.diagonal() < 0).any():
            raise ValueError("moments of ratings are no sums of products")
        if (counts < 0).any() or learned < 1:
            raise ValueError("a count of ratings is negative")
        self._moments, self.learned = moments, learned
        self._sums.load(sums)
        self._counts.load(counts)
        self._head = None


def _first_of_each(rows: Rows, new: int) -> Rows:
    """Return the indices, ascending, of new ratings of items that were not rated before them."""
    _, first = np.unique(rows, return_index=True)
    return np.sort(first[first >= new])


def _joined(parts: list[RatingErrors]) -> RatingErrors:
    return RatingErrors(*map(np.concatenate, zip(*parts, strict=True))) if parts else NO_ERRORS
