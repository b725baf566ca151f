"""The loop: score, learn, supervise; on their cadence, publish and checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from contextlib import closing

from consumers.learn.batch_metrics import BatchMetrics, measure_position
from consumers.learn.commits import Commits
from consumers.learn.traces import trace_batch
from pipeline import metrics
from pipeline.checkpoints.store import Checkpoints
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest
from pipeline.control.records import ControlRecord, Rollback
from pipeline.evaluation.prequential import Quality
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.journal.gap import Skip
from pipeline.journal.turns import Batch, StateSwitch, Turn
from pipeline.monitoring.supervisor import Supervisor
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

log = logging.getLogger(__name__)


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
    quality, refusals, measured = Quality(), RefusalLog("learn"), BatchMetrics(learner, arms, group)
    with closing(commits):
        for turn in turns:
            match turn:
                case Batch():
                    began = time.perf_counter()
                    scores = learner.score_and_learn(turn.micro)
                    quality.add(scores)
                    records = supervise(supervisor, learner, turn.micro, scores)
                    commits.add(turn, records, learner.stream.closed)
                    seconds = time.perf_counter() - began
                    measured.add(turn, scores, seconds)
                    trace_batch(turn, seconds)
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
    measure_position(switch.position)
    facts = {"kind": adopts.kind, "version": version, "state": adopts.state, "reason": adopts.reason}
    log.warning("%s: %s goes on from %s, %s", *facts.values(), extra=facts)


def _measure_gap(skip: Skip) -> None:
    measure_position(skip.position)
    for topic in skip.topics:
        metrics.GAPS.labels(topic).inc()
    for source, count in skip.lost.items():
        metrics.LOST_RECORDS.labels(source.topic).inc(count)
