"""Settings of drift detection and of the regression guard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Config, Count, CountOrNone

Nats = Annotated[float, Field(ge=0, le=100)]
Chance = Annotated[float, Field(gt=0, lt=1)]
Action = Literal["log", "retrain"]


class RiseConfig(Config):
    """[drift.<signal>] What counts as a rise of a signal."""

    block: Count = 32
    """Values in a block mean; single acts of one basket are correlated."""
    delta: Chance = 0.01
    """ADWIN's confidence parameter; smaller is stricter."""
    unit: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    """What ADWIN takes as the range of a mean. Its bound holds for any values within a range; block means
    are nearly normal, and a unit of about their standard deviation leaves the part of the bound that is
    for normal values."""
    least: Nats = 0.1
    """Smallest rise that raises an alarm."""
    longest: Count = 256
    """Blocks that are remembered at least, up to twice as many."""


class ContentConfig(Config):
    """[drift.content] How the content of what is acted on is watched."""

    clusters: Annotated[int, Field(ge=2, le=1_024)] = 16
    """Clusters of similar items; items without content have one more to themselves."""
    block: Count = 250
    """Acts between two comparisons."""
    reference: Count = 16
    """Blocks that say what is usual."""
    recent: Count = 4
    """Blocks that are compared with them."""
    threshold: Annotated[float, Field(gt=0, le=100)] = 0.13
    """Population stability index above which an alarm is raised."""


class DriftConfig(Config):
    """[drift] What is watched, how closely, and what an alarm leads to."""

    action: Action = "log"
    """`log`: an alarm is a record of the control topic; `retrain`: a request for a retrain as well."""
    cooldown_events: CountOrNone = 10_000
    """Events between two requests."""
    warm_up_events: CountOrNone = 4_000
    """Events before the first alarm: a young learner improves by leaps."""
    lead: RiseConfig = RiseConfig()
    loss: RiseConfig = RiseConfig()
    first_of_basket: RiseConfig = RiseConfig(block=8, least=0.05)
    content: ContentConfig = ContentConfig()


class GuardConfig(Config):
    """[guard] The regression guard: which blocks of events are compared, and what counts as a fall."""

    rollback: bool = True
    """Whether a fall behind the covisitation baseline leads to an automatic rollback."""
    block: Count = 32
    """Events in a block."""
    reference: Count = 128
    """Blocks that say what is usual, at most."""
    fewest: Count = 32
    """Blocks that say what is usual, at least."""
    recent: Count = 16
    """Blocks that are compared with them at any time."""
    first: Count = 4
    """Blocks after a promotion before anything is compared."""
    probation: Count = 128
    """Blocks after a promotion that are compared with those before it."""
    least: Nats = 0.2
    """Smallest fall in nats that leads to anything."""
    level: Chance = 1e-5
    """Chance of so clear a fall by luck, in one test."""
