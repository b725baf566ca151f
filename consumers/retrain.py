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

from pipeline import metrics
from pipeline.config import Settings
from pipeline.errors import ChampionGone
from pipeline.eventlog import open_log
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from pipeline.learning.assembly import (
    checkpoints_of,
    gate_shape_of,
    language_shape_of,
    make_learner,
    model_shape_of,
    retrain_shape_of,
)
from pipeline.learning.candidates import Candidate, Candidates, Plan
from pipeline.learning.control import ControlRecord, Judgement, Promotion
from pipeline.learning.drift import RetrainRequest
from pipeline.learning.planning import PlanShape, no_plan, open_request, plan_for, plan_now
from pipeline.learning.retrainer import Workshop, judged, void
from pipeline.learning.retraining import RetrainProgress
from pipeline.stopping import Stopped, stop_requested

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
                office.make(plan_now(office.shop, office.amounts, since))
        except Stopped:
            log.info("retrainer stopped; the next one goes on")


class Office:
    """Takes requests, keeps candidates, and tells what became of them."""

    def __init__(self, shop: Workshop, amounts: PlanShape, candidates: Candidates) -> None:
        self.shop = shop
        self.amounts = amounts
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

    def make(self, plan: Plan) -> None:
        """Make a candidate, have it judged, and say so."""
        log.info("retraining %s from %s", plan.name, plan.champion)
        self._judge(self._candidates.begin(plan))

    def tell_untold(self) -> None:
        """Tell what a retrainer before us judged and could not tell."""
        told = {record.key for record in read(self.shop.event_log, self.shop.topics.control)}
        for candidate in self._candidates.all():
            judgement = candidate.judgement()
            if judgement is not None and any(record.key not in told for record in _told_of(judgement)):
                self._tell(judgement)

    def finish_begun(self) -> int:
        """Go on with what was begun; how many there were."""
        begun = [candidate for candidate in self._candidates.all() if candidate.judgement() is None]
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
            self.make(plan_for(self.shop, self.amounts, request))
        except ChampionGone as error:
            plan = no_plan(request)
            candidate, judgement = self._candidates.begin(plan), void(plan, str(error))
            candidate.judge(judgement)
            self._tell(judgement)

    def _judge(self, candidate: Candidate) -> None:
        judgement = judged(self.shop, candidate)
        _measure(judgement)
        self._tell(judgement)

    def _tell(self, judgement: Judgement) -> None:
        with self.shop.event_log.writer() as writer:
            for record in _told_of(judgement):
                writer.append(self.shop.topics.control, record.key, record.encode())
            writer.flush()
        log.warning("%s is %s: %s", judgement.candidate, judgement.outcome, "; ".join(judgement.reasons))


def _told_of(judgement: Judgement) -> list[ControlRecord]:
    """The judgement, and the order that follows from it."""
    if judgement.outcome != "promoted":
        return [judgement]
    order = Promotion(
        candidate=judgement.candidate,
        generation=judgement.generation,
        ordered_at=judgement.judged_at,
        reason="the Gate promotes it",
    )
    return [judgement, order]


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
            model_shape_of(settings),
            retrain_shape_of(settings),
            gate_shape_of(settings),
            manual=gate.mode == "manual",
            stop=stop,
            progress=_show_progress,
            language=language_shape_of(settings),
        )
        amounts = PlanShape(
            retrain.window_events, retrain.wait_events, retrain.held_out_events, gate.trial_events
        )
        yield Office(shop, amounts, candidates)


def _with_threads(settings: Settings) -> Settings:
    """The model on as many threads as the retrainer may have."""
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"threads": settings.retrain.threads})}
    )


def _show_progress(at: RetrainProgress) -> None:
    metrics.RETRAIN_EPOCHS.set(at.epoch - 1 + at.segments / at.total)


def _measure(judgement: Judgement) -> None:
    metrics.CANDIDATES.labels(judgement.outcome).inc()
    metrics.RETRAIN_EPOCHS.set(0)
    for name, gauge in metrics.RETRAIN_COSTS.items():
        gauge.inc(judgement.cost.get(name, 0))
