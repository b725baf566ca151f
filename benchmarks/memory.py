"""Measure the memory of a learner: resident set while items arrive, or while none do.

Events are item ids without text. With `--data` they are the sessions of a folder of `period_*.txt.gz`
(a session and an item in each line, as in DIGINETICA), in order, so that the catalogue grows all the time.
Without it, they are simulated sessions of `--users` users and `--items` items, each of which is seen
early, so that after the warm-up the resident set should not grow.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console

from benchmarks.retrains import BATCH, new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.datasets import open_dataset
from pipeline.events import Interaction, InteractionType
from pipeline.state.micro_batch import MicroBatch

MEAN_LENGTH = 5
LOCALITY = 50
"""Items of a session are near each other, within so many."""
START_MS, ACT_MS = 1_700_000_000_000, 1_000
WARM_UP = 0.2
"""Share of the events that are the warm-up."""
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20


class Sample(NamedTuple):
    """Events learned, items known, resident set in MiB, and events per second since the last sample."""

    events: int
    items: int
    resident: float
    speed: float


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of period_*.txt.gz; default: simulated.")] = None,
    events: Annotated[int, typer.Option(help="Events to learn.")] = 350_000,
    users: Annotated[int, typer.Option(help="Simulated users.")] = 500,
    items: Annotated[int, typer.Option(help="Simulated items.")] = 2_000,
    every: Annotated[int, typer.Option(help="Events between two samples.")] = 25_000,
    report: ReportOption = None,
) -> None:
    """Learn ids in this process, on one thread, and print its memory as it goes."""
    learner, samples = new_learner(Path(".cache/content")), list[Sample]()
    acts = _recorded(data) if data else _simulated(np.random.default_rng(0), users, items)
    console, began, learned = Console(), time.perf_counter(), 0
    for step, batch in enumerate(_batches(itertools.islice(acts, events))):
        learner.score_and_learn(MicroBatch(0, step, [], batch))
        learned += len(batch)
        if learned // every > (learned - len(batch)) // every:
            now = time.perf_counter()
            samples.append(Sample(learned, len(learner.stream.catalogue), resident(), every / (now - began)))
            console.print("{:,} events, {:,} items: {:,.0f} MiB, {:,.0f} events/s".format(*samples[-1]))
            began = now
    warm = [sample.resident for sample in samples if sample.events >= WARM_UP * learned]
    first, second = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    console.print(
        f"after the warm-up: {min(warm):,.0f} to {max(warm):,.0f} MiB; the mean of the second half is "
        f"{mean(second) / mean(first) - 1:+.1%} of the first"
    )
    if report:
        report.write_text(json.dumps([sample._asdict() for sample in samples], indent=2) + "\n")


def resident() -> float:
    """Return the resident set of this process, in MiB; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * PAGE / MIB if statm.exists() else 0.0


def _batches(acts: Iterator[Interaction]) -> Iterator[list[Interaction]]:
    while batch := list(itertools.islice(acts, BATCH)):
        yield batch


def _recorded(folder: Path) -> Iterator[Interaction]:
    """Yield the acts of all periods; a session is a user."""
    return (event for event in open_dataset(str(folder)).events() if isinstance(event, Interaction))


def _simulated(random: np.random.Generator, users: int, items: int) -> Iterator[Interaction]:
    """Yield acts without end: all items once, then sessions around one item each."""
    number = 0
    for item in range(items):
        yield _view(number := number + 1, f"u{number % users}", f"i{item}")
    while True:
        user, centre = f"u{random.integers(users)}", int(items * random.random() ** 2)
        for _ in range(1 + random.geometric(1 / MEAN_LENGTH)):
            item = (centre + int(random.integers(-LOCALITY, LOCALITY + 1))) % items
            yield _view(number := number + 1, user, f"i{item}")


def _view(number: int, user: str, item: str) -> Interaction:
    """Make the view with this number."""
    time_ms = START_MS + ACT_MS * number
    return Interaction(event_id=f"e{number}", user=user, item=item, type=InteractionType.VIEW, time=time_ms)


if __name__ == "__main__":
    typer.run(main)
