"""Ratings that are beyond the scale: a counter, and one line of the log however many there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from consumers.learn.rating_metrics import RatingMetrics
from pipeline.config import RatingsConfig
from pipeline.events import Interaction, InteractionType
from pipeline.metrics import Series, value_of
from pipeline.ratings.learner import NO_ERRORS, RatingErrors


def ratings(*values: float) -> list[Interaction]:
    return [
        Interaction(
            event_id=str(n), user="u", item="a", type=InteractionType.RATING, value=value, time=1 << 40
        )
        for n, value in enumerate(values)
    ]


def test_ratings_beyond_the_scale_are_counted_and_logged_once(
    exposed: Callable[[], Series], caplog: pytest.LogCaptureFixture
) -> None:
    measured, before = RatingMetrics(RatingsConfig(), 100.0), exposed()
    for batch in (ratings(3), ratings(4, 9), ratings(10, 8), ratings(2)):
        measured.add(batch, NO_ERRORS)
    name = "millstream_ratings_beyond_scale_total"
    assert value_of(exposed(), name) - value_of(before, name) == 3
    (line,) = caplog.messages
    assert line.startswith("1 of 3 ratings are beyond the scale of 0.5 to 5") and name in line


def test_errors_of_ratings_are_measured(exposed: Callable[[], Series]) -> None:
    measured = RatingMetrics(RatingsConfig(), 100.0)
    measured.add(ratings(3, 4), RatingErrors(np.array([1.0, -0.5]), np.array([0, 1])))
    name = "millstream_rating_quality"
    assert value_of(exposed(), name, slice="all", figure="mae") == 0.75
    assert value_of(exposed(), name, slice="first of a user", figure="mae") == 1.0
