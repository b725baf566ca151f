"""Measure the regression guard: rollbacks of a healthy model, and how soon it notices poison.

The production learner learns shops that do not change, or whose world does by `--drift`, with a
supervisor as in the daemon; each rollback that it orders is a false one. A rollback is not carried
out. In a calm shop, after `POISONED_AFTER` events a copy of the learner gets random weights, as if
such a candidate had been promoted, and learns the same events; what counts is how many it scores
until its guard orders the rollback.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import batches_of, copy_of, new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import DriftConfig, GuardConfig
from pipeline.control.records import ControlRecord, Rollback
from pipeline.datasets import open_dataset
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

SHOP = "shop:seed={seed},events={events},drift={drift},drift_at={drift_at}"
POISONED_AFTER = (4_000, 10_000)
PATIENCE = 2_000
"""Events within which poison must be noticed: ten seconds at 200 events/s."""
PARTS = 4
"""A batch of the poisoned model is shown to the guard in parts, because those of a daemon are smaller."""
SPREAD = 20.0


class Watched(NamedTuple):
    """What the supervisor did in one shop.

    Attributes:
        records: its control records.
        noticed: by moment, the events until the poison was noticed; None if it was not.
    """

    records: list[ControlRecord]
    noticed: dict[int, int | None]


def main(
    seeds: Annotated[int, typer.Option(help="Number of shops.")] = 20,
    first: Annotated[int, typer.Option(help="First seed.")] = 0,
    events: Annotated[int, typer.Option(help="Events of a shop.")] = 20_000,
    drift: Annotated[str, typer.Option(help="How the shops change: none, abrupt, gradual.")] = "none",
    drift_at: Annotated[int, typer.Option(help="Events before they change.")] = 10_000,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Run every shop through the learner and the supervisor, on one thread."""
    new, watched = new_learner(cache), dict[int, Watched]()
    moments = POISONED_AFTER if drift == "none" else ()
    for seed in track(range(first, first + seeds)):
        shop = open_dataset(SHOP.format(seed=seed, events=events, drift=drift, drift_at=drift_at)).events()
        watched[seed] = watch(new.another(), batches_of(shop), moments)
    figures = figures_of(watched.values())
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")
    _show(figures)


def watch(
    learner: Learner,
    batches: Sequence[MicroBatch],
    moments: Sequence[int],
    guard: GuardConfig | None = None,
) -> Watched:
    """Learn batches, the catalogue first; after each of the moments, in events, poison a copy."""
    supervisor = Supervisor(DriftConfig(), guard or GuardConfig())
    records, noticed, events = list[ControlRecord](), dict[int, int | None](), 0
    for number, batch in enumerate(batches):
        for moment in moments:
            if events <= moment < events + len(batch.interactions):
                noticed[moment] = events_until_noticed(learner, supervisor, batches[number:])
        records += supervise(supervisor, learner, batch, learner.score_and_learn(batch))
        events += len(batch.interactions)
    return Watched(records, noticed)


def events_until_noticed(
    learner: Learner, supervisor: Supervisor, batches: Sequence[MicroBatch]
) -> int | None:
    """Promote a poisoned copy; return the events that it learns until its rollback, None if there is none."""
    poisoned, watching, events = copy_of(learner), Supervisor(*supervisor.configs), 0
    poison(poisoned)
    watching.load(supervisor.state())
    watching.adopted("promotion", "0-0", by_person=True)
    for batch in _in_parts(batches):
        events += len(batch.interactions)
        records = supervise(watching, poisoned, batch, poisoned.score_and_learn(batch))
        if any(isinstance(record, Rollback) for record in records):
            return events
        if events >= PATIENCE:
            break
    return None


def poison(learner: Learner) -> None:
    """Give a learner random weights."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learner.recommender.learned().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / SPREAD)


def figures_of(watched: Collection[Watched]) -> dict[str, float | None]:
    """Compute the figures of all shops."""
    kinds = Counter(record.kind for shop in watched for record in shop.records)
    figures: dict[str, float | None] = {"shops": len(watched), "rollbacks": kinds[Rollback.kind]}
    for moment in sorted({moment for shop in watched for moment in shop.noticed}):
        found = [events for shop in watched if (events := shop.noticed.get(moment)) is not None]
        figures[f"poisoned_at_{moment}"] = sum(moment in shop.noticed for shop in watched)
        figures[f"noticed_at_{moment}"] = len(found)
        figures[f"median_events_at_{moment}"] = median(found) if found else None
        figures[f"most_events_at_{moment}"] = max(found, default=None)
    return figures


def _show(figures: dict[str, float | None]) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, "-" if value is None else f"{value:g}")
    Console().print(table)


def _in_parts(batches: Sequence[MicroBatch]) -> Iterator[MicroBatch]:
    for batch in batches:
        size = -(-len(batch.interactions) // PARTS)
        for start in itertools.count(0, size):
            part = batch.interactions[start : start + size]
            if not part:
                break
            items = batch.items if start == 0 else []
            yield MicroBatch(batch.generation, PARTS * batch.step + start // size, items, part)


if __name__ == "__main__":
    typer.run(main)
