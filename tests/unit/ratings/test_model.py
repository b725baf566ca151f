"""A rating follows from what everyone gives and from how the user's own ratings deviate from it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import RatingsConfig
from pipeline.ratings.model import Floats, RatedItems, RatingModel, predicted

CONFIG = RatingsConfig()
HEAD = np.array([3.5, 0.5, 0.0])
ALIKE, OTHER = [1.0, 0.0], [0.0, 1.0]


def rating(contents: list[list[float]], ratings: list[float], config: RatingsConfig = CONFIG) -> float:
    items = RatedItems(np.array(contents), np.zeros(len(contents)))
    return predicted(HEAD, items, np.array(ratings), config)


def test_without_ratings_it_is_what_everyone_gives() -> None:
    items = RatedItems(np.array([ALIKE]), np.array([0.25]))
    assert predicted(HEAD, items, np.zeros(0), CONFIG) == pytest.approx(3.5 + 0.5 + 0.25)


def test_a_user_who_rates_low_is_expected_to() -> None:
    once, often = rating([OTHER, OTHER], [1.0]), rating([OTHER] * 6, [1.0] * 5)
    assert 1 < often < once < rating([OTHER], [])


def test_items_of_like_content_tell_more_than_others() -> None:
    assert rating([ALIKE, OTHER, ALIKE], [5.0, 1.0]) > rating([ALIKE, OTHER, OTHER], [5.0, 1.0]) + 0.5


def test_a_mood_passes() -> None:
    moody = CONFIG.replace(lasting=0.0, taste=0.0, mood=1.0, mood_ratings=1.0)
    contents = [OTHER] * 9
    early, late = [5.0, *[3.5] * 7], [*[3.5] * 7, 5.0]
    assert rating(contents, early, moody) == pytest.approx(3.5, abs=0.01)
    assert rating(contents, late, moody) > 3.6


def test_predictions_and_ratings_stay_within_the_scale() -> None:
    assert rating([ALIKE] * 2, [1e6]) == rating([ALIKE] * 2, [5.0])
    items = RatedItems(np.array([ALIKE]), np.array([40.0]))
    assert predicted(HEAD, items, np.zeros(0), CONFIG) == CONFIG.highest


def test_items_newer_than_the_snapshot_have_no_effect() -> None:
    effects: Floats = RatingModel(HEAD, np.array([0.5, -0.5], dtype=np.float32), CONFIG).effects_of(
        np.array([1, 2, 0])
    )
    assert effects.tolist() == [-0.5, 0.0, 0.5]
