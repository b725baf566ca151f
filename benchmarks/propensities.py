"""Whether slates are drawn as often as their propensities say, by enumeration of all slates.

    python -m benchmarks.propensities --draws 1000000 --seeds 20

Draws slates of 3 of 6 items with the random numbers of as many impressions, by each policy and mix of
settings, and compares how often each slate occurs with its probability by a chi-squared test. The
probabilities are those of the words of docs/policies.md, one slate after another, without our code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import chisquare

from pipeline.policy.draws import choose, uniforms
from pipeline.policy.policies import GREEDY, DeepQ, EpsilonGreedy, PlackettLuce, Thompson
from pipeline.policy.port import Floats, Policy

LOGITS = np.array([1.5, 1.0, 0.5, 0.5, -0.5, -2.0])
VALUES = np.random.default_rng(0).normal([0.3, 0.2, 0.1, 0, 0, 0.2], 0.5, (16, 6))
"""Samples of the items' values."""
SLATE = 3
LEAST_EXPECTED = 5.0
"""Slates that are expected less often count together: the test does not hold for them singly."""
SIGNIFICANT = 0.01
POLICIES: list[Policy] = [
    GREEDY,
    EpsilonGreedy(explored_places=3, pool=100, epsilon=0.3),
    EpsilonGreedy(explored_places=2, pool=4, epsilon=1.0),
    EpsilonGreedy(explored_places=5, pool=2, epsilon=0.0),
    PlackettLuce(explored_places=3, pool=100, epsilon=0.0, temperature=1.0),
    PlackettLuce(explored_places=3, pool=100, epsilon=0.1, temperature=0.5),
    PlackettLuce(explored_places=2, pool=4, epsilon=0.1, temperature=2.0),
    PlackettLuce(explored_places=1, pool=5, epsilon=0.05, temperature=0.25),
    Thompson(explored_places=3, pool=100, epsilon=0.05),
    Thompson(explored_places=2, pool=4, epsilon=0.0),
    DeepQ(explored_places=3, pool=100, epsilon=0.2),
]
Positions = tuple[int, ...]


def main(
    draws: Annotated[int, typer.Option(help="Slates of each policy and seed.")] = 1_000_000,
    seeds: Annotated[int, typer.Option(help="Seeds.")] = 20,
) -> None:
    """Print of each policy in how many seeds the slates are as frequent as they should be."""
    found: list[list[float]] = [[] for _ in POLICIES]
    for seed in range(seeds):
        random = random_numbers(seed, draws)
        for policy, own in zip(POLICIES, found, strict=True):
            own.append(p_value(policy, random))
    table = Table(
        "policy", "parameters", f"seeds with p > {SIGNIFICANT}", "least p", title=f"{draws:,} slates a seed"
    )
    for policy, own in zip(POLICIES, found, strict=True):
        passed = sum(value > SIGNIFICANT for value in own)
        table.add_row(policy.name, policy.version, f"{passed} of {seeds}", f"{min(own):.4f}")
    Console(width=140).print(table)


def random_numbers(seed: int, draws: int) -> Floats:
    """Return the random numbers ``[draws, SLATE]`` of so many impressions."""
    return np.array([uniforms(f"{seed}-{number}", SLATE) for number in range(draws)])


def p_value(policy: Policy, random: Floats) -> float:
    """Test whether slates drawn with random numbers ``[draws, SLATE]`` are as frequent as enumeration says.

    A slate that has no probability, and is drawn all the same, gives 0.
    """
    codes, counted = np.unique(drawn(policy, random) @ _BASE, return_counts=True)
    observed = dict(zip(codes.tolist(), counted.tolist(), strict=True))
    expected = {int(np.array(slate) @ _BASE): p * len(random) for slate, p in slates(policy) if p > 0}
    if not observed.keys() <= expected.keys():
        return 0.0
    often = [code for code, amount in expected.items() if amount >= LEAST_EXPECTED]
    counts = np.array([[observed.get(code, 0), expected[code]] for code in often])
    rest = len(random) - counts.sum(axis=0)
    if rest[1] >= LEAST_EXPECTED:
        counts = np.vstack([counts, rest])
    if len(counts) == 1:
        return 1.0
    return float(chisquare(counts[:, 0], counts[:, 1] * counts[:, 0].sum() / counts[:, 1].sum()).pvalue)


_BASE = LOGITS.size ** np.arange(SLATE)[::-1]


def drawn(policy: Policy, random: Floats) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Draw slates ``[draws, SLATE]``, by our code; later places are greedy."""
    rows, left = np.arange(len(random)), np.ones((len(random), LOGITS.size), dtype=np.bool_)
    in_pool = np.arange(LOGITS.size) < policy.pool
    found = np.empty((len(random), SLATE), dtype=np.int64)
    for place in range(SLATE):
        if place < min(policy.explored_places, policy.pool):
            scores = LOGITS if policy.ranks_by is None else samples(policy)
            found[:, place], _ = choose(policy, scores, left & in_pool, random[:, place])
        else:
            found[:, place] = left.argmax(axis=1)
        left[rows, found[:, place]] = False
    return found


def samples(policy: Policy) -> Floats:
    """Return the values ``[draws, 6]`` that a policy ranks by: a DQN has one for each item."""
    return VALUES[:1] if policy.ranks_by == "dqn" else VALUES


def slates(policy: Policy, above: Positions = ()) -> Iterator[tuple[Positions, float]]:
    """Yield each slate, as positions of the items best first, with its probability given what is above."""
    if len(above) == SLATE:
        yield above, 1.0
        return
    left = [position for position in range(LOGITS.size) if position not in above]
    pool = [position for position in left if position < policy.pool]
    is_drawn = len(above) < policy.explored_places and pool
    for position, share in (_shares(policy, pool) if is_drawn else {left[0]: 1.0}).items():
        for slate, rest in slates(policy, (*above, position)):
            yield slate, share * rest


def _shares(policy: Policy, pool: list[int]) -> dict[int, float]:
    match policy:
        case EpsilonGreedy(epsilon=epsilon):
            base = {pool[0]: 1.0}
        case PlackettLuce(epsilon=epsilon, temperature=temperature):
            weights = {position: float(np.exp(LOGITS[position] / temperature)) for position in pool}
            base = {position: weight / sum(weights.values()) for position, weight in weights.items()}
        case Thompson(epsilon=epsilon) | DeepQ(epsilon=epsilon):
            wins = [max(pool, key=lambda position: own[position]) for own in samples(policy)]
            base = {position: wins.count(position) / len(wins) for position in pool}
        case _:
            raise TypeError(policy)
    return {position: (1 - epsilon) * base.get(position, 0.0) + epsilon / len(pool) for position in pool}


if __name__ == "__main__":
    typer.run(main)
