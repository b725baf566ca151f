"""Ways to tune the layers that read histories, and optimizers: quality, cost and size of each.

    python -m benchmarks.tunings --data /work/shared/data/online-retail --limit 10000

The production learner learns the first interactions of a data set, once with each way and optimizer. Quality
is prequential; events are per second of the processor's time, of one thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from time import process_time
from typing import Annotated, NamedTuple, get_args

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.retrains import new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, ModelSizes, OptimizerConfig, Tuning
from pipeline.datasets import Dataset, open_dataset
from pipeline.evaluation.prequential import Quality
from pipeline.training.backtest import first_events, micro_batches

BATCH = 256
RUNS = [
    *(f"{tuning} adamw {rate}" for tuning in get_args(Tuning) for rate in (".003", ".001", ".0003")),
    *(f"lora sgd {rate}" for rate in (".1", ".03", ".01")),
    *(f"lora adafactor {rate}" for rate in (".03", ".01", ".003")),
]
"""Way to tune, optimizer and rate of each row."""
QUALITY = ("hr@20", "mrr@20", "log_loss")
COLUMNS = (*QUALITY, "model hr@20", "events/s", "parameters", "snapshot MB", "moments MB")


class Row(NamedTuple):
    """The `COLUMNS` of a run."""

    hit_rate: float
    reciprocal_rank: float
    log_loss: float
    model_hit_rate: float
    speed: float
    parameters: int
    snapshot: float
    moments: float


def main(
    data: Annotated[str, typer.Option(help="A data set, as `millstream backtest` takes it.")],
    limit: Annotated[int, typer.Option(help="Interactions.")] = 10_000,
    run: Annotated[list[str], typer.Option(help="Way to tune, optimizer and rate of a row.")] = RUNS,  # noqa: B006
    seed: Annotated[int, typer.Option(help="Seed of the learner.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print a row for each way to tune and optimizer."""
    torch.set_num_threads(1)
    dataset, found = open_dataset(data), dict[str, Row]()
    for name in track(run):
        found[name] = row_of(dataset, limit, config_of(name, seed), cache)
        if report:
            report.write_text(json.dumps({"columns": COLUMNS, "found": found}, indent=2) + "\n")
    table = Table("tuning, optimizer, rate", *COLUMNS)
    for name, row in found.items():
        quality, (speed, parameters, *sizes) = row[:4], row[4:]
        cells = *(f"{figure:.4f}" for figure in quality), f"{speed:.0f}", f"{parameters:,}"
        table.add_row(name, *cells, *(f"{size:.2f}" for size in sizes))
    Console(width=160).print(table)


def config_of(name: str, seed: int) -> LearnerConfig:
    """Return the settings that a run names: way to tune, optimizer and rate."""
    tuning, kind, rate = name.split()
    optimizer = OptimizerConfig().replace(kind=kind, rate=float(rate))
    return LearnerConfig(seed=seed, sizes=ModelSizes().replace(tuning=tuning), optimizer=optimizer)


def row_of(dataset: Dataset, limit: int, config: LearnerConfig, cache: Path) -> Row:
    """Learn with a configuration; the catalogue is encoded before the clock starts."""
    learner, quality = new_learner(cache, config), Quality()
    batches = micro_batches(first_events(dataset.events(), limit), BATCH)
    quality.add(learner.score_and_learn(next(batches)))
    began, events = process_time(), 0
    for batch in batches:
        quality.add(learner.score_and_learn(batch))
        events += len(batch.interactions)
    seconds, report = process_time() - began, quality.report()
    mixture, learned = report["mixture"]["all"], learner.recommender.learned()
    hit_rate, reciprocal_rank, log_loss = (mixture[figure] or 0.0 for figure in QUALITY)
    return Row(
        hit_rate,
        reciprocal_rank,
        log_loss,
        report["model"]["all"]["hr@20"] or 0.0,
        events / seconds,
        sum(part.numel() for part in learned.values()),
        megabytes(learned.values()),
        megabytes(learner.optimizer.moments().values()),
    )


def megabytes(tensors: Iterable[Tensor]) -> float:
    """Return how much memory tensors take."""
    return sum(tensor.nbytes for tensor in tensors) / 1e6


if __name__ == "__main__":
    typer.run(main)
