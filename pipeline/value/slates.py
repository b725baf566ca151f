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

from pipeline.value.port import Floats

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
    def parts(self) -> Numbers:
        """``[3, b, m + 1]`` v, v Q̄ and E of each item, and of nothing; the likeliest has a v of 1."""
        found = np.zeros((3, *self.logits.shape))
        found[0] = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True), dtype=np.float64)
        np.maximum(found[0], LEAST_WEIGHT, out=found[0])
        found[1] = found[0] * self.values
        found[2, :, :-1] = self.effects
        return found


class _Sums(NamedTuple):
    """Sums over the items of slates and nothing: Σ v, Σ v Q̄ and Σ E, each ``[b, 1]``."""

    weights: Numbers
    worths: Numbers
    effects: Numbers

    @classmethod
    def of(cls, estimates: Estimates, chosen: Numbers) -> _Sums:
        return cls(*_summed(estimates, chosen))

    def values(self, counts: Sizes) -> Numbers:
        """``[b, 1]`` values of the slates, which have so many items ``[b, 1]``."""
        found: Numbers = self.worths / self.weights + self.effects / counts
        return found


def _summed(estimates: Estimates, chosen: Numbers) -> Numbers:
    """Return the sums ``[3, b, 1]`` of the parts over slates ``[b, m + 1]``."""
    found: Numbers = np.vecdot(estimates.parts, chosen)[:, :, None]
    return found


def slate_values(estimates: Estimates, members: Members) -> Numbers:
    """Return the values ``[b]`` of slates with these members ``[b, m]``."""
    sums, counts = _Sums.of(estimates, _with_nothing(members)), members.sum(axis=-1, keepdims=True)
    return sums.values(np.maximum(counts, 1))[:, 0]


def swaps(estimates: Estimates, members: Members, sizes: Sizes) -> Floats:
    """Return how a slate's value changes if an item takes the place of its weakest member, ``[b, m]``.

    Exact of items that are not in it, so that a slate of one item is the best if all are below 0. Members
    have 0 or more, by their gains above the weakest's.

    Args:
        members: ``[b, m]`` which items are in the slate; there is one.
        sizes: ``[b]`` k.
    """
    chosen, states = _with_nothing(members), np.arange(len(members))
    sums, counts = _Sums.of(estimates, chosen), members.sum(axis=-1, keepdims=True)
    own = _gained(estimates, sums, sizes[:, None])
    weakest = np.where(members, own, np.inf).argmin(axis=-1)
    chosen[states, weakest] = 0
    changed = _Sums(*(_summed(estimates, chosen) + estimates.parts[:, :, :-1]))
    differences = changed.values(counts) - sums.values(counts)
    found: Floats = np.where(members, own - own[states, weakest][:, None], differences)
    return found


class FoundSlates(NamedTuple):
    """The slates with the highest values: their members ``[b, m]``, and what `swaps` says of them."""

    members: Members
    swaps: Floats

    @classmethod
    def of(cls, estimates: Estimates, chosen: Numbers, sizes: Sizes) -> FoundSlates:
        """Return slates ``[b, m + 1]`` of items and nothing."""
        members = chosen[:, :-1] > 0
        return cls(members, swaps(estimates, members, sizes))


def best_slates(estimates: Estimates, allowed: Members, sizes: Sizes) -> FoundSlates:
    """Find the slates with the highest values.

    Without effects, a value is a ratio of two sums over the slate, and the best slate is the one that has the
    items with the highest gains over itself (Dinkelbach 1967): no search over slates. With effects the best
    of those found so is returned.

    Args:
        allowed: ``[b, m]`` which items may be in a slate.
        sizes: ``[b]`` numbers of items in a slate; all that are allowed, if they are fewer.
    """
    search = _Search.of(allowed, sizes)
    best = members = search.highest(estimates.effects)
    sums = _Sums.of(estimates, members)
    highest = sums.values(search.counts)
    for _ in range(ROUNDS):
        before, members = members, search.highest(_gained(estimates, sums, search.counts))
        if (before == members).all():
            break
        sums = _Sums.of(estimates, members)
        reached = sums.values(search.counts)
        best = np.where(reached > highest, members, best)
        highest = np.maximum(reached, highest)
    found = FoundSlates.of(estimates, best, sizes)
    swapped = search.highest(found.swaps)
    is_better = _Sums.of(estimates, swapped).values(search.counts) > highest
    if not is_better.any():
        return found
    return FoundSlates.of(estimates, np.where(is_better, swapped, best), sizes)


class _Search(NamedTuple):
    """What all slates of a search share.

    Attributes:
        excluded: ``[b, m]`` the items that are not allowed.
        counts: ``[b, 1]`` numbers of items that they have, 1 at least.
        filled: ``[b, most]`` 1 for each place that a slate has.
        nothing: ``[b, m + 1]`` slates without items.
    """

    excluded: Members
    counts: Sizes
    filled: Numbers
    nothing: Numbers

    @classmethod
    def of(cls, allowed: Members, sizes: Sizes) -> _Search:
        counts = np.minimum(sizes, allowed.sum(axis=-1))[:, None]
        filled = (np.arange(int(counts.max())) < counts).astype(np.float64)
        return cls(~allowed, np.maximum(counts, 1), filled, _with_nothing(np.zeros_like(allowed)))

    def highest(self, numbers: Numbers) -> Numbers:
        """Return the slates ``[b, m + 1]`` of the items with the highest numbers ``[b, m]``, and nothing."""
        lowest_first = np.where(self.excluded, np.inf, -numbers)
        order = lowest_first.argsort(axis=-1, kind="stable")[:, : self.filled.shape[1]]
        found = self.nothing.copy()
        found[np.arange(len(found))[:, None], order] = self.filled
        return found


def _with_nothing(members: Members) -> Numbers:
    """Return slates ``[b, m + 1]`` of members ``[b, m]`` and nothing, as numbers."""
    found = np.ones((len(members), members.shape[1] + 1))
    found[:, :-1] = members
    return found


def _gained(estimates: Estimates, sums: _Sums, sizes: Sizes) -> Numbers:
    """Return how much each item, beside a slate, adds to its value: vᵢ (Q̄ᵢ - Q) / Σ v + Eᵢ / k, ``[b, m]``.

    `sizes` ``[b, 1]`` are the k.
    """
    weights, worths, effects = estimates.parts[:, :, :-1]
    found: Numbers = (worths - weights * (sums.worths / sums.weights)) / sums.weights + effects / sizes
    return found
