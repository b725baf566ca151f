"""How often the interval of an off-policy value misses it at any time, and how wide it is.

    python -m benchmarks.confidence

Slates of three among six items are shown by a policy that learns meanwhile, so its propensities follow from
what came before; the evaluated policy is another one. Half of the users click twice as often as the others.
The interval is read after every ten slates, and a log counts as missed if the value is outside at any of
these times. It is computed without a model of rewards, and with one: the mean of
the earlier slates of such users.
"""

from __future__ import annotations

import itertools
import json
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipeline.cli.terminal import ReportOption
from pipeline.evaluation.off_policy.confidence import Baseline, Range, ValueSequence
from pipeline.evaluation.off_policy.estimators import LoggedSlates

Floats = NDArray[np.float64]
ITEMS, PLACES, READ_EVERY = 6, 3, 10
CLICKED = np.array([0.02, 0.05, 0.1, 0.15, 0.25, 0.4])
"""Probability that each item is clicked, by the users on average."""
KEENNESS = np.array([2 / 3, 4 / 3])
"""How many times as often each kind of user clicks."""
SLATES = np.array(list(itertools.permutations(range(ITEMS), PLACES)))
EVALUATED = np.array([1.0, 1, 2, 2, 4, 4])
"""Strengths of the evaluated policy: a place goes to an item in proportion."""
FLOOR = 0.3
"""Strength that the logging policy leaves to each item at least."""


def main(
    logs: Annotated[int, typer.Option(help="Simulated logs.")] = 500,
    slates: Annotated[int, typer.Option(help="Slates of a log.")] = 2_000,
    report: ReportOption = None,
) -> None:
    """Print the share of logs in which the value was inside at all times, and the width by time."""
    value = true_value()
    read = np.array([followed(seed, slates) for seed in track(range(logs))])
    inside = ((read[..., 0] <= value) & (value <= read[..., 1])).all(axis=1).mean(axis=0)
    table = Table("slates", "interval, mean of its ends", "with the model", f"the value is {value:.4f}")
    for time in (slates // 10, slates // 4, slates):
        ends = read[:, time // READ_EVERY - 1].mean(axis=0)
        table.add_row(f"{time:,}", *(f"{lower:.3f} to {upper:.3f}" for lower, upper in ends), "")
    console = Console()
    console.print(table)
    console.print(f"inside at all times: {inside[0]:.1%} of {logs} logs, {inside[1]:.1%} with the model")
    if report:
        figures = {"logs": logs, "slates": slates, "inside": inside[0], "inside_with_model": inside[1]}
        report.write_text(json.dumps(figures) + "\n")


def true_value() -> float:
    """Return the expected clicks of a slate of the evaluated policy, by enumeration."""
    return float(propensities(EVALUATED, SLATES).prod(axis=1) @ CLICKED[SLATES].sum(axis=1))


def followed(seed: int, amount: int) -> Floats:
    """Return the ends of the intervals ``[times, 2, 2]``, without and with the model."""
    random = np.random.default_rng(seed)
    plain, modelled = ValueSequence(Range(0, PLACES)), ValueSequence(Range(0, PLACES))
    shown, clicked, ends = np.full(ITEMS, 2.0), np.ones(ITEMS), []
    users, earned, evaluated = np.ones(2), np.full(2, 0.5), propensities(EVALUATED, SLATES)
    for _ in range(amount // READ_EVERY):
        rounds = []
        for _ in range(READ_EVERY):
            strengths, user = FLOOR + 5 * (clicked / shown) ** 2, random.integers(2)
            logged = propensities(strengths, SLATES)
            number = random.choice(len(SLATES), p=logged.prod(axis=1))
            slate, most = SLATES[number], (evaluated / logged).prod(axis=1).max()
            clicks = (random.random(PLACES) < KEENNESS[user] * CLICKED[slate]).astype(np.float64)
            rounds.append((evaluated[number], logged[number], clicks, earned[user] / users[user], most))
            shown[slate] += 1
            clicked[slate] += clicks
            users[user] += 1
            earned[user] += clicks.sum()
        own, used, rewards, expected, most_weights = (
            np.stack(column) for column in zip(*rounds, strict=True)
        )
        slates = LoggedSlates.of(own, used, rewards)
        plain.add(slates)
        modelled.add(slates, Baseline(expected, most_weights))
        ends.append((plain.interval, modelled.interval))
    return np.array(ends)


def propensities(strengths: Floats, slates: NDArray[np.int64]) -> Floats:
    """Return the place-wise propensities of slates ``[n, k]`` that are drawn in proportion to strengths."""
    chosen = strengths[slates]
    found: Floats = chosen / (strengths.sum() - np.cumsum(chosen, axis=1) + chosen)
    return found


if __name__ == "__main__":
    typer.run(main)
