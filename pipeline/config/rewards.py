"""Settings of rewards: what came of an answer, and what it is worth."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.base import Config, Count

Worth = Annotated[float, Field(ge=-1e6, le=1e6)]
Minutes = Annotated[float, Field(gt=0, le=7 * 24 * 60)]


class RewardsConfig(Config):
    """[rewards] What an act on a shown item is worth.

    An act belongs to the impression that it names, or else to the latest one that showed its user the item.
    A reward that was sent for an impression (`POST /v1/events/{id}/reward`) is worth its value.
    """

    view: Worth = 0.1
    """Worth of a view."""
    click: Worth = 1.0
    """Worth of a click."""
    cart: Worth = 3.0
    """Worth of an item put into the cart."""
    purchase: Worth = 10.0
    """Worth of a purchase."""
    rating_threshold: Worth = 3.0
    """A rating is worth as much as its value is above this one; without a value it is worth nothing."""
    like: Worth = 2.0
    """Worth of a like."""
    dislike: Worth = -5.0
    """Worth of a dislike."""
    skip: Worth = -0.5
    """Worth of a skip."""
    returned: Worth = -10.0
    """Worth of a return."""
    minutes: Minutes = 30.0
    """Minutes by the log's clock after which an act is no longer put down to an impression."""
    least: Worth = -10.0
    """Reward of one answer, all its acts together, at least: what would take it below is not counted.
    Intervals are the narrower the nearer this and `most` are."""
    most: Worth = 20.0
    """Reward of one answer at most."""
    open_impressions: Count = 100_000
    """Impressions that wait for acts at the same time; beyond them, the oldest ones wait no longer. Each
    takes some 3 kB."""

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.least >= self.most:
            raise ValueError(f"rewards.least ({self.least}) must be below rewards.most ({self.most})")
        if not self.least <= 0 <= self.most:
            raise ValueError(
                f"rewards.least ({self.least}) to rewards.most ({self.most}) must have 0 in it, which an "
                "answer without acts earns"
            )
        return self
