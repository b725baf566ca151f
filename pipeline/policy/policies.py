"""The policies of the settings, and how a recorded one is made again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np

from pipeline.config import PolicyConfig, PolicyParameters
from pipeline.policy.port import Floats, Mask, Policy

LOWEST = np.finfo(np.float64).min
REVISION = "1"
"""Rises when a policy of the same parameters would draw differently."""


@dataclass(frozen=True)
class _Parameters:
    """The base of policies, whose fields are their parameters."""

    @cached_property
    def version(self) -> str:
        """The parameters, as text of which `recorded_policy` makes the same policy."""
        return " ".join([REVISION, *(f"{field.name}={getattr(self, field.name)}" for field in fields(self))])


@dataclass(frozen=True)
class Greedy(_Parameters):
    """Shows the best candidates; nothing is drawn."""

    name: ClassVar[str] = "greedy"
    explored_places: ClassVar[int] = 0
    pool: ClassVar[int] = 1
    ranks_by: ClassVar[str | None] = None

    def probabilities(self, scores: Floats, left: Mask) -> Floats:
        """Return 1 for the best one left."""
        return _best(left)


@dataclass(frozen=True)
class EpsilonGreedy(_Parameters):
    """Gives a place to the best one left, or with probability `epsilon` to any one of the pool."""

    name: ClassVar[str] = "epsilon_greedy"
    ranks_by: ClassVar[str | None] = None
    explored_places: int
    pool: int
    epsilon: float

    def probabilities(self, scores: Floats, left: Mask) -> Floats:
        """Return the share of each one left."""
        return _with_floor(_best(left), left, self.epsilon)


@dataclass(frozen=True)
class PlackettLuce(_Parameters):
    """Draws a place in proportion to exp(logit / temperature); with probability `epsilon`, from all alike.

    Without `epsilon` a slate has the distribution of the top k of logits / temperature with Gumbel noise
    (Kool et al. 2019). Drawn place by place, it keeps to caps, and has a floor under each propensity.
    """

    name: ClassVar[str] = "plackett_luce"
    ranks_by: ClassVar[str | None] = None
    explored_places: int
    pool: int
    epsilon: float
    temperature: float

    def probabilities(self, scores: Floats, left: Mask) -> Floats:
        """Return the share of each one left."""
        return _with_floor(_softmax(scores, left, self.temperature), left, self.epsilon)


@dataclass(frozen=True)
class _ByValue(_Parameters):
    """Gives a place to the one left of the highest value, or with probability `epsilon` to any of the pool.

    Of several samples of the values, the share in which a candidate is the best is its probability: a draw
    among them is Thompson sampling (Thompson 1933), and the samples follow from the impression's id, so the
    propensities are exact given them.
    """

    explored_places: int
    pool: int
    epsilon: float

    def probabilities(self, scores: Floats, left: Mask) -> Floats:
        """Return the share of each one left; equal values go to the better candidate."""
        finite = np.maximum(scores, LOWEST)  # what is left has more than what is not
        best = np.where(left[..., None, :], finite, -np.inf).argmax(axis=-1)
        counts = (best[..., None] == np.arange(left.shape[-1])).sum(axis=-2)
        return _with_floor(counts / scores.shape[-2], left, self.epsilon)


@dataclass(frozen=True)
class Thompson(_ByValue):
    """Ranks by what neural-linear Thompson sampling believes of the values."""

    name: ClassVar[str] = "thompson"
    ranks_by: ClassVar[str | None] = "thompson"


@dataclass(frozen=True)
class DeepQ(_ByValue):
    """Ranks by the values of the DQN for slates."""

    name: ClassVar[str] = "dqn"
    ranks_by: ClassVar[str | None] = "dqn"


def exploring(policy: Policy, epsilon: float) -> Policy:
    """Return a policy that draws uniformly at least so often, if it ranks by values."""
    if not isinstance(policy, Thompson | DeepQ) or policy.epsilon >= epsilon:
        return policy
    return _with_epsilon(policy, epsilon)


@lru_cache(maxsize=64)
def _with_epsilon(policy: Thompson | DeepQ, epsilon: float) -> Policy:
    """Make the same policy with another epsilon, once for all requests of a snapshot."""
    return replace(policy, epsilon=epsilon)


GREEDY = Greedy()
SHADOW = "greedy"
"""The name under which the best slates are a shadow of every policy that explores."""


def make_shadows(config: PolicyConfig, used: PolicyParameters | None = None) -> dict[str, Policy]:
    """Make the policies whose propensities are recorded beside those of the one that is used.

    `used` is that of an arm; shadows that would show what it never shows are left out.
    """
    covering = used or config
    shadows = {SHADOW: PolicyParameters(), **config.shadows}
    return {name: make_policy(shadow) for name, shadow in shadows.items() if covering.covers(shadow)}


def make_policy(config: PolicyParameters) -> Policy:
    """Make the policy that the settings name."""
    match config.name:
        case "greedy":
            return GREEDY
        case "epsilon_greedy":
            return EpsilonGreedy(config.explored_places, config.pool, config.epsilon)
        case "plackett_luce":
            return PlackettLuce(config.explored_places, config.pool, config.epsilon, config.temperature)
        case "thompson":
            return Thompson(config.explored_places, config.pool, config.epsilon)
        case "dqn":
            return DeepQ(config.explored_places, config.pool, config.epsilon)


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
