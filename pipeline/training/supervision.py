"""Supervision: what the learner made of a batch, shown to the supervisor that stands beside it."""

from __future__ import annotations

import numpy as np

from pipeline.control.records import ControlRecord
from pipeline.evaluation.prequential import Scores
from pipeline.monitoring.drift import Acts
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner


def supervise(
    supervisor: Supervisor, learner: Learner, batch: MicroBatch, scores: Scores
) -> list[ControlRecord]:
    """Show the supervisor a batch that was learned; return the control records to publish."""
    catalogue = learner.stream.catalogue
    rows = np.array([catalogue.row(event.item) for event in batch.interactions], dtype=np.int64)
    acts = Acts(rows, learner.table.all().text)
    return supervisor.watch(batch.generation, batch.step, scores, acts)
