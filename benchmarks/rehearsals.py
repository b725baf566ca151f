"""What rehearsals are worth: steps on replayed Segments alone, so many after each batch.

    python -m benchmarks.rehearsals --data shop:seed=0,events=20000 --limit 20000 --batch 256 --rehearsals 0

The production learner learns the first interactions of a data set. Figures are prequential.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig
from pipeline.datasets import Dataset, open_dataset
from pipeline.evaluation.prequential import Quality
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.backtest import first_events, micro_batches

COLUMNS = [(scorer, figure) for scorer in ("model", "mixture") for figure in ("hr@20", "mrr@20", "log_loss")]


def main(
    data: Annotated[str, typer.Option(help="A data set, as `millstream backtest` takes it.")],
    limit: Annotated[int, typer.Option(help="Interactions.")] = 20_000,
    batch: Annotated[list[int], typer.Option(help="Interactions in a batch.")] = [256],  # noqa: B006
    rehearsals: Annotated[list[int], typer.Option(help="Steps after each batch.")] = [0, 1, 2],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Seed of the learner.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print the figures of each size of batch with each number of rehearsals."""
    dataset, found = open_dataset(data), dict[str, list[float]]()
    for size, steps in track(list(product(batch, rehearsals))):
        found[f"{size} / {steps}"] = figures_of(dataset, limit, size, steps, seed, cache)
    if report:
        report.write_text(json.dumps({"figures": COLUMNS, "found": found}, indent=2) + "\n")
    table = Table("batch / rehearsals", *map(" ".join, COLUMNS))
    for name, figures in found.items():
        table.add_row(name, *(f"{figure:.4f}" for figure in figures))
    Console(width=160).print(table)


def figures_of(dataset: Dataset, limit: int, size: int, steps: int, seed: int, cache: Path) -> list[float]:
    """Return the `COLUMNS` of a new learner."""
    learner, quality = new_learner(cache, LearnerConfig(seed=seed)), Quality()
    for batch in with_rehearsals(micro_batches(first_events(dataset.events(), limit), size), steps):
        quality.add(learner.score_and_learn(batch))
    report = quality.report()
    return [report[scorer]["all"][figure] or 0.0 for scorer, figure in COLUMNS]


def with_rehearsals(batches: Iterator[MicroBatch], steps: int) -> Iterator[MicroBatch]:
    """Yield each batch and so many rehearsals after it, all numbered anew."""
    numbers = count()
    for batch in batches:
        yield replace(batch, step=next(numbers))
        for _ in range(steps):
            yield MicroBatch(0, next(numbers), [], [], learns=False, rehearses=True)


if __name__ == "__main__":
    typer.run(main)
