"""Ratings on another scale than the settings say are counted, and the settings that fit are named."""

from __future__ import annotations

import pytest

from pipeline.config import RatingsConfig, SignalsConfig
from pipeline.events import Interaction, InteractionType
from pipeline.ratings.scale import PositiveActs, RatingScale


def rated(*values: float | None, type: InteractionType = InteractionType.RATING) -> list[Interaction]:
    return [
        Interaction(event_id=str(n), user="u", item="a", type=type, value=value, time=1_700_000_000_000 + n)
        for n, value in enumerate(values)
    ]


def test_ratings_on_the_scale_are_no_warning() -> None:
    scale = RatingScale(RatingsConfig())
    assert scale.add(rated(0.5, 5.0, None)) == 0
    assert scale.add(rated(80.0, type=InteractionType.PURCHASE)) == 0
    assert (scale.n, scale.warning()) == (2, None)


@pytest.mark.parametrize(
    ("values", "beyond", "settings"),
    [
        (
            (1, 10, 6, 4),
            2,
            "learn.ratings.lowest = 1, learn.ratings.highest = 10, signals.rating_threshold = 6, "
            "signals.rating_span = 4, rewards.rating_threshold = 6",
        ),
        (
            (0, 100),
            2,
            "learn.ratings.lowest = 0, learn.ratings.highest = 100, signals.rating_threshold = 55.6, "
            "signals.rating_span = 44.4, rewards.rating_threshold = 55.6",
        ),
        (
            (-1, 1),
            1,
            "learn.ratings.lowest = -1, learn.ratings.highest = 1, signals.rating_threshold = 0, "
            "signals.rating_span = 1, rewards.rating_threshold = 0",
        ),
        ((70, 90), 2, "learn.ratings.lowest = 70, learn.ratings.highest = 90"),
        ((8,), 1, "learn.ratings.lowest and learn.ratings.highest to the scale of the data"),
    ],
)
def test_what_is_beyond_the_scale_is_said_with_the_settings_that_fit(
    values: tuple[float, ...], beyond: int, settings: str
) -> None:
    scale = RatingScale(RatingsConfig())
    assert scale.add(rated(*values)) == beyond
    warning = scale.warning() or ""
    assert warning.startswith(f"{beyond} of {len(values)} ratings are beyond the scale of 0.5 to 5")
    assert settings in warning
    assert "learn.ratings.highest to the scale of the data" in (scale.warning(least=len(values) + 1) or "")


@pytest.mark.parametrize(
    ("events", "remedy"),
    [
        (
            rated(0.2, 1.0),
            "reach from 0.2 to 1, and signals.rating_threshold is 3: set it between them",
        ),
        (rated(-1.0, 2.0), "such as signals.rating_threshold = 0 with signals.rating_span = 2"),
        (rated(2.0), "The ratings reach from 2 to 2, and signals.rating_threshold is 3: set it lower"),
        (
            rated(None, type=InteractionType.SKIP),
            "Raise the weight in [signals] of what people do here",
        ),
    ],
)
def test_acts_of_which_none_is_good_are_said_with_the_settings_that_fit(
    events: list[Interaction], remedy: str
) -> None:
    acts = PositiveActs(SignalsConfig())
    acts.add(events)
    warning = acts.warning() or ""
    assert warning.startswith(f"none of {len(events)} acts says anything good of its item")
    assert remedy in warning
    assert acts.warning(least=3) is None, "too few to say so"
    acts.add(rated(4.0))
    assert (acts.positive, acts.warning()) == (1, None)
