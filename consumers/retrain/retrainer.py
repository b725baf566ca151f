"""The retrainer: the whole way from a request to an announced decision.

Each step is a module of this package. Everything that a step makes follows from the plan, the
log and the journal, and lies in the candidate's folder: a retrainer that is killed anywhere and
started a second time makes the same candidate. It reads the learner's log and checkpoints, and
never blocks the learner.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from consumers.retrain.announcing import Announcer
from consumers.retrain.comparing import Comparer
from consumers.retrain.deciding import Decider, cancelled
from consumers.retrain.planning import Planner
from consumers.retrain.requests import ManualRequest
from consumers.retrain.training import Trainer
from pipeline.control.alarms import RetrainRequest
from pipeline.control.records import GateDecision
from pipeline.errors import ChampionGone, CheckpointCorrupt, NothingToLearn, OffsetsExpired
from pipeline.retraining.candidates import Candidates

log = logging.getLogger(__name__)

CANCELLING = ChampionGone, CheckpointCorrupt, NothingToLearn, OffsetsExpired
"""Errors that cancel a candidate: another try would meet them too."""


@dataclass(frozen=True)
class Retrainer:
    """Takes requests to announced decisions; one field a step."""

    candidates: Candidates
    planner: Planner
    trainer: Trainer
    comparer: Comparer
    decider: Decider
    announcer: Announcer

    def retrain(self, name: str, request: RetrainRequest | ManualRequest | None = None) -> GateDecision:
        """Plan, train, compare, decide, announce; wait for events that are still to come.

        Args:
            name: of the candidate.
            request: what it is for; None to go on with a candidate that was planned earlier.

        Raises:
            Stopped: it was asked to stop; the next call goes on.
            TopicError: nothing was learned yet that could be retrained.
        """
        candidate = self.candidates.named(name)
        if (known := candidate.decision()) is not None:
            return known
        try:
            plan = self.planner.plan(name, request)
            began = time.process_time()  # not the wall clock: much of it is waiting
            log.info("%s: training from %s", name, plan.champion)
            trained = self.trainer.train(candidate, plan)
            log.info("%s: comparing with %s", name, plan.champion)
            evidence = self.comparer.compare(candidate, plan, trained)
            decision = self.decider.decide(plan, trained, evidence, time.process_time() - began)
        except CANCELLING as error:
            decision = cancelled(candidate.plan(), str(error))
        candidate.conclude(decision)
        self.announcer.announce(decision)
        return decision
