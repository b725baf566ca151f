"""Settings of predicted ratings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.base import Config, Count

Variance = Annotated[float, Field(ge=0, le=100)]
Rating = Annotated[float, Field(ge=-1e6, le=1e6)]


class RatingsConfig(Config):
    """[learn.ratings] How ratings are predicted. Variances are in units of that of a rating's noise."""

    lowest: Rating = 0.5
    """The lowest rating that can be given,"""
    highest: Rating = 5.0
    """and the highest. Those beyond count as the nearest that can be given, and none beyond is predicted."""
    history: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Last ratings of a user that are considered; time grows with their cube: 100 take .2 ms."""
    text: Annotated[float, Field(ge=0.01, le=1e6)] = 20.0
    """Ratings that it takes until an item's text says something about them: a ridge penalty."""
    item: Annotated[float, Field(ge=0.01, le=1e6)] = 6.0
    """Ratings of an item that count as much as what its text says of it."""
    remembered: Count = 10_000
    """Last ratings of an item that count, about."""
    lasting: Variance = 0.1
    """Variance of what users always add to their ratings,"""
    mood: Variance = 0.2
    """of what they add for a while,"""
    mood_ratings: Annotated[float, Field(ge=1, le=10_000)] = 20.0
    """which is this many ratings until two have only a share of 1/e in common,"""
    taste: Variance = 0.3
    """and of what they add to items of one text: the more alike two texts are, the more of it they share."""

    @model_validator(mode="after")
    def _is_a_scale(self) -> Self:
        if not self.lowest < self.highest:
            raise ValueError("learn.ratings.lowest must be less than learn.ratings.highest")
        return self
