"""Measure the learner on DIGINETICA's sessions of item ids, by ADER's protocol and as a stream.

ADER (Mi et al. 2020) cuts the sessions into periods. A model learns one, and is tested on the next
items of all sessions of the following one, from a state that stands still (*frozen*); items that were
in no earlier period are left out of these. Its learner takes one whole session after another, as it is
tested: where sessions take turns, what a session did a batch ago is counted when its next act trains the
mixer, and the mixer comes to rely on what a session that is new does not have. As a *stream*, acts come as
they did, and every batch is scored before it is learned, with all its items, but no figure counts an item
that nobody had seen.

Beside the learner with its defaults may stand *finetune*, which replays nothing, and *joint*, which is
retrained at the end of every period, from where it is, over all events so far; the last tenth of the
period is what validates the retrain, and is learned after it.

A figure of all periods is the mean over periods, as ADER's are. The last columns compare the mixture
with its best part within each period.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import count, product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.retrains import BATCH, new_learner, numbered, retrain
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, Settings, TrainingConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality, Targets
from pipeline.events import Interaction
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

PARTS = "covisitation", "model", "popularity"
SCORERS = *PARTS, "mixture"
FIGURES = "hr@20", "mrr@20"
HELD_OUT = 0.1
"""Share of a period's events that validates a retrain."""
MOST_ITEMS = 1_000_000
"""More than there are."""
Floats = NDArray[np.float64]
Periods = Sequence[Sequence[Interaction]]


class Variant(StrEnum):
    """A learner that is measured."""

    DEFAULT = "default"
    FINETUNE = "finetune"
    JOINT = "joint"


class Protocol(StrEnum):
    """How a period is scored."""

    FROZEN = "frozen"
    STREAM = "stream"


