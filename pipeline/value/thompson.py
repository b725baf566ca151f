"""Neural-linear Thompson sampling: Bayesian linear regression of an item's reward, with forgetting.

What the features are is learned elsewhere, by gradients; how much each is worth, and how sure that is,
follows here in closed form (Riquelme, Tucker and Snoek 2018). All that was seen is one matrix of decayed
moments, so that means, spreads and the posterior come of the same numbers. When rewards are clearly below
what they say, all that was seen before they fell is forgotten: what is believed becomes unsure, and is tried
again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from pipeline.config import ThompsonConfig
from pipeline.value.checks import check_names, read_array, read_weights
from pipeline.value.decline import DeclineDetector
from pipeline.value.port import Arrays, Decision, Floats, Vectors
from pipeline.value.scaling import centre_and_spread

log = logging.getLogger(__name__)

FURTHEST = 10.0
"""Standard deviations from the mean at which a feature is cut off, so that no single row rules the rest."""
MOST_DRAWS = 1_000
"""As the settings allow; each costs a server as many random numbers as there are weights."""
NAMES = {"centre", "spread", "weights", "factor", "deviation", "draws"}


@dataclass(frozen=True)
class Posterior:
    """What is believed of d weights, of a constant and then of the standardised features.

    Attributes:
        weights: ``[d]`` means.
        factor: ``[d, d]`` lower triangle L; the precision is L·Lᵀ in units of the noise.
        deviation: standard deviation of the noise.
    """

    weights: Floats
    factor: Floats
    deviation: float


class Moments:
    """Decayed sums of the products of (1, features, reward) over the rows that were seen.

    Attributes:
        sums: ``[p + 2, p + 2]``.
    """

    def __init__(self, features: int) -> None:
        self.sums = np.zeros((features + 2, features + 2))

    def add(self, rows: Floats, weights: Floats, kept: float) -> None:
        """Forget all but a share of what was seen, and add rows ``[n, p + 2]`` with their weights ``[n]``."""
        self.sums = kept * self.sums + (rows.T * weights) @ rows

    def centre_and_spread(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``[p]`` of the features."""
        return centre_and_spread(self.sums[0, 0], self.sums[0, 1:-1], self.sums.diagonal()[1:-1])

    def posterior(self, ridge: float) -> Posterior:
        """Return what is believed of the weights of standardised features.

        The prior is normal-inverse-gamma: weights 0 ± deviation / √ridge, and one row of noise 1.
        """
        standard = self._standardised()
        precision = standard[:-1, :-1] + ridge * np.eye(len(standard) - 1)
        factor = cholesky(precision, lower=True)
        weights = cho_solve((factor, True), standard[:-1, -1])
        unexplained = max(standard[-1, -1] - float(weights @ standard[:-1, -1]), 0.0)
        deviation = float(np.sqrt((unexplained + 1) / (self.sums[0, 0] + 1)))
        return Posterior(weights, factor, deviation)

    def _standardised(self) -> Floats:
        """The sums as if the features had been standardised when they were added."""
        centre, spread = self.centre_and_spread()
        change = np.eye(len(self.sums))
        change[1:-1, 1:-1] = np.diag(1 / spread)
        change[1:-1, 0] = -centre / spread
        return change @ self.sums @ change.T


