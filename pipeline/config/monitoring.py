"""Settings of drift detection and of the regression guard."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Config, Count, CountOrNone

Nats = Annotated[float, Field(ge=0, le=100)]
Chance = Annotated[float, Field(gt=0, lt=1)]
Action = Literal["log", "retrain"]
InARow = Annotated[int, Field(ge=1, le=100)]


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
    """Clusters of similar items; acts on items without content are left out. Nothing is watched until there
    are as many items with different content."""
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
    in_a_row: InARow = 2
    """Requests that may follow each other without help; then nothing is requested until a person promotes a
    candidate or orders a rollback. A promotion that survives its probation has helped."""
    calm_events: Count = 40_000
    """Events without an alarm after which the next request is the first of another row."""
    episode_events: Count = 4_000
    """Events without a change of a signal after which the next change is another alarm."""
    warm_up_events: CountOrNone = 4_000
    """Events before the first alarm: a young learner improves by leaps."""
    lead: RiseConfig = RiseConfig()
    loss: RiseConfig = RiseConfig()
    first_of_basket: RiseConfig = RiseConfig(block=8, least=0.05)
    content: ContentConfig = ContentConfig()


FEWEST_ALIKE = 32
"""Events of a kind in the guard's reference without which events of that kind are not compared."""


class GuardConfig(Config):
    """[guard] The regression guard: what counts as a fall, and how often it may lead to a rollback."""

    rollback: bool = True
    """Whether a fall of what serves, by its own fault, leads to an automatic rollback."""
    warm_up_events: CountOrNone = 3_000
    """Scored events before the first rollback: model and covisitation have to warm up."""
    cooldown_events: CountOrNone = 4_000
    """Scored events between two rollbacks."""
    in_a_row: InARow = 2
    """Rollbacks that may follow each other without help; then nothing is rolled back until a person promotes
    a candidate or orders a rollback."""
    calm_events: Count = 20_000
    """Scored events without a fall after which the next rollback is the first of another row."""
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
    """Smallest fall in nats that leads to anything, both of the mixture above chance on like events and of
    its lead over covisitation."""
    level: Chance = 1e-5
    """Chance of so clear a fall by luck, in one test."""

    @model_validator(mode="after")
    def _can_find_a_fall(self) -> Self:
        if self.fewest > self.reference:
            fault = f"fewest ({self.fewest}) is more than reference ({self.reference})"
            raise ValueError(f"{fault}, so that no fall would ever be found: lower it")
        if (events := self.block * self.reference) < FEWEST_ALIKE:
            fault = f"block × reference ({events}) is less than {FEWEST_ALIKE} events to compare with"
            raise ValueError(f"{fault}, so that no fall would ever be found: raise one of them")
        for name, blocks in (("reference", self.reference), ("recent", self.recent)):
            if blocks == 1:
                raise ValueError(f"{name} (1) is one block, so that no fall would ever be found: raise it")
        compared = max(self.first, 2)
        if self.probation <= compared:
            fault = f"probation ({self.probation}) is over when its first {compared} blocks are there"
            raise ValueError(f"{fault}, so that no promotion would ever be compared: raise it")
        return self
