"""Backtest: run recorded data through the production learner, without a log or daemons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.datasets import Dataset
from pipeline.evaluation.prequential import Quality, Report
from pipeline.events import Event, Interaction, Item
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner


@dataclass(frozen=True)
class BacktestReport:
    """The result of a backtest; `seconds` exclude encoding the initial catalogue."""

    dataset: str
    events: int
    seconds: float
    quality: Report

    def to_json(self) -> dict[str, object]:
        """Convert to the JSON that the command writes."""
        return {
            "dataset": self.dataset,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds, 1) if self.seconds else None,
            "quality": self.quality,
        }


def backtest(
    learner: Learner, dataset: Dataset, limit: int | None, batch_events: int, progress: Callable[[int], None]
) -> BacktestReport:
    """Test, then train, on the first `limit` interactions, in batches of `batch_events`.

    `progress` is called with the number of interactions of each batch.

    Raises:
        DatasetError: a value of the recorded data does not fit its column.
    """
    quality = Quality()
    batches = micro_batches(_first(dataset.events(), limit), batch_events)
    opening = next(batches)
    learner.score_and_learn(opening)
    began, events = time.perf_counter(), 0
    for batch in batches:
        quality.add(learner.score_and_learn(batch))
        events += len(batch.interactions)
        progress(len(batch.interactions))
    return BacktestReport(dataset.name, events, time.perf_counter() - began, quality.report())


def micro_batches(events: Iterable[Event], size: int) -> Iterator[MicroBatch]:
    """Yield the catalogue before the first interaction, then batches of `size` interactions."""
    step, items, interactions = 0, list[Item](), list[Interaction]()
    for event in events:
        if isinstance(event, Item):
            items.append(event)
        if not isinstance(event, Interaction):
            continue
        if step == 0 or len(interactions) == size:
            yield MicroBatch(0, step, items, interactions)
            step, items, interactions = step + 1, [], []
        interactions.append(event)
    yield MicroBatch(0, step, items, interactions)


def _first(events: Iterator[Event], limit: int | None) -> Iterator[Event]:
    """Yield events up to and including the limit-th interaction."""
    remaining = limit
    for event in events:
        if isinstance(event, Interaction):
            if remaining == 0:
                return
            remaining = remaining - 1 if remaining is not None else None
        yield event
