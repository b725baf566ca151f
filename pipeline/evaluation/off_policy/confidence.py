"""Confidence sequences: intervals of a policy's value that hold at all times together.

One may look at them after every decision and stop when one likes, and the policy that showed the slates may
change meanwhile. For each value that the mean could have, a bet is made against it whose wealth grows only
if it is another one; by Ville's inequality the wealth against the true mean exceeds 1 / α with a
probability of at most α (Waudby-Smith & Ramdas 2024; for off-policy values Karampatziakis et al. 2021,
Waudby-Smith et al. 2022).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.off_policy.estimators import LoggedSlates

Floats = NDArray[np.float64]
ALPHA = 0.05
"""Probability that an interval is ever wrong; each of its ends has half of it."""
SHARES = (1 - np.cos(np.pi * np.arange(1, 301) / 300)) / 2
"""Shares of a range against which is bet; they lie closer near its ends, where rare rewards are."""
_STEPS = np.geomspace(1e-4, 1, 150)
DIFFERENCES = np.concatenate([-_STEPS[::-1], [0.0], _STEPS])
"""The same for differences of shares; they lie closer near 0."""
BETS = 0.5 ** np.arange(1, 11)
"""Shares of the wealth that a bet can lose; wealth is spread over all, so that none needs to be chosen."""
AT_ONCE = 100
"""Observations that are added at a time; their gains take 6 MB."""
COSTS = np.array([0.0, 1.0, 8.0])
"""What a baseline may take from an observation at most, in ranges of rewards; 0 is to have none. Bets are the
smaller the more it is. Wealth is spread over all, so that none needs to be chosen. The bounds must not follow
from the slate, as a baseline may: bets that did would favour slates whose rewards are low."""


class Range(NamedTuple):
    """What the rewards of a slate sum up to, at least and at most."""

    least: float
    most: float


class Baseline(NamedTuple):
    """What was known of n slates before each was drawn; it follows from earlier ones alone.

    Attributes:
        expected: ``[n]`` rewards that a model expects.
        most_weights: ``[n]`` the largest weight that each could have got; infinity where that is not known.
    """

    expected: Floats
    most_weights: Floats


class Verdict(StrEnum):
    """Whether something earns more than what it is compared with."""

    BETTER = "better"
    WORSE = "worse"
    UNKNOWN = "cannot tell"
    MISMATCH = "shares differ"
    """The arms do not have the shares of the users that they should have: something else chooses users."""


class Interval(NamedTuple):
    """Two ends of a value."""

    lower: float
    upper: float

    @property
    def is_empty(self) -> bool:
        """Whether no value fits what was seen, which then contradicts what was said of how it was drawn."""
        return self.lower > self.upper

    @property
    def verdict(self) -> Verdict:
        """What the interval says, if it is that of a difference; an empty one says nothing."""
        if self.is_empty or self.lower <= 0 <= self.upper:
            return Verdict.UNKNOWN
        return Verdict.BETTER if self.lower > 0 else Verdict.WORSE


class LowerBound:
    """A lower bound of the mean of observations that are bounded from below and may be large.

    The mean of each, given those before it, must be the same. Several kinds of observations of one mean may
    be made: wealth is spread over bets on each, half of it on the first, so the best of them decides.
    """

    def __init__(self, alpha: float, means: Floats, least: float = 0.0, *others: float) -> None:
        """Bound the mean from below with an error probability of `alpha` at all times together.

        Args:
            means: ``[m]`` what the bound may be, ascending; not below `least`.
            least: the least observation.
            others: the same of further kinds of observations; not above `least`.
        """
        self._nats = np.log(1 / alpha)
        self._means = means[means > least]
        self._least = float(least)  # of a NumPy scalar, too: programs read intervals as JSON
        self._bets = BETS[:, None] / (self._means - np.array([least, *others])[:, None, None])
        shares = np.array([0.5, *(0.5 / len(others) for _ in others)]) if others else np.ones(1)
        self._wealth = np.zeros_like(self._bets) + np.log(shares / BETS.size)[:, None, None]
        self._rejected = 0

    @property
    def value(self) -> float:
        """The bound; it never falls."""
        return float(self._means[self._rejected - 1]) if self._rejected else self._least

    def add(self, observed: Floats) -> None:
        """Take in observations ``[n]``, or of each kind ``[n, kinds]``, in the order of time."""
        by_kind = observed.reshape(-1, len(self._bets))
        for start in range(0, len(by_kind), AT_ONCE):
            self._add(by_kind[start : start + AT_ONCE])

    def _add(self, observed: Floats) -> None:
        """Bet; wealth falls with the mean that is bet against, so those that are rejected come first."""
        self._wealth += np.log1p(self._bets * (observed[..., None, None] - self._means)).sum(axis=0)
        total = np.logaddexp.reduce(self._wealth.reshape(-1, self._means.size), axis=0)
        self._rejected = max(self._rejected, int((total >= self._nats).cumprod().sum()))


class ValueSequence:
    """An interval of a policy's value that may be read at any time.

    The upper end is a lower bound of what the policy misses: of the best reward less the one it gets. With a
    baseline some kinds of observations are doubly robust, others by inverse propensities.
    """

    def __init__(self, rewards: Range) -> None:
        """Bound the expected reward of a slate; rewards outside the range are taken as its ends."""
        self._range = rewards
        self._got, self._missed = (LowerBound(ALPHA / 2, SHARES, *-COSTS) for _ in range(2))

    def add(self, slates: LoggedSlates, baseline: Baseline | None = None) -> None:
        """Take in slates in the order of time."""
        weights, shares, expected, most = _foreseen(slates, self._range, baseline)
        self._got.add(_valued(weights, shares, expected, most))
        self._missed.add(_valued(weights, 1 - shares, 1 - expected, most))

    @property
    def interval(self) -> Interval:
        """The interval of the value."""
        least, most = self._range
        width = most - least
        return Interval(least + width * self._got.value, most - width * self._missed.value)


class GainSequence:
    """An interval of what a policy earns more with a slate than those that were shown did.

    It is a paired difference, so what both earn alike does not widen it.
    """

    def __init__(self, rewards: Range) -> None:
        """Bound the expected gain; rewards outside the range are taken as its ends."""
        self._width = rewards.most - rewards.least
        self._range = rewards
        self._won, self._lost = (LowerBound(ALPHA / 2, DIFFERENCES, *-np.maximum(COSTS, 1)) for _ in range(2))

    def add(self, slates: LoggedSlates, baseline: Baseline | None = None) -> None:
        """Take in slates in the order of time."""
        weights, shares, expected, most = _foreseen(slates, self._range, baseline)
        more = weights - 1
        self._won.add(_gained(more, shares, expected, most))
        self._lost.add(_gained(more, 1 - shares, 1 - expected, most))

    @property
    def interval(self) -> Interval:
        """The interval of the gain."""
        return Interval(self._width * self._won.value, -self._width * self._lost.value)


def _foreseen(
    slates: LoggedSlates, rewards: Range, baseline: Baseline | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights ``[n]``, where in their range rewards are and were expected, and the largest weights.

    A weight above the largest is taken as that: what cannot be drawn must not make a bet lose all it has.
    """
    weights, shares = slates.weights[:, -1], _shares(slates.rewards.sum(axis=1), rewards)
    if baseline is None:
        return weights, shares, np.zeros_like(shares), np.full_like(shares, np.inf)
    most = baseline.most_weights
    return np.minimum(weights, most), shares, _shares(baseline.expected, rewards), most


def _shares(values: Floats, rewards: Range) -> Floats:
    """Return where in a range values are, from 0 to 1."""
    least, most = rewards
    return np.asarray((np.clip(values, least, most) - least) / (most - least))


def _valued(weights: Floats, shares: Floats, expected: Floats, most: Floats) -> Floats:
    """Observations of a value by cost ``[n, costs]``: of the shares beside as much of the expected ones."""
    used = _affordable(expected, most)
    return used + weights[:, None] * (shares[:, None] - used)


def _gained(more: Floats, shares: Floats, expected: Floats, most: Floats) -> Floats:
    """The same of a gain, by weights less 1."""
    return more[:, None] * (shares[:, None] - _affordable(expected, most))


def _affordable(expected: Floats, most: Floats) -> Floats:
    """Lessen expected shares ``[n]`` to what the largest weights let cost so much: ``[n, costs]``."""
    spare = np.maximum(most - 1, 1e-9)[:, None]
    return np.minimum(expected[:, None], COSTS / spare)
