"""The retrain daemon: answers requests for a retrain, one at a time.

It shares the machine with the learner: a low priority, threads of its own, and nothing that
the learner waits for. It may be killed at any moment; the next start goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from consumers.retrain.announcing import Announcer
from consumers.retrain.champion import Champions
from consumers.retrain.comparing import Comparer
from consumers.retrain.deciding import Decider
from consumers.retrain.planning import Planner
from consumers.retrain.reading import LogView
from consumers.retrain.requests import ManualRequest, open_request
from consumers.retrain.retrainer import Retrainer
from consumers.retrain.training import Trainer
from pipeline import metrics
from pipeline.assembly import checkpoints_of, make_learner
from pipeline.checkpoints.store import Checkpoints
from pipeline.config import CheckpointConfig, Settings
from pipeline.control.alarms import RetrainRequest
from pipeline.control.records import GateDecision
from pipeline.errors import NoCheckpoint, RetrainCancelled
from pipeline.eventlog.patience import checked, patiently
from pipeline.retraining.candidates import Candidates
from pipeline.retraining.training import RetrainProgress
from pipeline.signals import Stopped, stop_requested
from pipeline.training.learner import Learner
from pipeline.wording import counted

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
T = TypeVar("T")


def run(
    settings: Settings,
    *,
    follow: bool,
    since: datetime | None,
    wait: bool = False,
    show: Callable[[RetrainProgress], None] = lambda progress: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; or make one candidate by hand.

    Candidates that another retrainer left unfinished come first; by hand, they are all that is
    done.

    Args:
        settings: of all daemons.
        follow: answer requests, instead of making one candidate.
        since: start of the window of a candidate by hand.
        wait: wait for the learner's first checkpoint.
        show: called after every minibatch of the training.

    Raises:
        NoCheckpoint: nothing was learned yet; says when a checkpoint will be there.
        TopicError: the topics are not as the settings want them.
        Occupied: another retrainer works for this model.
        RetrainCancelled: by hand, a candidate was not judged.
    """
    os.nice(settings.retrain.nice)
    metrics.serve_metrics(settings.metrics.host, settings.metrics.retrain, settings.serve.reading_keys)
    try:
        with _service(settings, show) as service:
            if follow:
                service.finish()
                service.follow()
            else:
                service.judge_by_hand(ManualRequest.now(since), settings.checkpoints, wait)
    except Stopped:
        log.info("retrainer stopped; the next one goes on")
        if not follow:
            raise RetrainCancelled("it was stopped: `millstream retrain` goes on where it was") from None


