"""The draws of a slate: random numbers that follow from an impression's id, and what they choose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pipeline.policy.policies import GREEDY, exploring
from pipeline.policy.port import Floats, Mask, Policy

NO_POLICIES: Mapping[str, Policy] = MappingProxyType({})
NO_SHADOWS: Mapping[str, float] = MappingProxyType({})
BITS = 53
"""Of a random number: as many as a float of 64 holds exactly."""


class Draw(NamedTuple):
    """A drawn place.

    Attributes:
        row: of its item.
        propensity: probability with which the item got it, given those above and the pins.
        explores: whether another item was likelier to get it.
        shadows: the same probability under each policy that is not used, by name.
    """

    row: int
    propensity: float
    explores: bool
    shadows: Mapping[str, float] = NO_SHADOWS


class Drawn(NamedTuple):
    """The drawn places of a slate, from the top, and the number of items that the first was drawn from."""

    draws: tuple[Draw, ...] = ()
    pool: int = 0


NOTHING_DRAWN = Drawn()


class Valued(NamedTuple):
    """What a policy ranks a pool by: values ``[draws, m]``, or logits ``[m]``.

    Attributes:
        epsilon: least probability of a uniform draw that the learner of the values wants.
    """

    scores: Floats
    epsilon: float = 0.0


ValuesOf = Callable[[str, NDArray[np.int64]], Valued | None]
"""From the name of a learner and rows ``[m]`` to their values; None if it has learned none yet."""


class Limits(Protocol):
    """What holds items back, given those that were chosen."""

    def admitted(self, rows: NDArray[np.int64]) -> Mask:
        """``[m]`` mask of the rows that may be chosen now."""

    def add(self, row: int) -> bool:
        """Count a chosen row; return whether other ones are held back from now on."""


def uniforms(impression: str, amount: int) -> Floats:
    """Return numbers ``[amount]`` in [0, 1) that follow from an impression's id, whatever the machine.

    >>> uniforms("5f0c", 3)[:2] == uniforms("5f0c", 2)
    array([ True,  True])
    """
    stream = hashlib.shake_128(impression.encode()).digest(8 * amount)
    numbers: Floats = (np.frombuffer(stream, dtype="<u8") >> (64 - BITS)) * np.float64(2.0**-BITS)
    return numbers


def normals(impression: str, amount: int) -> Floats:
    """Return standard normal numbers ``[amount]`` that follow from an impression's id, as `uniforms` do."""
    # Half a step from 0 to 1: the quantile is finite at each of them.
    numbers: Floats = ndtri(uniforms(f"values of {impression}", amount) + 2.0 ** -(BITS + 1))
    return numbers


def no_values(name: str, rows: NDArray[np.int64]) -> None:
    """Know no values of any item."""


def choose(policy: Policy, scores: Floats, left: Mask, random: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Choose a candidate for one place of each slate.

    Args:
        scores, left: see `Policy.probabilities`.
        random: ``[...]`` in [0, 1).

    Returns:
        The positions ``[...]`` of the chosen ones, and the probabilities ``[..., m]`` of all.
    """
    probabilities = policy.probabilities(scores, left)
    sums = probabilities.cumsum(axis=-1)
    # What has no share ends where the one before it ends, so it is never chosen. Some sum is above the
    # product, because a random number is below 1 by at least the rounding of the product.
    positions = (sums <= random[..., None] * sums[..., -1:]).sum(axis=-1)
    return positions, probabilities


@dataclass(frozen=True)
class Sampler:
    """Draws the first places of a slate.

    Attributes:
        policy: gives each candidate its probability.
        logits: ``[n]`` of the candidates, best first.
        random: ``[p]`` numbers in [0, 1), one for each place.
        shadows: policies that are not used, by name.
        values: of the candidates; what ranks by values that are not learned yet ranks by the logits.
    """

    policy: Policy
    logits: Floats
    random: Floats
    shadows: Mapping[str, Policy]
    values: ValuesOf = no_values

    def among(self, mask: Mask) -> Sampler:
        """Return the sampler of the candidates of a mask ``[n]``."""
        return replace(self, logits=self.logits[mask])

    def sample(self, rows: NDArray[np.int64], most: int, limits: Limits) -> Drawn:
        """Draw rows for at most so many places, each among those of the pool that are not held back then.

        Args:
            rows: ``[n]`` of the candidates, best first.
        """
        pool = np.flatnonzero(limits.admitted(rows))[: self.policy.pool]
        rows, left = rows[pool], np.ones(pool.size, dtype=np.bool_)
        policy, *shadows = self._ranked(rows, self.logits[pool])
        draws = list[Draw]()
        for place, random in enumerate(self.random[:most]):
            if not left.any():
                break
            position, probabilities = choose(policy.policy, policy.scores, left, random)
            explores, propensity = bool(position != probabilities.argmax()), float(probabilities[position])
            under = {
                name: _propensity(shadow, place, left, int(position))
                for name, shadow in zip(self.shadows, shadows, strict=True)
            }
            draws.append(Draw(int(rows[position]), propensity, explores, under))
            left[position] = False
            if limits.add(draws[-1].row):
                left &= limits.admitted(rows)
        return Drawn(tuple(draws), pool.size)

    def _ranked(self, rows: NDArray[np.int64], logits: Floats) -> list[_Ranked]:
        """Return the policy and its shadows, with what each ranks the pool ``[m]`` by."""
        policies = self.policy, *self.shadows.values()
        valued: dict[str | None, Valued] = {None: Valued(logits)}
        for name in {policy.ranks_by for policy in policies} - {None}:
            found = self.values(name, rows) if name and rows.size else None
            valued[name] = found or Valued(logits[None])
        return [
            _Ranked(exploring(policy, valued[policy.ranks_by].epsilon), valued[policy.ranks_by].scores)
            for policy in policies
        ]


class _Ranked(NamedTuple):
    """A policy, and what it ranks the pool by."""

    policy: Policy
    scores: Floats


def _propensity(ranked: _Ranked, place: int, left: Mask, position: int) -> float:
    """Return the probability with which a policy gives a place, from 0, to one of the pool ``[m]``.

    The policy draws no more places than the one that is used, and from no larger pool.
    """
    policy, scores = ranked
    own = left[: policy.pool]
    if place >= policy.explored_places or not own.any():
        return float(position == left.argmax())
    return float(policy.probabilities(scores[..., : own.size], own)[position]) if position < own.size else 0.0


class Exploration(NamedTuple):
    """A policy, the id of the impression from which its draws follow, and policies that are not used.

    Attributes:
        others: of how many items that are not shown the impression says something.
    """

    policy: Policy
    impression: str
    shadows: Mapping[str, Policy] = NO_POLICIES
    others: int = 0

    def draw_others(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw so many of some rows ``[m]``, all alike, or take all if they are fewer."""
        random = uniforms(f"others of {self.impression}", rows.size)
        return rows[np.argsort(random)[: self.others]]

    def sampler(self, logits: Floats, values: ValuesOf = no_values) -> Sampler | None:
        """Return the sampler of candidates with logits ``[n]``, best first; None if nothing is drawn."""
        if not self.policy.explored_places:
            return None
        random = uniforms(self.impression, self.policy.explored_places)
        return Sampler(self.policy, logits, random, self.shadows, values)


NO_EXPLORATION = Exploration(GREEDY, "")
