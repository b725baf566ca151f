"""Slates: their value by what is chosen of them and by what showing them does, and the best one.

A user chooses one item of a slate or nothing: item i with weight vᵢ = exp(its logit), nothing with v₀. The
value of a slate A of k items, which is that of what is chosen (SlateQ, Ie et al. 2019) and of being shown, is

    Q(s, A) = Σ vᵢ Q̄ᵢ / Σ vᵢ over A and nothing + Σ Eᵢ / k over A

SlateQ alone has no E, as if what is shown and not chosen changed nothing. But users tire of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDS = 6
"""Of the search for the best slate; without E it converges faster than linearly, mostly in three."""
LARGEST_RATIO = 60.0
"""Nats by which an item may be chosen rather than a slate; beyond, float32 has no numbers."""


class Estimates(NamedTuple):
    """What is believed of m items in b states.

    Attributes:
        rewards: ``[b, m + 1]`` of each item if it is chosen, and of nothing.
        futures: ``[b, m + 1]`` values of what follows then; Q̄ is the sum of both.
        logits: ``[b, m + 1]`` of the choice.
        effects: ``[b, m]`` E of each item, if it is shown.
    """

    rewards: Tensor
    futures: Tensor
    logits: Tensor
    effects: Tensor

    @property
    def values(self) -> Tensor:
        """Q̄ of each item and of nothing, ``[b, m + 1]``."""
        return self.rewards + self.futures


def among(numbers: Tensor, members: Tensor) -> Tensor:
    """Return numbers with -inf for those that are not members."""
    return numbers.masked_fill(~members, -torch.inf)


def choices(logits: Tensor, members: Tensor) -> Tensor:
    """Return the probabilities ``[b, m + 1]`` with which members ``[b, m]``, and nothing, are chosen."""
    return torch.softmax(among(logits, _with_nothing(members)), dim=-1)


def mean_effects(effects: Tensor, members: Tensor) -> Tensor:
    """Return the mean effect ``[b]`` of the members ``[b, m]``; 0 without any."""
    return (effects * members).sum(dim=-1) / members.sum(dim=-1).clamp(min=1)


def slate_values(estimates: Estimates, members: Tensor) -> Tensor:
    """Return the values ``[b]`` of slates with these members ``[b, m]``."""
    chosen = (choices(estimates.logits, members) * estimates.values).sum(dim=-1)
    return chosen + mean_effects(estimates.effects, members)


def gains(estimates: Estimates, members: Tensor, sizes: Tensor) -> Tensor:
    """Return how much each item, beside a slate, adds to its value: vᵢ (Q̄ᵢ - Q) / Σ v + Eᵢ / k, ``[b, m]``.

    Args:
        members: ``[b, m]`` which items are in the slate.
        sizes: ``[b]`` k.
    """
    reached = (choices(estimates.logits, members) * estimates.values).sum(dim=-1, keepdim=True)
    total = among(estimates.logits, _with_nothing(members)).logsumexp(dim=-1, keepdim=True)
    shares = torch.exp((estimates.logits - total).clamp(max=LARGEST_RATIO))
    return (shares * (estimates.values - reached))[:, :-1] + estimates.effects / sizes[:, None]


def swaps(estimates: Estimates, members: Tensor, sizes: Tensor) -> Tensor:
    """Return how a slate's value changes if an item takes the place of its weakest member, ``[b, m]``.

    Exact of items that are not in it, so that a slate of one item is the best if all are below 0. Members
    have 0 or more, by their gains above the weakest's.

    Args:
        members, sizes: as for `gains`; there is a member.
    """
    own = gains(estimates, members, sizes)
    weakest = own.masked_fill(~members, torch.inf).argmin(dim=-1, keepdim=True)
    rest = members.scatter(1, weakest, False)
    weights = torch.exp(estimates.logits - estimates.logits.amax(dim=-1, keepdim=True))
    kept = weights * _with_nothing(rest)
    added, worth = weights[:, :-1], (weights * estimates.values)[:, :-1]
    chosen = (kept * estimates.values).sum(-1, keepdim=True) + worth
    total = kept.sum(-1, keepdim=True) + added
    effects = (estimates.effects * rest).sum(-1, keepdim=True) + estimates.effects
    changed = chosen / total.clamp(min=1e-30) + effects / members.sum(-1, keepdim=True)
    return torch.where(
        members, own - own.gather(1, weakest), changed - slate_values(estimates, members)[:, None]
    )


def best_slates(estimates: Estimates, allowed: Tensor, sizes: Tensor) -> Tensor:
    """Return the members ``[b, m]`` of the slates with the highest values.

    Without effects, a value is a ratio of two sums over the slate, and the best slate is the one that has the
    items with the highest gains over itself (Dinkelbach 1967): no search over slates. With effects the best
    of those found so is returned.

    Args:
        allowed: ``[b, m]`` which items may be in a slate.
        sizes: ``[b]`` numbers of items in a slate; all that are allowed, if they are fewer.
    """
    members = best = _highest(estimates.effects, allowed, sizes)
    highest = slate_values(estimates, best)
    for _ in range(ROUNDS):
        before, members = members, _highest(gains(estimates, members, sizes), allowed, sizes)
        if torch.equal(before, members):
            break
        reached = slate_values(estimates, members)
        best = torch.where((reached > highest)[:, None], members, best)
        highest = torch.maximum(reached, highest)
    swapped = _highest(swaps(estimates, best, sizes), allowed, sizes)
    return torch.where((slate_values(estimates, swapped) > highest)[:, None], swapped, best)


def _highest(numbers: Tensor, allowed: Tensor, sizes: Tensor) -> Tensor:
    ranks = among(numbers, allowed).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (ranks < sizes[:, None]) & allowed


def _with_nothing(members: Tensor) -> Tensor:
    return torch.cat((members, torch.ones_like(members[:, :1])), dim=1)
