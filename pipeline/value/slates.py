"""Slates: their value by what is chosen of them and by what showing them does, and the best one.

A user chooses one item of a slate or nothing: item i with weight vᵢ = exp(its logit), nothing with v₀. The
value of a slate A of k items, which is that of what is chosen (SlateQ, Ie et al. 2019) and of being shown, is

    Q(s, A) = Σ vᵢ Q̄ᵢ / Σ vᵢ over A and nothing + Σ Eᵢ / k over A

SlateQ alone has no E, as if what is shown and not chosen changed nothing. But users tire of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]
Members = NDArray[np.bool_]
Sizes = NDArray[np.int64]
ROUNDS = 6
"""Of the search for the best slate; without E it converges faster than linearly, mostly in three."""
LEAST_WEIGHT = 1e-250
"""Of an item, when the likeliest has 1, so that a choice among unlikely ones has a number."""


@dataclass(frozen=True)
class Estimates:
    """What is believed of m items in b states.

    They are plain arrays: a search over 100 items takes a third of the time that tensors take (measured).

    Attributes:
        values: Q̄ of each item if it is chosen, and of nothing, ``[b, m + 1]``.
        logits: ``[b, m + 1]`` of the choice.
        effects: ``[b, m]`` E of each item, if it is shown.
    """

    values: Numbers
    logits: Numbers
    effects: Numbers

    @cached_property
    def weights(self) -> Numbers:
        """``[b, m + 1]`` v; the likeliest has 1."""
        found: Numbers = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True), dtype=np.float64)
        return np.maximum(found, LEAST_WEIGHT)

    @cached_property
    def worths(self) -> Numbers:
        """``[b, m + 1]`` v Q̄."""
        return self.weights * self.values


class _Choice(NamedTuple):
    """What is chosen of slates: Σ v Q̄ / Σ v, and Σ v, over the items and nothing; both ``[b, 1]``."""

    value: Numbers
    total: Numbers

    @classmethod
    def of(cls, estimates: Estimates, members: Members) -> _Choice:
        total = _sums(estimates.weights, members)
        return cls(_sums(estimates.worths, members) / total, total)


def slate_values(estimates: Estimates, members: Members) -> Numbers:
    """Return the values ``[b]`` of slates with these members ``[b, m]``."""
    return _valued(_Choice.of(estimates, members), estimates, members)


def gains(estimates: Estimates, members: Members, sizes: Sizes) -> Numbers:
    """Return how much each item, beside a slate, adds to its value: vᵢ (Q̄ᵢ - Q) / Σ v + Eᵢ / k, ``[b, m]``.

    Args:
        members: ``[b, m]`` which items are in the slate.
        sizes: ``[b]`` k.
    """
    return _gained(_Choice.of(estimates, members), estimates, sizes)


def swaps(estimates: Estimates, members: Members, sizes: Sizes) -> Numbers:
    """Return how a slate's value changes if an item takes the place of its weakest member, ``[b, m]``.

    Exact of items that are not in it, so that a slate of one item is the best if all are below 0. Members
    have 0 or more, by their gains above the weakest's.

    Args:
        members, sizes: as for `gains`; there is a member.
    """
    choice = _Choice.of(estimates, members)
    own = _gained(choice, estimates, sizes)
    states = np.arange(len(own))
    weakest = np.where(members, own, np.inf).argmin(axis=-1)
    rest = members.copy()
    rest[states, weakest] = False
    chosen = _sums(estimates.worths, rest) + estimates.worths[:, :-1]
    total = _sums(estimates.weights, rest) + estimates.weights[:, :-1]
    effects = (estimates.effects * rest).sum(axis=-1, keepdims=True) + estimates.effects
    changed = chosen / total + effects / members.sum(axis=-1, keepdims=True)
    before = _valued(choice, estimates, members)[:, None]
    found: Numbers = np.where(members, own - own[states, weakest][:, None], changed - before)
    return found


def best_slates(estimates: Estimates, allowed: Members, sizes: Sizes) -> Members:
    """Return the members ``[b, m]`` of the slates with the highest values.

    Without effects, a value is a ratio of two sums over the slate, and the best slate is the one that has the
    items with the highest gains over itself (Dinkelbach 1967): no search over slates. With effects the best
    of those found so is returned.

    Args:
        allowed: ``[b, m]`` which items may be in a slate.
        sizes: ``[b]`` numbers of items in a slate; all that are allowed, if they are fewer.
    """
    members = best = _highest(estimates.effects, allowed, sizes)
    choice = _Choice.of(estimates, members)
    highest = _valued(choice, estimates, members)
    for _ in range(ROUNDS):
        before, members = members, _highest(_gained(choice, estimates, sizes), allowed, sizes)
        if (before == members).all():
            break
        choice = _Choice.of(estimates, members)
        reached = _valued(choice, estimates, members)
        best = np.where((reached > highest)[:, None], members, best)
        highest = np.maximum(reached, highest)
    swapped = _highest(swaps(estimates, best, sizes), allowed, sizes)
    return np.where((slate_values(estimates, swapped) > highest)[:, None], swapped, best)


def _valued(choice: _Choice, estimates: Estimates, members: Members) -> Numbers:
    effects = np.vecdot(estimates.effects, members) / np.maximum(members.sum(axis=-1), 1)
    found: Numbers = choice.value[:, 0] + effects
    return found


def _gained(choice: _Choice, estimates: Estimates, sizes: Sizes) -> Numbers:
    added = estimates.worths - estimates.weights * choice.value
    found: Numbers = (added / choice.total)[:, :-1] + estimates.effects / sizes[:, None]
    return found


def _highest(numbers: Numbers, allowed: Members, sizes: Sizes) -> Members:
    most = int(sizes.max())
    order = np.where(allowed, -numbers, np.inf).argsort(axis=-1, kind="stable")[:, :most]
    found = np.zeros_like(allowed)
    found[np.arange(len(order))[:, None], order] = np.arange(order.shape[1]) < sizes[:, None]
    found &= allowed
    return found


def _sums(numbers: Numbers, members: Members) -> Numbers:
    """Return the sums ``[b, 1]`` of numbers ``[b, m + 1]`` over the members and nothing."""
    found: Numbers = np.vecdot(numbers[:, :-1], members)[:, None] + numbers[:, -1:]
    return found
