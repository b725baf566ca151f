"""Settings of values: what it is worth to show an item, learned from what was shown and what came of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Config, Count, CountOrNone, Rate, Share, Weight
from pipeline.config.rewards import Minutes

ValueName = Literal["thompson", "dqn"]


class ThompsonConfig(Config):
    """[value.thompson] Bayesian linear regression of an item's reward, with forgetting."""

    half_life: Count = 10_000
    """Decisions after which one counts half. The shorter, the sooner a change of taste is followed, and the
    more is explored for ever."""
    ridge: Annotated[float, Field(ge=0.01, le=1e6)] = 30.0
    """How many rows of data the prior is worth, which says that no feature matters. It is not forgotten."""
    kept_in_decline: Share = 0.0
    """Share that is kept of what was learned before rewards fell clearly below what was expected, as after a
    change of taste, so that what is unsure is tried again; 1 keeps all. What was learned since they began to
    fall is kept in any case."""
    exploration: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Factor of the standard deviation of samples: 1 samples what is believed, less explores less."""
    draws: Annotated[int, Field(ge=1, le=1_000)] = 32
    """Samples of an answer; what a policy shows is as probable as it is best among them."""


class EpisodeConfig(Config):
    """[value.dqn.episodes] How decisions of a user become an episode."""

    session_minutes: Minutes = 30.0
    """Minutes by the log's clock between two decisions for a user that end a session, and its value."""
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """What a reward is worth one decision later."""
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    """Decisions whose rewards are summed before the rest is estimated. More learn faster, and put down to
    the first decision what later ones, which may have been explored, have lost."""
    users: Count = 100_000
    """Users whose sessions are open at the same time; beyond them, the one seen longest ago is closed."""


class TransitionConfig(Config):
    """[value.dqn.replay] Decisions that are learned again."""

    decisions: Annotated[int, Field(ge=16, le=10_000_000)] = 20_000
    """Decisions that are kept, some 2 kB each. One whose successor comes later than so many others is left
    out, so keep more where many users are served at the same time."""
    actions: Annotated[int, Field(ge=1, le=1_000)] = 24
    """Items of a decision that are kept: consumed ones first, then others shown, then others that could have
    been, of which an impression has 13."""
    batch: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Decisions in an update."""
    priority: Share = 0.0
    """Exponent of a decision's last error in the probability of being drawn: 0 draws all alike."""


class DqnConfig(Config):
    """[value.dqn] Deep Q-learning of slates, decomposed into items (SlateQ)."""

    width: Annotated[int, Field(ge=1, le=4_096)] = 64
    """Units of each of the two hidden layers."""
    rate: Rate = 1e-3
    """Learning rate of Adam at first."""
    last_rate: Share = 0.1
    """Share of the rate that is left after `rate_updates`, for ever."""
    rate_updates: Count = 20_000
    """Updates over which the rate falls linearly."""
    clip: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Largest norm of a gradient; longer ones are shortened to it."""
    huber: Annotated[float, Field(gt=0, le=1e6)] = 5.0
    """Error above which the loss is linear, in standard deviations of a slate's reward. The lower, the more
    are rare high rewards, such as purchases, undervalued."""
    target_step: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share by which the target network moves towards the learned one in an update."""
    conservatism: Weight = 0.1
    """Weight of the penalty on values of items that were not shown (CQL)."""
    slate: Annotated[int, Field(ge=1, le=200)] = 10
    """Items that are shown at once, where a server asks for values."""
    decisions_per_update: Count = 4
    """Decisions that are learned for each update."""
    most_updates: Count = 2
    """Updates of a batch at most, however many decisions it has; they bound what a batch costs. Others that
    are due are made up for in later batches, as long as the replay keeps their decisions."""
    warm_up: CountOrNone = 500
    """Decisions before the first update."""
    first_epsilon: Share = 0.3
    """Probability of a uniform draw at first."""
    last_epsilon: Share = 0.02
    """Probability of a uniform draw after `epsilon_decisions`, for ever."""
    epsilon_decisions: Count = 20_000
    """Decisions over which it falls linearly."""
    episodes: EpisodeConfig = EpisodeConfig()
    replay: TransitionConfig = TransitionConfig()


class ValueConfig(Config):
    """[value] What learns, in the learner's process, the worth of showing an item."""

    learners: Annotated[tuple[ValueName, ...], Field(max_length=2)] = ()
    """`thompson` learns the reward of an item, with its uncertainty; `dqn` learns the rewards that follow in
    the session, too."""
    least_decisions: CountOrNone = 500
    """Decisions that are learned before values are published; until then, what ranks by them ranks by the
    model."""
    decisions_of_user: Count = 100
    """Decisions of one user in a batch that are learned; more are a flood."""
    thompson: ThompsonConfig = ThompsonConfig()
    dqn: DqnConfig = DqnConfig()

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if len(set(self.learners)) < len(self.learners):
            raise ValueError("learners names one of them twice")
        return self
