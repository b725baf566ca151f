"""Settings of the policy: how a slate is made of what was scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Config, Share

PolicyName = Literal["greedy", "epsilon_greedy", "plackett_luce"]


class PolicyConfig(Config):
    """[policy] How a server makes a slate of what it has scored.

    Answers are explored that are written to the log as impressions, with what the policy did.
    """

    name: PolicyName = "greedy"
    """`greedy` shows the best items. `epsilon_greedy` gives an explored place to the best item left, or with
    probability `epsilon` to any of the pool. `plackett_luce` draws each in proportion to
    exp(logit / temperature), or with probability `epsilon` from the pool alike."""
    explored_places: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Places of a slate that are drawn, from the top; the rest is greedy. Those that rules pin are not."""
    pool: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Best items among which places are drawn, after filters, boosts, buries, pins and the request's own
    limits. Each explored place costs some microseconds for a hundred of them."""
    epsilon: Share = 0.05
    """Probability that an explored place is drawn from the pool alike. It is a floor under all propensities:
    whatever the model thinks of an item, it is shown now and then."""
    temperature: Annotated[float, Field(ge=0.001, le=1_000)] = 1.0
    """Of `plackett_luce`: 1 shows an item as often as the model expects an act on it, less is nearer to
    greedy, more nearer to uniform."""
