"""Compare language models as the backbone: the same backtest with each, in a process of its own.

    python -m benchmarks.backbones --data /work/shared/data/online-retail

Quality is prequential, over the first events, with the whole catalogue known before them. Processor time is
that of one thread, so that a busy machine changes it less than the wall clock. Memory is what belongs to the
process alone (the map of the weights is shared by all processes, and is its own column).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.learner import BATCH
from pipeline.checkpoints.capture import update_of
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, ModelConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality, Report
from pipeline.events import Item
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.backbone_files import DEFAULT, SMALL_DECODER
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.snapshots.codec import encode_layer, encode_own
from pipeline.training.backtest import first_events, micro_batches
from pipeline.training.learner import Learner

POSITION = Position(1, 0, "", 0, {}, 0, 0, {})
TITLES = 200
KIB, MIB = 1024, 2**20
FIGURES = {
    "HR@20": ("all", "hr@20"),
    "MRR@20": ("all", "mrr@20"),
    "log-loss": ("all", "log_loss"),
    "cold, HR@20": ("cold", "hr@20"),
    "first of a basket, HR@20": ("first_of_basket", "hr@20"),
}


class Run(NamedTuple):
    """The figures of a backbone.

    Attributes:
        load_seconds: processor time until it is loaded.
        title_ms: processor time to encode a title.
        events_per_second: of processor time, learning.
        own_mib, mapped_mib: memory of the process at the end, and of maps of files.
        snapshot_mib: size of a full snapshot.
        quality: of all scorers.
    """

    backbone: str
    width: int
    load_seconds: float
    title_ms: float
    events_per_second: float
    own_mib: float
    mapped_mib: float
    snapshot_mib: float
    quality: Report


def main(
    data: Annotated[str, typer.Option(help="Path of a data set whose items have texts.")],
    backbone: Annotated[list[str], typer.Option(help="A backbone, as in model.backbone.")] = [  # noqa: B006
        DEFAULT,
        SMALL_DECODER,
    ],
    limit: Annotated[int, typer.Option(help="Number of interactions to learn.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of adapters, negatives and replay.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn the first events with each backbone, on one thread."""
    runs = []
    for name in backbone:
        with get_context("spawn").Pool(1) as process:
            runs.append(process.apply(run, (name, data, limit, seed, cache)))
    if report:
        report.write_text(json.dumps([one._asdict() for one in runs], indent=2) + "\n")
    Console(width=120).print(_table(runs))


def run(name: str, data: str, limit: int, seed: int, cache: Path) -> Run:
    """Learn the first `limit` interactions of a data set with a backbone; `cache` holds content vectors."""
    cpu, began = use_device("cpu", threads=1), time.process_time()
    backbone = load_backbone(name, cache)
    loaded = time.process_time()
    encoder = TextEncoder(backbone, cache, ModelConfig().max_tokens, cpu)
    learner = Learner(LearnerConfig(seed=seed), backbone, encoder, cpu)
    batches = micro_batches(first_events(open_dataset(data).events(), limit), BATCH)
    opening = next(batches)
    learner.score_and_learn(opening)
    texts = [item.title for item in opening.items if isinstance(item, Item) and item.title][:TITLES]
    quality, learning = Quality(), time.process_time()
    for batch in batches:
        quality.add(learner.score_and_learn(batch))
    learned = time.process_time()
    own, mapped = resident_mib()
    return Run(
        name,
        backbone.width,
        loaded - began,
        _title_ms(learner, texts),
        learner.stream.events / (learned - learning),
        own,
        mapped,
        _snapshot_bytes(learner) / MIB,
        quality.report(),
    )


def _title_ms(learner: Learner, texts: Sequence[str]) -> float:
    """Encode texts without a cache of before; return milliseconds of processor time for each."""
    with TemporaryDirectory() as folder:
        encoder = TextEncoder(
            learner.encoder.backbone, Path(folder), learner.encoder.max_tokens, learner.device
        )
        began = time.process_time()
        encoder.encode(texts)
        ended = time.process_time()
        encoder.close()
    return 1_000 * (ended - began) / len(set(texts))


def _snapshot_bytes(learner: Learner) -> int:
    update = update_of(learner, "benchmark", POSITION, {}, "benchmark")
    parts = [*encode_own(update).values(), *(part for layer in update.layers for part in encode_layer(layer))]
    return sum(len(part) for part in parts)


def resident_mib() -> tuple[float, float]:
    """Return the resident memory of this process and of the files that it maps, in MiB; 0 without /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    own, mapped = (float(found.get(name, ["0"])[0]) / KIB for name in ("RssAnon", "RssFile"))
    return own, mapped


def _table(runs: Sequence[Run]) -> Table:
    table = Table("", *(f"{one.backbone}, {scorer}" for one in runs for scorer in ("model", "mixture")))
    for name, (part, figure) in FIGURES.items():
        cells = (one.quality[scorer][part][figure] for one in runs for scorer in ("model", "mixture"))
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in cells))
    costs = {
        "width of a vector": [f"{one.width}" for one in runs],
        "processor seconds to load": [f"{one.load_seconds:.1f}" for one in runs],
        "ms to encode a title": [f"{one.title_ms:.1f}" for one in runs],
        "events/s": [f"{one.events_per_second:,.0f}" for one in runs],
        "MiB, own / maps": [f"{one.own_mib:,.0f} / {one.mapped_mib:,.0f}" for one in runs],
        "MiB of a snapshot": [f"{one.snapshot_mib:.1f}" for one in runs],
    }
    for name, values in costs.items():
        table.add_row(name, *(cell for value in values for cell in (value, "")))
    return table


if __name__ == "__main__":
    typer.run(main)