class RetrainService:
    """Looks for requests and has each of them answered."""

    def __init__(self, log_view: LogView, candidates: Candidates, retrainer: Retrainer) -> None:
        self._log = log_view
        self._candidates = candidates
        self._retrainer = retrainer

    def finish(self) -> list[GateDecision] | None:
        """Publish and finish what was begun; return what was decided, None if stopped.

        What the log or the storage interrupts, here and below, is begun again once they are back.
        """
        self._patiently(self.publish_pending)
        return self._patiently(self.finish_begun)

    def follow(self) -> None:
        """Answer requests until asked to stop."""
        self._patiently(self._follow)

    def _follow(self) -> None:
        """Answer requests; of several that wait, only the newest."""
        event_log, topics, read_to = self._log.event_log, self._log.topics, None
        while not self._log.stop.wait(POLL_SECONDS):
            ends = event_log.end_offsets([topics.control])
            if ends == read_to:
                continue
            read_to = ends
            request = open_request(event_log, topics, self._candidates)
            if request is not None:
                self.answer(request)

    def answer(self, request: RetrainRequest | ManualRequest) -> GateDecision:
        """Answer one request."""
        decision = self._retrainer.retrain(request.key, request)
        _measure(decision)
        return decision

    def judge_by_hand(self, request: ManualRequest, cadence: CheckpointConfig, wait: bool) -> None:
        """Finish what was begun, or else answer a request by hand.

        Raises:
            NoCheckpoint, Stopped: see `answer_by_hand`.
            RetrainCancelled: a candidate was not judged.
        """
        decisions = self.finish() or [self.answer_by_hand(request, cadence, wait)]
        for decision in decisions:
            if decision.outcome == "cancelled":
                raise RetrainCancelled(f"{decision.candidate} was not judged: {'; '.join(decision.reasons)}")

    def answer_by_hand(self, request: ManualRequest, cadence: CheckpointConfig, wait: bool) -> GateDecision:
        """Answer a request by hand; `wait` for a checkpoint if there is none yet.

        Raises:
            NoCheckpoint: there is none; says when one will be there.
            Stopped: it was asked to stop while it waited.
        """
        is_said = False
        while True:
            try:
                decision = self._patiently(lambda: self.answer(request))
                if decision is None:
                    raise Stopped
                return decision
            except NoCheckpoint as error:
                why = f"{error}; {_when(cadence)}"
                if not wait:
                    raise NoCheckpoint(f"{why}; or wait for it with --wait") from None
            if not is_said:
                log.warning("waiting: %s", why)
                is_said = True
            if self._log.stop.wait(POLL_SECONDS):
                raise Stopped

    def _patiently(self, action: Callable[[], T]) -> T | None:
        """Return what an action returns, None if stopped; a full disk is waited for as the log is."""
        while not self._log.stop.is_set():
            try:
                return patiently(action, self._log.stop, self._log.event_log)
            except OSError as error:
                log.warning("retraining pauses: %s", error)
                self._log.stop.wait(POLL_SECONDS)
        return None

    def publish_pending(self) -> None:
        """Publish the decisions that an earlier retrainer made and could not publish."""
        self._retrainer.announcer.publish_pending(self._candidates)

    def finish_begun(self) -> list[GateDecision]:
        """Go on with the candidates that were begun; return what was decided."""
        begun = [candidate for candidate in self._candidates.all() if candidate.decision() is None]
        decisions = list[GateDecision]()
        for candidate in begun:
            log.info("going on with %s", candidate.name)
            decisions.append(self._retrainer.retrain(candidate.name))
            _measure(decisions[-1])
        return decisions


@contextmanager
def _service(settings: Settings, show: Callable[[RetrainProgress], None]) -> Iterator[RetrainService]:
    checkpoints, stop = checkpoints_of(settings), stop_requested()
    candidates = Candidates(checkpoints.folder)
    new_learner = make_learner(_with_threads(settings)).another
    with candidates.occupied(), checked(settings.log, stop) as (event_log, topics):
        log_view = LogView(event_log, topics, stop)
        retrainer = _retrainer(settings, log_view, checkpoints, candidates, new_learner, show)
        yield RetrainService(log_view, candidates, retrainer)


def _retrainer(
    settings: Settings,
    log_view: LogView,
    checkpoints: Checkpoints,
    candidates: Candidates,
    new_learner: Callable[[], Learner],
    show: Callable[[RetrainProgress], None],
) -> Retrainer:
    def report(at: RetrainProgress) -> None:
        _measure_progress(at)
        show(at)

    retrain = settings.retrain
    champions = Champions(log_view, checkpoints, new_learner)
    return Retrainer(
        candidates,
        Planner(log_view, checkpoints, candidates, retrain.plan),
        Trainer(champions, log_view, retrain, settings.learn.sizes, report),
        Comparer(champions, log_view, checkpoints),
        Decider(settings.gate),
        Announcer(log_view.event_log, log_view.topics),
    )


def _with_threads(settings: Settings) -> Settings:
    """Settings with as many threads as the retrainer may have."""
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"threads": settings.retrain.threads})}
    )


def _when(cadence: CheckpointConfig) -> str:
    events = counted(cadence.events, "event")
    return (
        f"a running learner writes one within {cadence.seconds:.0f} s or {events} of "
        "learning something (checkpoints.seconds, checkpoints.events), and when it is stopped"
    )


def _measure_progress(at: RetrainProgress) -> None:
    metrics.RETRAIN_EPOCHS.set(at.epoch - 1 + at.segments / at.total)


def _measure(decision: GateDecision) -> None:
    metrics.CANDIDATES.labels(decision.outcome).inc()
    metrics.RETRAIN_EPOCHS.set(0)
    for name, gauge in metrics.RETRAIN_COSTS.items():
        gauge.inc(decision.cost.get(name, 0))
