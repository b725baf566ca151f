"""What a retrain on a new regime costs when the old one returns, with and without replay.

    python -m benchmarks.dormant

The shop's users follow an old regime, then a new one, then the old one again. A champion is retrained on the
acts of the new regime, with and without replay, and goes on. Figures are of the mixture: on acts after the
return, asked at once, before anything else is learned; on what is left of the new regime; after the return.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import (
    HELD_OUT,
    batches_of,
    copy_of,
    interactions_of,
    learn_all,
    mean_figures,
    new_learner,
    retrain,
)
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, TrainingConfig
from pipeline.datasets import open_dataset
from pipeline.events import Interaction
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

SHOP = "shop:seed={seed},events=17000,drift=recurring,drift_at=10000,drift_span=5000"
WINDOW, CHAMPION = 41, 51
"""The first batch of the new regime alone, which a retrain begins with, and the one that it ends before."""
PARTS = {"before": slice(CHAMPION + HELD_OUT, 59), "after": slice(60, 64)}
"""Batches before and after the return, which is in the 59th."""
FIGURES = ("log_loss", "hr@20")
Found = dict[str, dict[str, float]]


def main(
    seeds: Annotated[int, typer.Option(help="Number of seeds, each used for shop and learner.")] = 3,
    replay: Annotated[list[int], typer.Option(help="Old segments in a minibatch.")] = [0, 8],  # noqa: B006
    past: Annotated[list[float], typer.Option(help="Worth of older counts afterwards.")] = [0.3],  # noqa: B006
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print figures of a champion and of its retrained copies, means over seeds."""
    configs = {f"replay {r}, past {p}": TrainingConfig(replay=r, past=p) for r, p in product(replay, past)}
    found: dict[str, list[Found]] = {name: [] for name in ("champion", *configs)}
    for seed in track(range(seeds)):
        batches = batches_of(open_dataset(SHOP.format(seed=seed)).events())
        champion = new_learner(cache, LearnerConfig(seed=seed))
        learn_all(champion, batches[:CHAMPION])
        for name, config in configs.items():
            found[name].append(_figures(_retrained(champion, batches, config), batches))
        found["champion"].append(_figures(champion, batches))
    if report:
        report.write_text(json.dumps(found, indent=2) + "\n")
    _show(found)


def _retrained(champion: Learner, batches: list[MicroBatch], config: TrainingConfig) -> Learner:
    candidate, end = copy_of(champion), CHAMPION + HELD_OUT
    retrain(
        candidate, interactions_of(batches[WINDOW:CHAMPION]), interactions_of(batches[CHAMPION:end]), config
    )
    return candidate


def _figures(learner: Learner, batches: list[MicroBatch]) -> Found:
    """Let a learner that stands after the window go on; return its figures by part."""
    known = [replace(batch, interactions=_known(learner, batch)) for batch in batches[PARTS["after"]]]
    at_once = [learner.score(batch) for batch in known]
    scores = dict(enumerate(map(learner.score_and_learn, batches[CHAMPION : PARTS["after"].stop]), CHAMPION))
    found = {
        name: mean_figures(scores[number] for number in range(part.start, part.stop))
        for name, part in PARTS.items()
    }
    return {"at once": mean_figures(at_once), **found}


def _known(learner: Learner, batch: MicroBatch) -> list[Interaction]:
    """Return the acts on items that a learner knows."""
    return [event for event in batch.interactions if event.item in learner.stream.catalogue]


def _show(found: dict[str, list[Found]]) -> None:
    parts = found["champion"][0]
    table = Table("", *(f"{figure}, {part}" for part in parts for figure in FIGURES))
    for name, by_seed in found.items():
        means = (np.mean([one[part][figure] for one in by_seed]) for part in parts for figure in FIGURES)
        table.add_row(name, *(f"{mean:.4f}" for mean in means))
    Console(width=160).print(table)


if __name__ == "__main__":
    typer.run(main)
