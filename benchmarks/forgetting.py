"""Measure how much replay helps: what a learner still knows of a returning regime of the simulated shop.

The shop's users follow an old regime, then a new one, and from then on both in turn. The
production learner learns the shop with different amounts and lengths of replay, and lengths of
context. Figures are measured over the first 1,000 events after each return, and over all events.
A row shows means over seeds, and below them the differences from the default, with the standard
error of the differences per seed.
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

from pipeline.cli.terminal import ReportOption
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
"""Amount of replay, its length, and the length of the context."""
DEFAULT: Variant = (ReplayConfig().segments, ReplayConfig().length, SegmentConfig().context)


def main(
    replay: Annotated[list[int], typer.Option(help="Replayed Segments per batch.")] = [0, 4, 8, 16, 32],  # noqa: B006
    length: Annotated[list[int], typer.Option(help="Latest acts learned of each replayed Segment.")] = [8],  # noqa: B006
    context: Annotated[list[int], typer.Option(help="Acts of context before the new ones.")] = [20],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Number of seeds, each used for shop and learner.")] = 3,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn the same shops with each combination of replay and context, on one thread."""
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
    """Return the `FIGURES` of a new learner of this variant."""
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
        differences, n = by_seed - figures[DEFAULT], len(by_seed)
        errors = differences.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(FIGURES))
        cells = zip(differences.mean(axis=0), errors, strict=True)
        table.add_row("", "", "", *(f"{mean:+.4f} ±{error:.4f}" for mean, error in cells))
    Console(width=240).print(table)


if __name__ == "__main__":
    typer.run(main)
