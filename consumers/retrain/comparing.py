"""Comparing: candidate and champion learn the same batches, and what each predicted is kept."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from consumers.retrain.champion import Champions
from consumers.retrain.reading import Ahead, LogView
from consumers.retrain.training import Trained
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.store import Checkpoints
from pipeline.journal.position import Position
from pipeline.retraining.candidates import Candidate, RetrainPlan
from pipeline.retraining.comparison import Contender, Evidence, evidence, run_through
from pipeline.training.learner import Learner


@dataclass(frozen=True)
class Comparer:
    """Compares a candidate with its champion on the batches ahead."""

    champions: Champions
    log: LogView
    checkpoints: Checkpoints

    def compare(self, candidate: Candidate, plan: RetrainPlan, trained: Trained) -> Evidence:
        """Let both learn the batches ahead; store the candidate as it is after them.

        Raises:
            OffsetsExpired: the log no longer holds the batches.
            Stopped: it was asked to stop.
        """
        ahead = trained.ahead
        challenger = self._run_through(trained.learner, trained.position, ahead)
        self.checkpoints.write_to(candidate.checkpoint, capture(trained.learner, None, ahead.end))
        champion = self._run_through(*self.champions.restore(candidate, plan), ahead)
        return evidence(champion, challenger)

    def _run_through(self, learner: Learner, start: Position, ahead: Ahead) -> Contender:
        with closing(self.log.batches(learner, start, ahead)) as batches:
            return run_through(learner, batches, len(ahead.held_out))
