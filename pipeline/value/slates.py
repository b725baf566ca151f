"""Slates: their value by what is chosen of them and by what showing them does, and the best one.

A user chooses one item of a slate or nothing: item i with weight vᵢ = exp(its logit), nothing with v₀. The
value of a slate A of k items, which is that of what is chosen (SlateQ, Ie et al. 2019) and of being shown, is

    Q(s, A) = Σ vᵢ Q̄ᵢ / Σ vᵢ over A and nothing + Σ Eᵢ / k over A

SlateQ alone has no E, as if what is shown and not chosen changed nothing. But users tire of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]
Members = NDArray[np.bool_]
Sizes = NDArray[np.int64]
ROUNDS = 6
"""Of the search for the best slate; without E it converges faster than linearly, mostly in three."""
LARGEST_RATIO = 60.0
"""Nats by which an item may be chosen rather than a slate; beyond, float32 has no numbers."""
LEAST_WEIGHT = 1e-30


class Estimates(NamedTuple):
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


class _Choice(NamedTuple):
    """What is chosen of slates: Σ v Q̄ / Σ v, and log Σ v, over the items and nothing; both ``[b, 1]``."""

    value: Numbers
    total: Numbers

    @classmethod
    def of(cls, estimates: Estimates, members: Members) -> _Choice:
        own = np.where(_with_nothing(members), estimates.logits, -np.inf)
        top = own.max(axis=-1, keepdims=True)
        weights = np.exp(own - top)
        total = weights.sum(axis=-1, keepdims=True)
        return cls((weights * estimates.values).sum(axis=-1, keepdims=True) / total, top + np.log(total))


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
    weakest = np.where(members, own, np.inf).argmin(axis=-1)[:, None]
    rest = members & (np.arange(members.shape[1]) != weakest)
    weights = np.exp(estimates.logits - estimates.logits.max(axis=-1, keepdims=True))
    kept = weights * _with_nothing(rest)
    added, worth = weights[:, :-1], (weights * estimates.values)[:, :-1]
    chosen = (kept * estimates.values).sum(axis=-1, keepdims=True) + worth
    total = kept.sum(axis=-1, keepdims=True) + added
    effects = (estimates.effects * rest).sum(axis=-1, keepdims=True) + estimates.effects
    changed = chosen / np.maximum(total, LEAST_WEIGHT) + effects / members.sum(axis=-1, keepdims=True)
    before = _valued(choice, estimates, members)[:, None]
    found: Numbers = np.where(members, own - own[np.arange(len(own))[:, None], weakest], changed - before)
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
        if np.array_equal(before, members):
            break
        choice = _Choice.of(estimates, members)
        reached = _valued(choice, estimates, members)
        best = np.where((reached > highest)[:, None], members, best)
        highest = np.maximum(reached, highest)
    swapped = _highest(swaps(estimates, best, sizes), allowed, sizes)
    return np.where((slate_values(estimates, swapped) > highest)[:, None], swapped, best)


def _valued(choice: _Choice, estimates: Estimates, members: Members) -> Numbers:
    effects = (estimates.effects * members).sum(axis=-1) / np.maximum(members.sum(axis=-1), 1)
    found: Numbers = choice.value[:, 0] + effects
    return found


def _gained(choice: _Choice, estimates: Estimates, sizes: Sizes) -> Numbers:
    shares = np.exp(np.minimum(estimates.logits - choice.total, LARGEST_RATIO))
    found: Numbers = (shares * (estimates.values - choice.value))[:, :-1] + estimates.effects / sizes[:, None]
    return found


def _highest(numbers: Numbers, allowed: Members, sizes: Sizes) -> Members:
    order = np.where(allowed, -numbers, np.inf).argsort(axis=-1, kind="stable")
    found = np.zeros_like(allowed)
    found[np.arange(len(order))[:, None], order] = np.arange(order.shape[1]) < sizes[:, None]
    return found & allowed


def _with_nothing(members: Members) -> Members:
    return np.concatenate((members, np.ones_like(members[:, :1])), axis=1)
