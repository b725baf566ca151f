"""Measure how soon an abrupt drift of the simulated shop raises an alarm, and the rate of false alarms.

The production learner learns shops whose users change their preferences at once, and shops that
do not change; the drift monitor watches as in the daemon. Shops without drift have no new
items, because a new item is meant to change what is bought.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipeline.cli.terminal import ReportOption
from pipeline.config import DriftConfig, LearnerConfig
from pipeline.control.alarms import DriftAlarm, Signal
from pipeline.datasets import open_dataset
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.monitoring.drift import Acts, DriftMonitor
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner

DRIFTING = "shop:seed={seed},events={end},drift=abrupt,drift_at={at}"
CALM = "shop:seed={seed},events={end},arrivals=0"
DRIFT_AT, IN_TIME = 10_000, 2_000
CALM_EVENTS, CALM_SEEDS_FROM = 50_000, 100
BATCH, TOKENS = 256, 24
ANY = "any"

Alarms = list[DriftAlarm]


def main(
    seeds: Annotated[int, typer.Option(help="Number of drifting shops.")] = 20,
    calm: Annotated[
        int, typer.Option(help=f"Number of shops without drift, of {CALM_EVENTS} events each.")
    ] = 4,
    first: Annotated[int, typer.Option(help="First seed of each kind; settings were chosen on 0.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Run every shop through the learner and the monitor, on one thread."""
    use_device("cpu", threads=1)
    backbone, end = load_backbone(), DRIFT_AT + IN_TIME
    drifting = [DRIFTING.format(seed=seed, end=end, at=DRIFT_AT) for seed in range(first, first + seeds)]
    calm_ones = [
        CALM.format(seed=CALM_SEEDS_FROM + seed, end=CALM_EVENTS) for seed in range(first, first + calm)
    ]
    raised = {source: watch(source, backbone, cache) for source in track([*drifting, *calm_ones])}
    names = [*Signal, ANY]
    figures = {name: _figures(name, raised, drifting, calm_ones) for name in names}
    if report:
        alarms = {source: [alarm.model_dump() for alarm in found] for source, found in raised.items()}
        report.write_text(json.dumps({"figures": figures, "alarms": alarms}, indent=2) + "\n")
    _show(figures)


def watch(source: str, backbone: Backbone, cache: Path) -> Alarms:
    """Return the alarms that a shop raises while a new learner learns it."""
    cpu = torch.device("cpu")
    learner = Learner(LearnerConfig(), backbone, TextEncoder(backbone, cache, TOKENS, cpu), cpu)
    monitor, alarms = DriftMonitor(DriftConfig()), Alarms()
    events = (event for event in open_dataset(source).events() if isinstance(event, Item | Interaction))
    for batch in micro_batches(events, BATCH):
        scores = learner.score_and_learn(batch)
        rows = np.array([learner.stream.catalogue.row(act.item) for act in batch.interactions], np.int64)
        acts = Acts(rows, learner.table.all().content)
        alarms += monitor.update(batch.generation, batch.step, scores, acts)
    return alarms


def _figures(
    name: str, raised: dict[str, Alarms], drifting: Iterable[str], calm: Iterable[str]
) -> dict[str, float | None]:
    """Compute the figures of one signal: shops found in time, delays in events, and false alarms."""
    events_of = {
        source: [a.events for a in alarms if name in (a.signal, ANY)] for source, alarms in raised.items()
    }
    delays = [
        min(after) - DRIFT_AT
        for source in drifting
        if (after := [e for e in events_of[source] if e > DRIFT_AT])
    ]
    return {
        "found": len(delays),
        "median_delay": median(delays) if delays else None,
        "longest_delay": max(delays, default=None),
        "false_before_drift": sum(e <= DRIFT_AT for source in drifting for e in events_of[source]),
        "false_while_calm": sum(len(events_of[source]) for source in calm),
    }


def _show(figures: dict[str, dict[str, float | None]]) -> None:
    table = Table("signal", *next(iter(figures.values())))
    for name, row in figures.items():
        table.add_row(name, *("-" if value is None else f"{value:g}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
