"""What impressions, and learning values from them, cost the learner.

    python -m benchmarks.outcomes --events 6000

Writes the simulated shop into a SQLite log, without impressions and with one of 20 items for each
interaction, and learns it from there, without publishing or checkpoints: a batch of each side in turn, so
that whatever else the machine does meets all. Counts the processor time of the thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count, zip_longest
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from consumers.learn.join_metrics import JoinMetrics
from pipeline.assembly import make_learner, make_supervisor
from pipeline.config import (
    BatchConfig,
    LogConfig,
    RewardsConfig,
    Settings,
    ValueConfig,
    ValueName,
    load_settings,
)
from pipeline.datasets import open_dataset
from pipeline.eventlog import open_log
from pipeline.eventlog.port import LogWriter
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, Interaction, Item, encode
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.position import Position, first_position
from pipeline.journal.turns import AdoptionPlan, Batch
from pipeline.state.outcome_record import outcome_record
from pipeline.training.supervision import supervise
from pipeline.value.features import ITEM, STATE, pack

SIDES: dict[str, tuple[bool, tuple[ValueName, ...]]] = {
    "no impressions": (False, ()),
    "impressions": (True, ()),
    "thompson": (True, ("thompson",)),
    "dqn": (True, ("dqn",)),
}
"""Whether there are impressions, and what learns values from them."""
SHOWN, FLUSHED = 20, 32
WARM_UP = 4
"""Batches of each side that are not counted."""


def main(
    events: Annotated[int, typer.Option(help="Events of the shop.")] = 6_000,
    every: Annotated[int, typer.Option(help="Interactions for each impression.")] = 1,
) -> None:
    """Learn all sides in turn, and print the events per second of processor time."""
    title = f"an impression of {SHOWN} items for {every} interactions"
    table = Table("side", "events", "events/s", "of none", title=title)
    rates = [(learned, learned / seconds) for learned, seconds in measure(events, every)]
    for name, (learned, rate) in zip(SIDES, rates, strict=True):
        table.add_row(name, f"{learned:,.0f}", f"{rate:,.0f}", f"{rate / rates[0][1]:.3f}")
    Console(width=100).print(table)


def measure(events: int, every: int) -> list[tuple[float, float]]:
    """Return of each side the interactions that were learned, and the seconds that they took."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        sides = [
            _Side(stack, folder / str(number), name, (events, every)) for number, name in enumerate(SIDES)
        ]
        taken = np.array(list(zip_longest(*(side.learn() for side in sides), fillvalue=(0, 0.0))))
    return [(float(learned), float(seconds)) for learned, seconds in taken[WARM_UP:].sum(axis=0)]


class _Side:
    """A log of its own, and a learner of it."""

    def __init__(self, stack: ExitStack, folder: Path, name: str, sizes: tuple[int, int]) -> None:
        is_shown, learners = SIDES[name]
        folder.mkdir()
        self._settings = settings = _settings(folder, learners)
        topics = Topics(settings.log.prefix)
        event_log = stack.enter_context(closing(open_log(settings.log.url)))
        topics.create(event_log, *settings.log.topic_sizes)
        with event_log.writer() as writer:
            _write(writer, topics, *sizes, is_shown)
        self._learner, self._supervisor = make_learner(settings), make_supervisor(settings)
        self._journal = stack.enter_context(event_log.fenced_writer(topics.journal, owner="benchmark"))
        start = first_position(event_log, topics, self._journal, "")
        self._source = stack.enter_context(
            closing(BatchSource(event_log, topics, start, self._learner.first_seen))
        )

    def learn(self) -> Iterator[tuple[int, float]]:
        """Yield of each batch its interactions, and the seconds of this thread that it took."""
        learner, settings = self._learner, self._settings
        joined = JoinMetrics((), learner.stream.outcomes.window)
        limit = RefusalLimit("learn", settings.refusals, "")
        turns = self._source.new(
            self._journal, settings.batch, NoOrders(), "", _never, limit, learner.has_new_text
        )
        while True:
            began = time.thread_time()
            turn = next(turns)
            if not isinstance(turn, Batch):
                return
            scores = learner.score_and_learn(turn.micro)
            supervise(self._supervisor, learner, turn.micro, scores)
            joined.add(learner.stream, learner.values)
            for outcome in learner.stream.closed:
                outcome_record(outcome, turn.position.version)
            yield len(turn.micro.interactions), time.thread_time() - began


def _settings(folder: Path, learners: tuple[ValueName, ...]) -> Settings:
    """Settings in which nothing waits, and windows are short: the events come as fast as they are written."""
    return load_settings().model_copy(
        update={
            "log": LogConfig(url=f"sqlite:///{folder}/log.db"),
            "batch": BatchConfig(wait_seconds=0.01, linger_seconds=0),
            "rewards": RewardsConfig(minutes=0.0005),
            "value": ValueConfig(learners=learners),
        }
    )


def _write(writer: LogWriter, topics: Topics, events: int, every: int, is_shown: bool) -> None:
    """Write the shop, every so many interactions one after an impression of its item and random others."""
    random, items, numbers, acts = Random(0), list[str](), np.random.default_rng(0), count()
    for event in open_dataset(f"shop:seed=3,events={events}").events():
        if isinstance(event, Item):
            items.append(event.item)
            writer.append(topics.items, event.item, encode(event))
        elif isinstance(event, Interaction):
            if next(acts) % every == 0 and is_shown:
                shown = (event.item, *random.sample(items, SHOWN - 1))
                writer.append(topics.impressions, event.user, encode(_impression(event, shown, numbers)))
            writer.append(topics.interactions, event.user, encode(event))
            if random.random() < 1 / FLUSHED:
                writer.flush()
    writer.flush()


def _impression(act: Interaction, shown: tuple[str, ...], random: np.random.Generator) -> Impression:
    """An impression as a server writes it, with random features."""
    state, items = random.normal(size=STATE), random.normal(size=(SHOWN, ITEM))
    return Impression(
        impression_id=f"of-{act.event_id}",
        user=act.user,
        snapshot="1-1",
        time=act.time,
        items=shown,
        scores=(0.01,) * SHOWN,
        offsets={
            f"millstream.{topic}/{n}": 123_456 for topic in ("interactions", "items") for n in range(16)
        },
        policy="greedy",
        policy_version="1",
        propensities=(1.0,) * SHOWN,
        pool=0,
        features=pack(state.astype(np.float32), items.astype(np.float32)),
        context={"asked": "whole", "k": SHOWN},
    )


class NoOrders:
    """Nobody orders anything."""

    is_paused = False

    def due(self, position: Position) -> AdoptionPlan | None:
        """Return nothing to be adopted."""

    def position(self) -> int:
        """Return the begin of the control topic."""
        return 0


def _never() -> bool:
    return False


if __name__ == "__main__":
    typer.run(main)
