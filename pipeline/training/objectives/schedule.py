"""How the share of the unsupervised objective changes as the stream goes on."""

from __future__ import annotations

from pipeline.config import ObjectiveConfig


def alpha_after(events: int, config: ObjectiveConfig) -> float:
    """Return α after so many events of the stream.

    >>> alpha_after(25, ObjectiveConfig(alpha=0.5, schedule="linear", schedule_events=100))
    0.375
    >>> alpha_after(200, ObjectiveConfig(alpha=0.5, schedule="exponential", schedule_events=100))
    0.125
    """
    passed = events / config.schedule_events
    match config.schedule:
        case "constant":
            return config.alpha
        case "linear":
            return config.alpha * max(0.0, 1 - passed)
        case "exponential":
            halved: float = 0.5**passed
            return config.alpha * halved
