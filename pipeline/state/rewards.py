"""Rewards: what an act is worth."""

from __future__ import annotations

from pipeline.config import RewardsConfig
from pipeline.events import Interaction, InteractionType


def reward_id(impression: str) -> str:
    """Return the id of the event of a reward that was sent for an impression.

    >>> reward_id("5f0c")
    'reward-5f0c'
    """
    return f"reward-{impression}"


def reward_of(act: Interaction, config: RewardsConfig) -> float:
    """Return what an act is worth."""
    if act.impression is not None and act.event_id == reward_id(act.impression):
        return act.value or 0.0
    match act.type:
        case InteractionType.RATING:
            return 0.0 if act.value is None else act.value - config.rating_threshold
        case InteractionType.RETURN:
            return config.returned
        case _:
            worth: float = getattr(config, act.type.value)
            return worth
