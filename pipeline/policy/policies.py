"""The policies of the settings, and how a recorded one is made again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from pipeline.config import PolicyConfig, PolicyParameters
from pipeline.policy.port import Floats, Mask, Policy

REVISION = "1"
"""Rises when a policy of the same parameters would draw differently."""


@dataclass(frozen=True)
class _Parameters:
    """The base of policies, whose fields are their parameters."""

    @property
    def version(self) -> str:
        """The parameters, as text of which `recorded_policy` makes the same policy."""
        return " ".join([REVISION, *(f"{field.name}={getattr(self, field.name)}" for field in fields(self))])


@dataclass(frozen=True)
class Greedy(_Parameters):
    """Shows the best candidates; nothing is drawn."""

    name: ClassVar[str] = "greedy"
    explored_places: ClassVar[int] = 0
    pool: ClassVar[int] = 1

    def probabilities(self, logits: Floats, left: Mask) -> Floats:
        """Return 1 for the best one left."""
        return _best(left)


@dataclass(frozen=True)
class EpsilonGreedy(_Parameters):
    """Gives a place to the best one left, or with probability `epsilon` to any one of the pool."""

    name: ClassVar[str] = "epsilon_greedy"
    explored_places: int
    pool: int
    epsilon: float

    def probabilities(self, logits: Floats, left: Mask) -> Floats:
        """Return the share of each one left."""
        return _with_floor(_best(left), left, self.epsilon)


@dataclass(frozen=True)
class PlackettLuce(_Parameters):
    """Draws a place in proportion to exp(logit / temperature); with probability `epsilon`, from all alike.

    Without `epsilon` a slate has the distribution of the top k of logits / temperature with Gumbel noise
    (Kool et al. 2019). Drawn place by place, it keeps to caps, and has a floor under each propensity.
    """

    name: ClassVar[str] = "plackett_luce"
    explored_places: int
    pool: int
    epsilon: float
    temperature: float

    def probabilities(self, logits: Floats, left: Mask) -> Floats:
        """Return the share of each one left."""
        return _with_floor(_softmax(logits, left, self.temperature), left, self.epsilon)


GREEDY = Greedy()
SHADOW = "greedy"
"""The name under which the best slates are a shadow of every policy that explores."""


def make_shadows(config: PolicyConfig, used: PolicyParameters | None = None) -> dict[str, Policy]:
    """Make the policies whose propensities are recorded beside those of the one that is used.

    `used` is that of an arm; shadows that would show what it never shows are left out.
    """
    covering = used or config
    shadows = {name: shadow for name, shadow in config.shadows.items() if covering.covers(shadow)}
    return {SHADOW: GREEDY, **{name: make_policy(shadow) for name, shadow in shadows.items()}}


def make_policy(config: PolicyParameters) -> Policy:
    """Make the policy that the settings name."""
    match config.name:
        case "greedy":
            return GREEDY
        case "epsilon_greedy":
            return EpsilonGreedy(config.explored_places, config.pool, config.epsilon)
        case "plackett_luce":
            return PlackettLuce(config.explored_places, config.pool, config.epsilon, config.temperature)


def recorded_policy(name: str, version: str) -> Policy:
    """Make the policy that an impression names.

    Raises:
        ValueError: this release has no such policy.

    >>> recorded_policy("epsilon_greedy", "1 explored_places=3 pool=50 epsilon=0.1")
    EpsilonGreedy(explored_places=3, pool=50, epsilon=0.1)
    """
    revision, *parameters = version.split(" ")
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    made = make_policy(PolicyParameters.model_validate({"name": name, **values}))
    if (revision, made.version) != (REVISION, version):
        raise ValueError(f"there is no policy {name} of the version {version!r}")
    return made


def _best(left: Mask) -> Floats:
    """One for the first candidate left, as they are best first."""
    best: Floats = (np.arange(left.shape[-1]) == left.argmax(axis=-1)[..., None]).astype(np.float64)
    return best


def _softmax(logits: Floats, left: Mask, temperature: float) -> Floats:
    among = np.where(left, logits, -np.inf)
    top = among.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities that are equal, and those that become so
        weights = np.exp((among - top) / temperature)
    weights = np.where(among == top, left, weights)
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _with_floor(probabilities: Floats, left: Mask, epsilon: float) -> Floats:
    """Draw uniformly with probability `epsilon`."""
    mixed: Floats = (1 - epsilon) * probabilities + left * (epsilon / left.sum(axis=-1, keepdims=True))
    return mixed
