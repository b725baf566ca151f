"""Policies of every kind, and the slates that they can make."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce
from pipeline.policy.port import Floats, Policy

POLICIES: list[Policy] = [
    GREEDY,
    EpsilonGreedy(explored_places=3, pool=100, epsilon=0.3),
    EpsilonGreedy(explored_places=2, pool=4, epsilon=1.0),
    EpsilonGreedy(explored_places=5, pool=2, epsilon=0.0),
    PlackettLuce(explored_places=3, pool=100, epsilon=0.0, temperature=1.0),
    PlackettLuce(explored_places=3, pool=100, epsilon=0.1, temperature=0.5),
    PlackettLuce(explored_places=2, pool=4, epsilon=0.1, temperature=2.0),
    PlackettLuce(explored_places=1, pool=5, epsilon=0.05, temperature=0.25),
]


def slates(
    policy: Policy, logits: Floats, k: int, above: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield each slate of k of the candidates, best first, with its probability, by the words of the docs."""
    if len(above) == k:
        yield above, 1.0
        return
    left = [n for n in range(len(logits)) if n not in above]
    pool = [n for n in left if n < policy.pool]
    if len(above) >= policy.explored_places or not pool:
        shares = {left[0]: 1.0}
    else:
        shares = _shares(policy, logits, pool)
    for chosen, share in shares.items():
        for slate, rest in slates(policy, logits, k, (*above, chosen)):
            yield slate, share * rest


def _shares(policy: Policy, logits: Floats, pool: list[int]) -> dict[int, float]:
    match policy:
        case EpsilonGreedy(epsilon=epsilon):
            base = {pool[0]: 1.0}
        case PlackettLuce(epsilon=epsilon, temperature=temperature):
            weights = {n: float(np.exp(logits[n] / temperature)) for n in pool}
            base = {n: weight / sum(weights.values()) for n, weight in weights.items()}
        case _:
            raise TypeError(policy)
    return {n: (1 - epsilon) * base.get(n, 0.0) + epsilon / len(pool) for n in pool}
