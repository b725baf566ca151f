"""Estimators of the value of a policy from the slates of other policies.

All are one sum over the places of a slate: cascade doubly robust estimation (Kiyohara et al. 2022), in which
the reward of a place depends on the items down to it. With slates of one item it is doubly robust estimation
(Dudík et al. 2014); without a model of the rewards, inverse propensity scoring. The estimators differ in what
they make of the weights, which are unbiased and vary much, and in whether they have a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.recorded import LEAST_PROPENSITY

Floats = NDArray[np.float64]
MOST_WEIGHT = 1 / LEAST_PROPENSITY
"""Weights have a mean of 1 whatever is drawn: a larger one is less probable than draws can tell (Markov)."""
Estimator = Callable[["LoggedSlates"], Floats]
"""Returns what each of n slates contributes ``[n]``; the mean estimates the policy's value."""


@dataclass(frozen=True)
class LoggedSlates:
    """The slates that were shown, n of at most k places, and the weights that the evaluated policy gives.

    A slate with fewer places has weights as at its last place, and zeros.

    Attributes:
        weights: ``[n, k]`` how many times as probable the items down to a place are under the policy.
        rewards: ``[n, k]``.
        expected: ``[n, k]`` the rewards from a place on that a model expects of the item there.
        direct: ``[n, k]`` the same of an item that the policy would choose there, given those above.
    """

    weights: Floats
    rewards: Floats
    expected: Floats
    direct: Floats

    @classmethod
    def of(
        cls,
        evaluated: Floats,
        logged: Floats,
        rewards: Floats,
        model: tuple[Floats, Floats] | None = None,
    ) -> LoggedSlates:
        """Weigh slates by the propensities ``[n, k]`` of their items under both policies.

        A place without an item has a propensity of 1. `model` are `expected` and `direct`. Weights above
        `MOST_WEIGHT` are taken as that.

        Raises:
            ValueError: a logged propensity is not in (0, 1], or an evaluated one not in [0, 1].
        """
        if not ((logged > 0) & (logged <= 1)).all():
            raise ValueError("what was shown must have had a propensity above 0 and at most 1")
        if not ((evaluated >= 0) & (evaluated <= 1)).all():
            raise ValueError("propensities are between 0 and 1")
        expected, direct = (np.zeros_like(rewards),) * 2 if model is None else model
        with np.errstate(over="ignore", invalid="ignore"):
            weights = np.cumprod(np.divide(evaluated, logged), axis=1, dtype=np.float64)
        return cls(np.minimum(np.nan_to_num(weights), MOST_WEIGHT), rewards, expected, direct)  # NaN is 0 · ∞

    @property
    def effective_size(self) -> float:
        """The number of slates of the policy itself that would tell as much (Kish 1965)."""
        last = self.weights[:, -1]
        largest = float(last.max(initial=0.0))
        shares = last / (largest or 1.0)  # squares of weights might be too large for a number
        return float(shares.sum()) ** 2 / float((shares**2).sum()) if largest else 0.0

    def without_model(self) -> LoggedSlates:
        """Return the slates without a model of the rewards."""
        nothing = np.zeros_like(self.rewards)
        return replace(self, expected=nothing, direct=nothing)


def contributions(slates: LoggedSlates, weights: Floats) -> Floats:
    """Return what each slate contributes ``[n]``, by the given weights ``[n, k]``."""
    before = np.concatenate([np.ones((len(weights), 1)), weights[:, :-1]], axis=1)
    each: Floats = before * slates.direct + weights * (slates.rewards - slates.expected)
    return np.asarray(each.sum(axis=1))


def direct_method(slates: LoggedSlates) -> Floats:
    """Trust the model: no variance by weights, and all of the model's bias."""
    return slates.direct[:, 0]


def ips(slates: LoggedSlates) -> Floats:
    """Inverse propensity scoring (Horvitz & Thompson 1952): unbiased."""
    return contributions(slates.without_model(), slates.weights)


def snips(slates: LoggedSlates) -> Floats:
    """Self-normalised inverse propensity scoring (Swaminathan & Joachims 2015)."""
    return contributions(slates.without_model(), _normalized(slates.weights))


def doubly_robust(slates: LoggedSlates) -> Floats:
    """Doubly robust estimation: unbiased, and of less variance the better the model is."""
    return contributions(slates, slates.weights)


def self_normalized_doubly_robust(slates: LoggedSlates) -> Floats:
    """Doubly robust estimation whose weights have a mean of 1 at each place."""
    return contributions(slates, _normalized(slates.weights))


def clipped_ips(most: float) -> Estimator:
    """Make inverse propensity scoring with weights of at most `most` (Ionides 2008)."""
    return lambda slates: contributions(slates.without_model(), np.minimum(slates.weights, most))


def switch_doubly_robust(most: float) -> Estimator:
    """Make an estimator that trusts the model alone where weights are above `most` (Wang et al. 2017)."""
    return lambda slates: contributions(slates, _switched(slates.weights, most))


def shrunk_doubly_robust(shrinkage: float) -> Estimator:
    """Make doubly robust estimation with optimistic shrinkage of the weights (Su et al. 2020)."""
    return lambda slates: contributions(slates, _shrunk(slates.weights, shrinkage))


class WeightRule(NamedTuple):
    """A way to lessen weights, by a parameter that ends at infinity with the weights as they are."""

    estimator: Callable[[float], Estimator]
    weights: Callable[[Floats, float], Floats]


def tuned(rule: WeightRule, slates: LoggedSlates, parameters: Sequence[float]) -> float:
    """Choose the parameter whose mean squared error is bounded lowest (Su et al. 2020).

    The error is the variance of the mean, and the square of the bias that lesser weights bring in; the bias
    is taken at the upper end of its interval of 95 % by Bernstein's inequality.
    """

    def error(parameter: float) -> float:
        made = rule.estimator(parameter)(slates)
        missing = slates.weights - rule.weights(slates.weights, parameter)
        return float(made.var()) / len(made) + _bias(slates, missing) ** 2

    return min(parameters, key=error)


def _bias(slates: LoggedSlates, missing: Floats) -> float:
    amount, nats = len(missing), np.log(2 / 0.05)
    each = (missing * (slates.rewards - slates.expected)).sum(axis=1)
    spread = np.sqrt(2 * (missing**2).sum(axis=1).mean() * nats / amount)
    return float(abs(each.mean()) + spread + 2 * slates.weights.max() * nats / (3 * amount))


def _normalized(weights: Floats) -> Floats:
    means = weights.mean(axis=0)
    normalized: Floats = np.divide(weights, means, out=np.zeros_like(weights), where=means > 0)
    return normalized


def _switched(weights: Floats, most: float) -> Floats:
    return np.where(weights <= most, weights, 0.0)


def _shrunk(weights: Floats, shrinkage: float) -> Floats:
    if np.isinf(shrinkage):
        return weights
    divisor = weights**2 + shrinkage
    shrunk: Floats = np.divide(shrinkage * weights, divisor, out=np.zeros_like(weights), where=divisor > 0)
    return shrunk


SWITCH = WeightRule(switch_doubly_robust, _switched)
SHRINK = WeightRule(shrunk_doubly_robust, _shrunk)