class ThompsonLearner:
    """Learns the rewards of items from the features of the items alone.

    Args:
        features: p, see `Decision.items`.
    """

    def __init__(self, config: ThompsonConfig, features: int) -> None:
        self._config = config
        self._features = features
        self._moments, self._lately = Moments(features), Moments(features)
        self._declines = DeclineDetector()

    @property
    def warm_up(self) -> int:
        """None: what is unsure is part of what it says."""
        return 0

    def learn(self, decisions: Sequence[Decision], random: np.random.Generator) -> None:
        """Learn decisions; each has the same weight, whatever batch it came in."""
        if not decisions:
            return
        kept: Floats = 0.5 ** (np.arange(len(decisions), -1, -1) / self._config.half_life)
        lengths = [len(decision.items) for decision in decisions]
        items = np.concatenate([decision.items for decision in decisions], dtype=np.float64)
        rewards = np.concatenate([decision.rewards for decision in decisions])
        centre, spread = self._moments.centre_and_spread()
        items = np.clip(items, centre - FURTHEST * spread, centre + FURTHEST * spread)
        is_decline = self._declines.add(self._shortfalls((items - centre) / spread, rewards, lengths))
        rows = np.column_stack((np.ones(len(items)), items, rewards))
        weights = np.repeat(kept[1:], lengths)
        self._moments.add(rows, weights, float(kept[0]))
        self._add_lately(rows, weights, float(kept[0]), lengths)
        if is_decline:
            log.warning("rewards are clearly below what was expected: what is unsure is tried again")
            share = self._config.kept_in_decline
            self._moments.sums = share * self._moments.sums + (1 - share) * self._lately.sums

    def _add_lately(self, rows: Floats, weights: Floats, kept: float, lengths: Sequence[int]) -> None:
        """Keep apart what was seen since rewards began to fall."""
        before = max(len(lengths) - self._declines.falling, 0)  # decisions of the batch
        first = sum(lengths[:before])
        self._lately.add(rows[first:], weights[first:], 0.0 if before else kept)

    def _shortfalls(self, standard: Floats, rewards: Floats, lengths: Sequence[int]) -> Floats:
        """Return by how much the rewards of n slates are below what is believed, ``[n]``.

        In standard deviations. `lengths` are those of the slates, whose items are one after another.
        """
        posterior = self._moments.posterior(self._config.ridge)
        expected = posterior.weights[0] + standard @ posterior.weights[1:]
        sizes = np.array(lengths, dtype=np.int64)
        short: Floats = np.add.reduceat(expected - rewards, sizes.cumsum() - sizes)
        return short / (posterior.deviation * np.sqrt(sizes))

    def model(self) -> Arrays:
        """Return what a `ThompsonModel` is made of."""
        centre, spread = self._moments.centre_and_spread()
        posterior = self._moments.posterior(self._config.ridge)
        arrays = {
            "centre": centre,
            "spread": spread,
            "weights": posterior.weights,
            "factor": posterior.factor,
            "deviation": np.array([posterior.deviation * self._config.exploration]),
            "draws": np.array([self._config.draws]),
        }
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def state(self) -> Arrays:
        """Return the moments, those since rewards began to fall, and what is known of a decline."""
        moments = {"moments": self._moments.sums.copy(), "lately": self._lately.sums.copy()}
        return {**moments, **self._declines.state()}

    def load(self, state: Arrays) -> None:
        """Restore the moments, and what is known of a decline; states from before have nothing of it.

        Raises:
            ValueError: they are not of so many features, not finite, or no moments.
        """
        size = self._features + 2
        state = {"lately": np.zeros((size, size)), **DeclineDetector().state(), **state}
        check_names(state, {"moments", "lately", *self._declines.state()})
        sums = {name: read_array(state, name, (size, size), np.float64) for name in ("moments", "lately")}
        for name, found in sums.items():
            if not np.allclose(found, found.T) or (found.diagonal() < 0).any():
                raise ValueError(f"{name} are no sums of products")
        self._declines.load(state)
        self._moments.sums, self._lately.sums = sums["moments"], sums["lately"]


@dataclass(frozen=True)
class ThompsonModel:
    """Samples values of items from the posterior of their weights."""

    centre: Floats
    spread: Floats
    posterior: Posterior
    draws: int
    epsilon: float = 0.0

    @cached_property
    def _root(self) -> Floats:
        """``[d, d]`` σ L⁻¹: normal numbers times it have the covariance of the weights.

        It is found once: threads of LAPACK's solver take 1 to 3 ms to wake up in a request (measured), and a
        product of this size uses none.
        """
        precision_root = self.posterior.factor
        return self.posterior.deviation * solve_triangular(
            precision_root, np.eye(len(precision_root)), lower=True
        )

    @classmethod
    def of(cls, arrays: Arrays, features: int) -> Self:
        """Make a model of arrays that a learner published.

        Raises:
            ValueError: they are missing, do not fit each other, or are out of range.
        """
        check_names(arrays, NAMES)
        size = features + 1
        found = {
            "centre": read_weights(arrays, "centre", (features,)),
            "spread": read_weights(arrays, "spread", (features,)),
            "weights": read_weights(arrays, "weights", (size,)),
            "factor": read_weights(arrays, "factor", (size, size)),
        }
        numbers = {name: float(read_weights(arrays, name, (1,))[0]) for name in ("deviation", "draws")}
        if (
            (found["spread"] <= 0).any()
            or (found["factor"].diagonal() <= 0).any()
            or numbers["deviation"] < 0
        ):
            raise ValueError("spread, deviation or the diagonal of factor is not positive")
        if not 1 <= numbers["draws"] <= MOST_DRAWS:
            raise ValueError("draws are out of range")
        wide: dict[str, NDArray[np.float64]] = {name: a.astype(np.float64) for name, a in found.items()}
        posterior = Posterior(wide["weights"], wide["factor"], numbers["deviation"])
        return cls(wide["centre"], wide["spread"], posterior, int(numbers["draws"]))

    @property
    def normals(self) -> tuple[int, int]:
        """Draws, and weights."""
        return self.draws, len(self.posterior.weights)

    def values(self, state: Vectors, items: Vectors, normals: Floats) -> Floats:
        """Return ``[draws, m]`` expected rewards of m items, by weights that each draw samples."""
        weights = self.posterior.weights + normals @ self._root
        standard = np.clip((items - self.centre) / self.spread, -FURTHEST, FURTHEST)
        values: Floats = weights[:, :1] + weights[:, 1:] @ standard.T
        return values
