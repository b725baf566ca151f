"""Settings of the policy: how a slate is made of what was scored."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Config, Hours, Share

PolicyName = Literal["greedy", "epsilon_greedy", "plackett_luce", "thompson", "dqn"]
BY_VALUE = frozenset({"thompson", "dqn"})
"""The policies that rank by values; each needs the learner of its name."""


class PolicyParameters(Config):
    """[policy.shadows.name] A policy that is not used, and evaluated from what the one that is used shows."""

    name: PolicyName = "greedy"
    """`greedy` shows the best items. `epsilon_greedy` gives an explored place to the best item left, or with
    probability `epsilon` to any of the pool. `plackett_luce` draws each in proportion to
    exp(logit / temperature), or with probability `epsilon` from the pool alike. `thompson` and `dqn` give it
    to the item that the learner of this name in `value.learners` values most, or with probability `epsilon`
    to any of the pool; they need that learner, and rank by the model until it has learned."""
    explored_places: Annotated[int, Field(ge=1, le=200)] = 3
    """Places of a slate that are drawn, from the top; the rest is greedy. Those that rules pin are not."""
    pool: Annotated[int, Field(ge=2, le=1_000)] = 100
    """Best items among which places are drawn, after filters, boosts, buries, pins and the request's own
    limits."""
    epsilon: Share = 0.05
    """Probability that an explored place is drawn from the pool alike. It is a floor under all propensities:
    whatever the model thinks of an item, it is shown now and then."""
    temperature: Annotated[float, Field(ge=0.001, le=1_000)] = 0.5
    """Of `plackett_luce`: 1 shows an item as often as the model expects an act on it, less is nearer to
    greedy, more nearer to uniform."""

    def covers(self, other: PolicyParameters) -> bool:
        """Whether whatever another policy shows has a propensity above 0 under this one."""
        draws_all = self.name == "plackett_luce" or (self.name != "greedy" and self.epsilon > 0)
        if other.name == "greedy":
            return draws_all or self.name not in BY_VALUE
        return draws_all and other.explored_places <= self.explored_places and other.pool <= self.pool


class ArmConfig(PolicyParameters):
    """[policy.arms.name] The policy of a share of the users."""

    share: Annotated[float, Field(gt=0, le=0.95)]
    """Share of the users. Those that no arm takes are the control, which gets `[policy]`."""


PolicyLabel = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class PolicyConfig(PolicyParameters):
    """[policy] How a server makes a slate of what it has scored.

    Answers are explored that are written to the log as impressions, with what the policy did.
    """

    shadows: Annotated[dict[PolicyLabel, PolicyParameters], Field(max_length=8)] = {}
    """Policies that are not used: impressions say how probable their items would have been under each, so
    that `millstream policy evaluate` can tell what it would have earned. `greedy` is always one."""
    experiment: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """Name of the experiment that `arms` are of. Which arm a user is in follows from it: give the next one
    another name, also if only shares change."""
    experiment_hours: Hours = 24.0
    """Hours after a user's first answer in the experiment whose answers count. Then the user is compared.
    With `rewards.minutes` they are at most `log.retention_hours`."""
    arms: Annotated[dict[PolicyLabel, ArmConfig], Field(max_length=8)] = {}
    """Policies of shares of the users. `millstream experiment report` compares them with the control. None is
    called as a shadow, nor `greedy`, `control` or `none`."""

    @property
    def share_of_arms(self) -> float:
        """Share of the users that are not the control."""
        return round(sum(arm.share for arm in self.arms.values()), 9)  # .05 and .9 are .9500000000000001

    @model_validator(mode="after")
    def _shows_what_shadows_would(self) -> Self:
        for name, shadow in self.shadows.items():
            if name == "greedy":
                raise ValueError("shadows.greedy is always there: give yours another name")
            if not self.covers(shadow):
                raise ValueError(
                    f"shadows.{name} would show what policy.name = {self.name!r} never shows, so nothing "
                    "could be said about it: it may draw no more explored_places, from no larger pool, and "
                    "the policy that is used must be plackett_luce, or another one with an epsilon above 0"
                )
        return self

    @model_validator(mode="after")
    def _leaves_a_control(self) -> Self:
        if "control" in self.arms:
            raise ValueError("arms.control is always there, with [policy]: give yours another name")
        if "none" in self.arms:
            raise ValueError("arms.none would be taken for no experiment in metrics: give it another name")
        if shared := sorted(self.arms.keys() & {"greedy", *self.shadows}):
            raise ValueError(
                f"arms.{shared[0]} and shadows.{shared[0]} have one name, so nobody could tell which one "
                "`millstream policy promote` means: give one of them another"
            )
        if self.arms and not self.experiment:
            raise ValueError("arms need the name of an experiment: set policy.experiment")
        if self.share_of_arms > 0.95:
            raise ValueError("the control must keep at least .05 of the users: lessen the shares of the arms")
        return self
