"""Settings of signals: what an act says about its item, and how much one user may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Config, Count, Hours

Signed = Annotated[float, Field(ge=-16, le=16)]
NotNegative = Annotated[float, Field(ge=0, le=16)]
NotPositive = Annotated[float, Field(ge=-16, le=0)]


class SignalsConfig(Config):
    """[signals] What an act says about its item.

    An act of positive weight is learned, counted and read. One of negative weight lowers the item for its
    user, and does nothing else. One of weight 0 does nothing. Weights are rounded to 64ths, so that sums of
    counts are exact. A change opens a new generation; servers take the weights from the snapshot.
    """

    view: Signed = 1.0
    """Weight of a view."""
    click: Signed = 1.0
    """Weight of a click."""
    cart: Signed = 1.0
    """Weight of an item put into the cart."""
    purchase: Signed = 1.0
    """Weight of a purchase."""
    like: NotNegative = 1.0
    """Weight of a like."""
    rating: NotNegative = 1.0
    """Weight of a rating that is `rating_span` above the threshold; one as far below it has the negative."""
    rating_threshold: Annotated[float, Field(ge=-1e6, le=1e6)] = 3.0
    """The rating that is neither good nor bad. A rating without a value counts as this one."""
    rating_span: Annotated[float, Field(gt=0, le=1e6)] = 2.0
    """Distance from the threshold at which a rating has its full weight; a nearer one has a part of it."""
    dislike: NotPositive = -1.0
    """Weight of a dislike."""
    skip: NotPositive = -0.25
    """Weight of a skip."""
    returned: NotPositive = -1.0
    """Weight of a return, which also takes back what the user's last purchase of the item added."""
    item_cap: Count = 10
    """Weight that one user may add to the shared counts of one item within the last three quarters of the
    kept history; acts beyond it are neither counted nor learned."""
    user_cap: Count = 150
    """Weight that one user may add to all shared counts within `user_hours`, by event time; acts beyond it
    are learned but not counted. More than three quarters of `learn.stream.history_length` has no effect."""
    user_hours: Hours = 24.0
    """Hours before an act in which its user's other acts count towards `user_cap`."""
