"""Traces of learning: how long an event lay in the log, and the batch that learned it."""

from __future__ import annotations

import time

from pipeline import tracing
from pipeline.journal.turns import Batch
from pipeline.tracing import Stage


def trace_batch(batch: Batch, seconds: float) -> None:
    """Write the spans of a batch that took so long to learn; none of what was learned before."""
    if not tracing.is_on():
        return
    ended = time.time()
    began, version = ended - seconds, batch.position.version
    for event, append_time in batch.news:
        if tracing.follows(event.event_id):
            tracing.record(event.event_id, Stage.LOG, append_time / 1000, began)
            tracing.record(event.event_id, Stage.LEARN, began, ended, version=version)


def followed(batch: Batch) -> list[str]:
    """Return the ids of a batch's events that are followed."""
    if not tracing.is_on():
        return []
    return [event.event_id for event, _ in batch.news if tracing.follows(event.event_id)]
