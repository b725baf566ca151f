"""The retrain daemon: answers requests with candidates, and has the Gate judge them.

It shares the machine with the learner: a low priority, threads of its own, and nothing that
the learner waits for. It may be killed at any moment; the next start goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from consumers.retrain.planning import PlanConfig, no_plan, open_request, plan_for, plan_now
from consumers.retrain.retrainer import Workshop, judged, void
from pipeline import metrics
from pipeline.assembly import (
    checkpoints_of,
    gate_config_of,
    language_config_of,
    make_learner,
    model_config_of,
    retrain_config_of,
)
from pipeline.config import Settings
from pipeline.control.alarms import RetrainRequest
from pipeline.control.records import ControlRecord, GateDecision, Promotion
from pipeline.errors import ChampionGone
from pipeline.eventlog import open_log
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from pipeline.retraining.candidates import Candidate, Candidates, RetrainPlan
from pipeline.retraining.training import RetrainProgress
from pipeline.signals import Stopped, stop_requested

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


def run(settings: Settings, *, follow: bool, since: datetime | None) -> None:
    """Answer requests until SIGTERM or SIGINT; or make one candidate by hand.

    What another retrainer left unfinished comes first; by hand, it is all that is done.

    Raises:
        TopicError: the topics are not as the settings want them, or nothing was learned yet.
        Occupied: another retrainer works for this model.
    """
    os.nice(settings.retrain.nice)
    metrics.serve_metrics(settings.metrics_host, settings.retrain.metrics_port)
    with _office(settings) as office:
        try:
            office.tell_untold()
            finished = office.finish_begun()
            if follow:
                office.follow()
            elif not finished:
                office.make(plan_now(office.shop, office.plan_config, since))
        except Stopped:
            log.info("retrainer stopped; the next one goes on")


class Office:
    """Takes requests, keeps candidates, and tells what became of them."""

    def __init__(self, shop: Workshop, plan_config: PlanConfig, candidates: Candidates) -> None:
        self.shop = shop
        self.plan_config = plan_config
        self._candidates = candidates

    def follow(self) -> None:
        """Answer each request; of several that wait, the newest."""
        topic, looked_to = self.shop.topics.control, None
        while not self.shop.stop.wait(LOOK_SECONDS):
            ends = self.shop.event_log.end_offsets([topic])
            if ends == looked_to:
                continue
            looked_to = ends
            request = open_request(self.shop.event_log, self.shop.topics, self._candidates)
            if request is not None:
                self._answer(request)

    def make(self, plan: RetrainPlan) -> None:
        """Make a candidate, have it judged, and say so."""
        log.info("retraining %s from %s", plan.name, plan.champion)
        self._judge(self._candidates.begin(plan))

    def tell_untold(self) -> None:
        """Tell what a retrainer before us judged and could not tell."""
        told = {record.key for record in read(self.shop.event_log, self.shop.topics.control)}
        for candidate in self._candidates.all():
            decision = candidate.decision()
            if decision is not None and any(record.key not in told for record in _told_of(decision)):
                self._tell(decision)

    def finish_begun(self) -> int:
        """Go on with what was begun; how many there were."""
        begun = [candidate for candidate in self._candidates.all() if candidate.decision() is None]
        for candidate in begun:
            log.info("going on with %s", candidate.name)
            self._judge(candidate)
        return len(begun)

    def _answer(self, request: RetrainRequest) -> None:
        candidate = self._candidates.named(request.key)
        if candidate.is_planned:
            self._judge(candidate)
            return
        try:
            self.make(plan_for(self.shop, self.plan_config, request))
        except ChampionGone as error:
            plan = no_plan(request)
            candidate, decision = self._candidates.begin(plan), void(plan, str(error))
            candidate.judge(decision)
            self._tell(decision)

    def _judge(self, candidate: Candidate) -> None:
        decision = judged(self.shop, candidate)
        _measure(decision)
        self._tell(decision)

    def _tell(self, decision: GateDecision) -> None:
        with self.shop.event_log.writer() as writer:
            for record in _told_of(decision):
                writer.append(self.shop.topics.control, record.key, record.encode())
            writer.flush()
        log.warning("%s is %s: %s", decision.candidate, decision.outcome, "; ".join(decision.reasons))


def _told_of(decision: GateDecision) -> list[ControlRecord]:
    """The judgement, and the order that follows from it."""
    if decision.outcome != "promoted":
        return [decision]
    order = Promotion(
        candidate=decision.candidate,
        generation=decision.generation,
        ordered_at=decision.decided_at,
        reason="the Gate promotes it",
    )
    return [decision, order]


@contextmanager
def _office(settings: Settings) -> Iterator[Office]:
    topics, checkpoints, stop = Topics(settings.log.prefix), checkpoints_of(settings), stop_requested()
    candidates = Candidates(checkpoints.folder)
    retrain, gate = settings.retrain, settings.gate
    first = make_learner(_with_threads(settings))
    with candidates.occupied(), closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics.check(event_log, *settings.log.topic_sizes)
        shop = Workshop(
            event_log,
            topics,
            checkpoints,
            first.another,
            model_config_of(settings),
            retrain_config_of(settings),
            gate_config_of(settings),
            manual=gate.mode == "manual",
            stop=stop,
            progress=_show_progress,
            language=language_config_of(settings),
        )
        plan_config = PlanConfig(
            retrain.window_events, retrain.wait_events, retrain.held_out_events, gate.trial_events
        )
        yield Office(shop, plan_config, candidates)


def _with_threads(settings: Settings) -> Settings:
    """The model on as many threads as the retrainer may have."""
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"threads": settings.retrain.threads})}
    )


def _show_progress(at: RetrainProgress) -> None:
    metrics.RETRAIN_EPOCHS.set(at.epoch - 1 + at.segments / at.total)


def _measure(decision: GateDecision) -> None:
    metrics.CANDIDATES.labels(decision.outcome).inc()
    metrics.RETRAIN_EPOCHS.set(0)
    for name, gauge in metrics.RETRAIN_COSTS.items():
        gauge.inc(decision.cost.get(name, 0))
