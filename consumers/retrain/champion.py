"""The champion of a plan: the learner that a candidate begins from and is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumers.retrain.reading import LogView
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.checkpoints.store import Checkpoints, restore_from
from pipeline.journal.position import Position
from pipeline.retraining.candidates import Candidate, RetrainPlan
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner


@dataclass(frozen=True)
class Champions:
    """Makes champions as they were.

    Attributes:
        new_learner: makes a learner that has seen nothing.
    """

    log: LogView
    checkpoints: Checkpoints
    new_learner: Callable[[], Learner]

    def restore(self, candidate: Candidate, plan: RetrainPlan) -> tuple[Learner, Position]:
        """Return a plan's champion, with its position; rebuild it the first time.

        The candidate keeps a private copy, because retention may delete the original.

        Raises:
            CheckpointCorrupt: neither checkpoints nor journal reach back to it.
            OffsetsExpired: the log no longer holds what it learned since its last checkpoint.
        """
        learner = self.new_learner()
        if not candidate.champion.exists():
            event_log, topics = self.log.event_log, self.log.topics
            version = Version.parse(plan.champion)
            found = rebuild(event_log, topics, learner, None, self.checkpoints, until=version)
            self.checkpoints.write_to(candidate.champion, capture(learner, None, found))
        return learner, restore_from(candidate.champion, learner, None)
