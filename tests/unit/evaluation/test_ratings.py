"""Errors of predicted ratings, by slice."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.ratings import RatingQuality


def quality(half_life: float | None = None) -> RatingQuality:
    made = RatingQuality(half_life)
    made.add(np.array([1.0, -3.0]), np.array([0, 5]))
    made.add(np.array([2.0]), np.array([1]))
    return made


def test_figures_are_means_over_all_batches() -> None:
    found = quality().report()
    assert list(found["all"]) == pytest.approx([3, 2.0, np.sqrt(14 / 3)])
    assert list(found["first of a user"]) == [1, 1.0, 1.0]


def test_without_ratings_there_are_no_figures() -> None:
    made = RatingQuality()
    assert made.report() == {}
    made.add(np.array([1.0]), np.array([7]))
    assert list(made.report()["first of a user"]) == [0, None, None]


def test_older_errors_count_less() -> None:
    found = quality(half_life=1.0).report()["all"]
    assert found.n == 2.0
    assert found.mae == pytest.approx((0.5 * 4 + 2) / 2)