def main(
    data: Annotated[Path, typer.Option(help="Folder of the period_*.txt.gz of DIGINETICA.")],
    protocol: Annotated[list[Protocol], typer.Option(help="How to score.")] = list(Protocol),  # noqa: B006, B008
    variant: Annotated[list[Variant], typer.Option(help="Learners to measure.")] = [Variant.DEFAULT],  # noqa: B006
    periods: Annotated[int, typer.Option(help="Periods to test on; one more is learned before.")] = 16,
    share: Annotated[float, typer.Option(help="Share of the sessions, chosen by hash.")] = 1.0,
    tested: Annotated[
        float, typer.Option(help="Share of all sessions that is tested from a state that stands still.")
    ] = 1.0,
    seeds: Annotated[int, typer.Option(help="Number of seeds of the learner.")] = 1,
    epochs: Annotated[int, typer.Option(help="Epochs of joint's retrains, at most.")] = 5,
    exact: Annotated[bool, typer.Option(help="Rank all items, instead of candidates.")] = False,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn one period after another, on one thread; all sessions take some ten minutes a learner."""
    recorded = [sampled(period_of(data, number), share) for number in range(periods + 1)]
    figures = {}
    for name, how in product(variant, protocol):
        again = epochs if name is Variant.JOINT else 0
        learners = (new_learner(cache, config_of(name, seed, exact)) for seed in range(seeds))
        found = np.mean([measured(learner, recorded, how, again, tested) for learner in learners], axis=0)
        figures[f"{name}, {how}"] = found.tolist()
        show(f"{name}, {how}", found)
    if report:
        axes = {"scorers": SCORERS, "figures": FIGURES, "by_period": figures}
        report.write_text(json.dumps(axes, indent=1) + "\n")


def period_of(folder: Path, number: int) -> Iterator[Interaction]:
    """Yield the acts of a period; a session that goes on from the period before is another one."""
    for event in open_dataset(str(folder / f"period_{number}.txt.gz")).events():
        if isinstance(event, Interaction):
            session = f"{number}-{event.user}"
            yield event.model_copy(update={"user": session, "session": session})


def sampled(events: Iterable[Interaction], share: float) -> list[Interaction]:
    """Return the acts of a share of the users, by a hash of the user."""
    return [event for event in events if zlib.crc32(event.user.encode()) < share * 2**32]


def config_of(variant: Variant, seed: int, exact: bool) -> LearnerConfig:
    """Return the settings of a learner: those of the environment, but for what is measured."""
    config = Settings().learn.replace(seed=seed)
    if variant is Variant.FINETUNE:
        config = config.replace(replay=config.replay.replace(segments=0))
    return config.replace(retrieval=config.retrieval.replace(exact_items=MOST_ITEMS)) if exact else config


def measured(
    learner: Learner, periods: Periods, protocol: Protocol, epochs: int = 0, share: float = 1.0
) -> Floats:
    """Learn the periods, in epochs of a retrain too, and score each; frozen, on a share of its sessions.

    Returns:
        The figures ``[periods, scorers, figures]``; NaN where nothing was known.
    """
    found, steps, past = list[Floats](), count(1), list[Interaction]()
    batches = whole_sessions if protocol is Protocol.FROZEN else numbered
    for events in periods:
        if protocol is Protocol.FROZEN:
            found.append(standing_still(learner, sampled(events, share)))
        held_out = int(HELD_OUT * len(events)) if epochs else 0
        start, end = events[: len(events) - held_out], events[len(events) - held_out :]
        quality = Quality()
        learn(learner, batches(start, steps), quality)
        past += start
        if epochs:
            retrain(learner, past, end, TrainingConfig(epochs=epochs))
        learn(learner, batches(end, steps), quality)
        past += end
        if protocol is Protocol.STREAM:
            found.append(figures_of(quality))
    return np.stack(found)


def standing_still(learner: Learner, events: Sequence[Interaction]) -> Floats:
    """Score the next items of whole sessions, as far as they are known."""
    quality = Quality()
    known = [event for event in events if event.item in learner.stream.catalogue]
    for batch in whole_sessions(known, count()):
        quality.add(learner.score(batch))
    return figures_of(quality)


def whole_sessions(events: Iterable[Interaction], steps: Iterator[int]) -> Iterator[MicroBatch]:
    """Yield the events of whole users in batches of at least `BATCH`; the last may be smaller.

    They are numbered by the next of `steps`, as those of `numbered`.
    """
    by_user, batch = dict[str, list[Interaction]](), list[Interaction]()
    for event in events:
        by_user.setdefault(event.user, []).append(event)
    for own in by_user.values():
        batch += own
        if len(batch) >= BATCH:
            yield MicroBatch(0, next(steps), [], batch)
            batch = []
    if batch:
        yield MicroBatch(0, next(steps), [], batch)


def learn(learner: Learner, batches: Iterable[MicroBatch], quality: Quality) -> None:
    """Score and learn batches; add the scores of items that were known before their batches."""
    for batch in batches:
        known = len(learner.stream.catalogue)
        scores = learner.score_and_learn(batch)
        is_known = _rows(learner, scores.targets) < known
        quality.add(replace(scores, slices={"all": is_known}))


def _rows(learner: Learner, targets: Targets) -> NDArray[np.int64]:
    """Return the rows of items that were targets and are folded; rows are in the order of first acts."""
    stream = learner.stream
    acts = (stream.histories.of(user)[past] for user, past in zip(targets.users, targets.pasts, strict=True))
    return np.array([stream.catalogue.row(act.item) for act in acts], dtype=np.int64)


def figures_of(quality: Quality) -> Floats:
    """Return the figures ``[scorers, figures]``; NaN if nothing was scored."""
    report = quality.report()
    if not report:
        return np.full((len(SCORERS), len(FIGURES)), np.nan)
    return np.array(
        [[report[scorer]["all"][figure] for figure in FIGURES] for scorer in SCORERS], dtype=float
    )


def less_best_part(found: Floats) -> Floats:
    """Return by how much the mixture's figures exceed those of the best part: ``[periods, figures]``."""
    less: Floats = found[:, SCORERS.index("mixture")] - found[:, : len(PARTS)].max(axis=1)
    return less


def show(title: str, found: Floats) -> None:
    """Print the figures of each period, and their means over those that were tested."""
    table = Table("period", *(f"{scorer}, hr / mrr" for scorer in SCORERS), "less the best part's")
    less = less_best_part(found)
    for number in np.flatnonzero(~np.isnan(less[:, 0])):
        table.add_row(str(number), *map(_cell, found[number]), _cell(less[number], "+"))
    means = np.nanmean(found[1:], axis=0), np.nanmean(less[1:], axis=0)
    table.add_row("mean from 1", *map(_cell, means[0]), _cell(means[1], "+"))
    Console(width=140).print(title, table)


def _cell(figures: Floats, sign: str = "") -> str:
    return " / ".join(f"{value:{sign}.4f}" for value in figures)


if __name__ == "__main__":
    typer.run(main)
