"""How often an experiment that is always looked at finds a difference: where there is none, and where one is.

    python -m benchmarks.experiments

Users come one after another, each with a taste of its own and some answers; what all of them like drifts. The
interval of the difference between two arms is read after every hundred users, and the experiment ends when it
leaves 0 out. An *answer* here is one impression.
"""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipeline.cli.terminal import ReportOption
from pipeline.evaluation.experiments import DifferenceSequence

LOOK_EVERY, TASTE, ANSWERS = 100, (2.0, 8.0), 4
"""Users between two looks; parameters of the beta distribution of tastes; mean number of answers."""


class Ended(NamedTuple):
    """After how many users and answers an experiment ended, if it found something."""

    users: int
    answers: int
    found: bool


def main(
    equal: Annotated[int, typer.Option(help="Experiments whose arms are equal.")] = 1_000,
    equal_users: Annotated[int, typer.Option(help="Users of each of them.")] = 2_000,
    lifted: Annotated[int, typer.Option(help="Experiments with an arm that earns more.")] = 100,
    lifted_users: Annotated[int, typer.Option(help="Users of each of them, at most.")] = 25_000,
    lift: Annotated[float, typer.Option(help="How much more it earns.")] = 0.1,
    report: ReportOption = None,
) -> None:
    """Print the share of experiments that found a difference, and after how many answers."""
    none = [ended(seed, equal_users, 0.0) for seed in track(range(equal))]
    some = [ended(equal + seed, lifted_users, lift) for seed in track(range(lifted))]
    table = Table("arms", "experiments", "found a difference", "answers until then: median, 80 %, at most")
    figures = {}
    for name, runs in (("equal", none), (f"{lift:+.0%}", some)):
        found = [run.answers for run in runs if run.found]
        shown = "" if not found else " / ".join(f"{np.quantile(found, q):,.0f}" for q in (0.5, 0.8, 1.0))
        figures[name] = {"experiments": len(runs), "found": len(found) / len(runs)}
        table.add_row(name, f"{len(runs):,}", f"{len(found) / len(runs):.1%}", shown)
    console = Console()
    console.print(table)
    console.print(
        f"{ANSWERS} answers a user; at most {lifted_users * ANSWERS:,} in an experiment with a lift"
    )
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")


def ended(seed: int, users: int, lift: float) -> Ended:
    """Run an experiment with arms of one half each until it finds a difference, or to its end."""
    random = np.random.default_rng(seed)
    is_arm, answers = random.random(users) < 0.5, 1 + random.poisson(ANSWERS - 1, users)
    drift = 1 + 0.3 * np.sin(np.arange(users) / 500)
    liked = np.clip(random.beta(*TASTE, users) * drift * (1 + lift * is_arm), 0, 1)
    rewards = random.binomial(answers, liked) / answers
    sequence = DifferenceSequence(0.5)
    for end in range(LOOK_EVERY, users + 1, LOOK_EVERY):
        sequence.add(is_arm[end - LOOK_EVERY : end], rewards[end - LOOK_EVERY : end])
        if not sequence.interval.lower <= 0 <= sequence.interval.upper:
            return Ended(end, int(answers[:end].sum()), found=True)
    return Ended(users, int(answers.sum()), found=False)


if __name__ == "__main__":
    typer.run(main)
