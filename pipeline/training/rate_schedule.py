"""How a learning rate goes on from step to step: a warm-up, then constant or falling."""

from __future__ import annotations

import math

from pipeline.config import OptimizerConfig


def share_of_rate(config: OptimizerConfig, steps: int) -> float:
    """Return the share of the rate with which the next step is taken, after so many."""
    risen = min(1.0, (steps + 1) / (config.warm_up_steps + 1))
    done = min(1.0, max(0, steps - config.warm_up_steps) / config.decay_steps)
    fallen = {"constant": 0.0, "linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2}
    return risen * (1 - (1 - config.least) * fallen[config.schedule])
