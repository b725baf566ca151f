"""The loop: score, learn, supervise; on their cadence, publish and checkpoint."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Iterable
from contextlib import closing

from consumers.learn.commits import Commits
from consumers.learn.join_metrics import JoinMetrics
from consumers.learn.list_metrics import ListMetrics
from consumers.learn.rating_metrics import RatingMetrics
from consumers.learn.signal_metrics import SignalMetrics
from consumers.learn.traces import trace_batch
from pipeline import metrics, tracing
from pipeline.checkpoints.store import Checkpoints
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest
from pipeline.control.records import ControlRecord, Rollback
from pipeline.evaluation.prequential import Quality, Report, Scores
from pipeline.evaluation.regret import regret
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.journal.gap import Skip
from pipeline.journal.position import Position
from pipeline.journal.turns import Batch, StateSwitch, Turn
from pipeline.monitoring.supervisor import Supervisor
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

log = logging.getLogger(__name__)

QUALITY_HALF_LIFE = 10_000.0
"""In events, of the figures that metrics expose; manifests hold means since the process started."""


def run(
    turns: Iterable[Turn | Skip | None],
    learner: Learner,
    supervisor: Supervisor,
    commits: Commits,
    checkpoints: Checkpoints,
    arms: Collection[str] = (),
    group: str | None = None,
) -> None:
    """Learn batches and adopt states until the turns end; then publish and checkpoint what is left.

    A turn is None when there was nothing to read: commits that are due by time still begin. `arms` are those
    of the settings, for metrics, and `group` is the attribute by which they compare shares of lists.
    """
    quality, recent, refusals = Quality(), Quality(QUALITY_HALF_LIFE), RefusalLog("learn")
    joined, listed = JoinMetrics(arms, learner.stream.outcomes.window), ListMetrics(group)
    rated, signed = RatingMetrics(learner.config.ratings, QUALITY_HALF_LIFE), SignalMetrics(learner.signals)
    with closing(commits):
        for turn in turns:
            match turn:
                case Batch():
                    began = time.perf_counter()
                    scores = learner.score_and_learn(turn.micro)
                    quality.add(scores)
                    recent.add(scores)
                    records = supervise(supervisor, learner, turn.micro, scores)
                    commits.add(turn, records, learner.stream.closed)
                    seconds = time.perf_counter() - began
                    _measure(turn, scores, learner, recent, seconds)
                    trace_batch(turn, seconds)
                    joined.add(learner.stream, learner.values)
                    listed.add(scores.lists, learner.stream)
                    rated.add(turn.micro.interactions, learner.ratings.errors)
                    signed.add(turn.micro.interactions)
                    _log_records(records)
                    refusals.add_letters(turn.refused)
                case StateSwitch():
                    # The state to be left becomes durable first: a rollback returns to it.
                    commits.finish(quality.report(), reason="before an adoption")
                    checkpoints.adopt(learner, supervisor, turn)
                    commits.switch_state(turn, quality.report())
                    _log_adoption(turn)
                case Skip():
                    commits.step_over(turn, quality.report())
                    _measure_gap(turn)
                case None:
                    commits.measure_lag()
            commits.settle(quality.report())
            refusals.settle()
        commits.finish(quality.report(), reason="shutdown")


def _log_records(records: Iterable[ControlRecord]) -> None:
    for record in records:
        match record:
            case DriftAlarm():
                metrics.DRIFT_ALARMS.labels(record.signal).inc()
                change = record.before, record.after
                log.warning("drift alarm %s: %.4g -> %.4g", record.key, *change, extra={"alarm": record.key})
            case RetrainRequest():
                metrics.RETRAIN_REQUESTS.inc()
                log.warning("a retrain is requested: %s", record.key, extra={"request": record.key})
            case Rollback():
                order = {"order": record.key, "reason": record.reason}
                log.warning("a rollback is ordered: %s: %s", *order.values(), extra=order)
            case BudgetSpent():
                metrics.BUDGETS_SPENT.labels(record.action).inc()
                log.error(
                    "%s: %s in a row did not help, so the next is left to a person, who promotes a "
                    "candidate or orders a rollback: %s",
                    record.action,
                    record.in_a_row,
                    record.reason,
                )


def _log_adoption(switch: StateSwitch) -> None:
    version, adopts = switch.position.version, switch.adopts
    metrics.ADOPTIONS.labels(adopts.kind).inc()
    _measure_position(switch.position)
    facts = {"kind": adopts.kind, "version": version, "state": adopts.state, "reason": adopts.reason}
    log.warning("%s: %s goes on from %s, %s", *facts.values(), extra=facts)


def _measure_gap(skip: Skip) -> None:
    _measure_position(skip.position)
    for topic in skip.topics:
        metrics.GAPS.labels(topic).inc()
    for source, count in skip.lost.items():
        metrics.LOST_RECORDS.labels(source.topic).inc(count)


def _measure_position(position: Position) -> None:
    metrics.GENERATION.labels("learn").set(position.generation)
    metrics.STEP.labels("learn").set(position.step)


def _measure_quality(quality: Report) -> None:
    for scorer, slices in quality.items():
        for name, figures in slices.items():
            for figure, value in figures.items():
                if value is not None:
                    metrics.QUALITY.labels(scorer, name, figure).set(value)
    for name, regrets in regret(quality).items():
        for figure, found in regrets.items():
            metrics.MIXTURE_REGRET.labels(name, figure).set(found.value)


def _measure_modalities(learner: Learner) -> None:
    for reason, count in learner.item_encoder.take_unread().items():
        metrics.UNREAD_VECTORS.labels("learn", reason).inc(count)
    for modality, found in learner.recommender.figures().items():
        for figure, value in found._asdict().items():
            metrics.MODALITY.labels(modality, figure).set(value)


def _measure(batch: Batch, scores: Scores, learner: Learner, quality: Quality, seconds: float) -> None:
    metrics.BATCH_SECONDS.observe(seconds)
    metrics.REHEARSALS.inc(batch.micro.rehearses)
    metrics.BATCH_EVENTS.observe(len(batch.micro.interactions))
    metrics.EVENTS.labels("learn").inc(len(batch.micro.interactions))
    metrics.DUPLICATES.labels("learn").inc(batch.duplicates)
    metrics.CAPPED.inc(learner.stream.capped)
    _measure_position(batch.position)
    metrics.ITEMS.labels("learn").set(len(learner.stream.catalogue))
    metrics.USERS.labels("learn").set(len(learner.stream.histories))
    metrics.REPLAY.set(len(learner.replay))
    _measure_modalities(learner)
    if not math.isnan(scores.loss):
        metrics.LOSS.set(scores.loss)
    if scores.quarantined:
        metrics.QUARANTINED.inc()
    _measure_quality(quality.report())
    now = time.time()
    for event, append_time in batch.news:
        exemplar = tracing.exemplar(event.event_id)
        metrics.LEARNED_FRESHNESS.observe(max(0.0, now - append_time / 1000), exemplar)
