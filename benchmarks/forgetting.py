"""How much replay is right: what a learner still knows of a regime of the simulated shop that returns.

The shop's public lives by an old regime, then by a new one, and from then on by either in turn.
The production learner learns that with different amounts of replay, cut to different lengths,
and of context. Measured over
the first 1,000 events after each return, and over all; the figures of a row are means over
seeds, and below them stands how far they are from the default's, with the standard error of the
differences seed by seed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipeline.config import LearnerConfig, ReplayConfig, SegmentConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner

RECURRING = "shop:seed={seed},events={end},drift=recurring,drift_at={at},drift_span={span}"
DRIFT_AT, SPAN, END = 10_000, 5_000, 40_000
RETURNS = range(DRIFT_AT + SPAN, END, SPAN)
SOON = 1_000
BATCH, TOKENS = 256, 24
FIGURES = tuple(
    itertools.product(("returned", "overall"), ("model", "mixture"), ("hr@20", "mrr@20", "log_loss"))
)
Variant = tuple[int, int, int]
"""Replay, its length, and context."""
DEFAULT: Variant = (ReplayConfig().segments, ReplayConfig().length, SegmentConfig().context)


def main(
    replay: Annotated[list[int], typer.Option(help="Segments learned again a batch.")] = [0, 4, 8, 16, 32],  # noqa: B006
    length: Annotated[list[int], typer.Option(help="Their latest acts that are learned.")] = [8],  # noqa: B006
    context: Annotated[list[int], typer.Option(help="Acts before the new ones.")] = [20],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="How many, of the shop and the learner alike.")] = 3,
    report: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn the same shops with each amount of replay and each context, on one thread."""
    use_device("cpu", threads=1)
    backbone = load_backbone()
    variants = list(dict.fromkeys([DEFAULT, *itertools.product(replay, length, context)]))
    found: dict[Variant, list[list[float]]] = {variant: [] for variant in variants}
    for seed, variant in track(list(itertools.product(range(seeds), variants))):
        found[variant].append(quality_of(variant, seed, backbone, cache))
    figures = {variant: np.array(by_seed) for variant, by_seed in found.items()}
    if report:
        named = {f"replay {r} of {n}, context {c}": found[r, n, c] for r, n, c in variants}
        report.write_text(json.dumps({"figures": FIGURES, "by_seed": named}, indent=2) + "\n")
    _show(figures)


def quality_of(variant: Variant, seed: int, backbone: Backbone, cache: Path) -> list[float]:
    """The `FIGURES` of a new learner of this variant."""
    cpu, (replay, length, context) = torch.device("cpu"), variant
    config = LearnerConfig(
        seed=seed,
        replay=ReplayConfig(segments=replay, length=length),
        segments=SegmentConfig(context=context),
    )
    learner = Learner(config, backbone, TextEncoder(backbone, cache, TOKENS, cpu), cpu)
    qualities, events = {"returned": Quality(), "overall": Quality()}, 0
    for batch in micro_batches(_acts_and_items(seed), BATCH):
        scores = learner.score_and_learn(batch)
        qualities["overall"].add(scores)
        if any(start <= events < start + SOON for start in RETURNS):
            qualities["returned"].add(scores)
        events += len(batch.interactions)
    reports = {when: quality.report() for when, quality in qualities.items()}
    return [reports[when][scorer]["all"][figure] or 0.0 for when, scorer, figure in FIGURES]


def _acts_and_items(seed: int) -> Iterable[Item | Interaction]:
    source = RECURRING.format(seed=seed, end=END, at=DRIFT_AT, span=SPAN)
    return (event for event in open_dataset(source).events() if isinstance(event, Item | Interaction))


def _show(figures: dict[Variant, NDArray[np.float64]]) -> None:
    table = Table("replay", "length", "context", *(" ".join(figure) for figure in FIGURES))
    for variant, by_seed in figures.items():
        table.add_row(*map(str, variant), *(f"{mean:.4f}" for mean in by_seed.mean(axis=0)))
        apart = by_seed - figures[DEFAULT]
        error = apart.std(axis=0, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.zeros(len(FIGURES))
        told = zip(apart.mean(axis=0), error, strict=True)
        table.add_row("", "", "", *(f"{mean:+.4f} ±{spread:.4f}" for mean, spread in told))
    Console(width=240).print(table)


if __name__ == "__main__":
    typer.run(main)
