"""How often the interval of an off-policy value misses it at any time, and how wide it is.

    python -m benchmarks.confidence

Slates of three among six items are shown by a policy that learns meanwhile, so its propensities follow from
what came before; the evaluated policy is another one. The interval is read after every ten slates, and a
log counts as missed if the value is outside at any of these times.
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
from pipeline.evaluation.off_policy.confidence import Range, ValueSequence
from pipeline.evaluation.off_policy.estimators import LoggedSlates

Floats = NDArray[np.float64]
ITEMS, PLACES, READ_EVERY = 6, 3, 10
CLICKED = np.array([0.02, 0.05, 0.1, 0.15, 0.25, 0.4])
"""Probability that each item is clicked."""
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
    read = [followed(seed, slates) for seed in track(range(logs))]
    inside = np.mean([bool(((ends[:, 0] <= value) & (value <= ends[:, 1])).all()) for ends in read])
    table = Table("slates", "interval, mean of its ends", f"the value is {value:.4f}")
    for time in (slates // 10, slates // 4, slates):
        lower, upper = np.mean([ends[time // READ_EVERY - 1] for ends in read], axis=0)
        table.add_row(f"{time:,}", f"{lower:.3f} to {upper:.3f}", "")
    console = Console()
    console.print(table)
    console.print(f"inside at all times: {inside:.1%} of {logs} logs")
    if report:
        report.write_text(json.dumps({"logs": logs, "slates": slates, "inside": float(inside)}) + "\n")


def true_value() -> float:
    """Return the expected clicks of a slate of the evaluated policy, by enumeration."""
    return sum(
        float(np.prod(propensities(EVALUATED, np.array(slate)))) * float(CLICKED[list(slate)].sum())
        for slate in itertools.permutations(range(ITEMS), PLACES)
    )


def followed(seed: int, amount: int) -> Floats:
    """Return the ends of the interval ``[times, 2]`` while slates are shown."""
    random, sequence = np.random.default_rng(seed), ValueSequence(Range(0, PLACES))
    shown, clicked, ends = np.full(ITEMS, 2.0), np.ones(ITEMS), []
    for _ in range(amount // READ_EVERY):
        rounds = []
        for _ in range(READ_EVERY):
            strengths = FLOOR + 5 * (clicked / shown) ** 2
            slate = np.argsort(-np.log(strengths) - random.gumbel(size=ITEMS))[:PLACES]
            clicks = (random.random(PLACES) < CLICKED[slate]).astype(np.float64)
            rounds.append((propensities(EVALUATED, slate), propensities(strengths, slate), clicks))
            shown[slate] += 1
            clicked[slate] += clicks
        evaluated, logged, rewards = (np.stack(column) for column in zip(*rounds, strict=True))
        sequence.add(LoggedSlates.of(evaluated, logged, rewards))
        ends.append(sequence.interval)
    return np.array(ends)


def propensities(strengths: Floats, slate: NDArray[np.int64]) -> Floats:
    """Return the place-wise propensities of a slate that is drawn in proportion to strengths."""
    chosen = strengths[slate]
    left: Floats = strengths.sum() - np.concatenate([[0.0], np.cumsum(chosen)[:-1]])
    found: Floats = chosen / left
    return found


if __name__ == "__main__":
    typer.run(main)
