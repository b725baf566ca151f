"""The loop: score, learn, remember; at intervals make it visible and durable."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable

from pipeline import metrics
from pipeline.learning.batches import Batch
from pipeline.learning.commits import Commits
from pipeline.learning.drift import DriftAlarm
from pipeline.learning.evaluation import Quality, Scores
from pipeline.learning.learner import Learner
from pipeline.learning.publishing import Told

log = logging.getLogger(__name__)

QUALITY_HALF_LIFE = 10_000.0
"""In events, of the figures that metrics show; manifests have means since the process started."""


def run(batches: Iterable[Batch | None], learner: Learner, commits: Commits) -> None:
    """Learn batches until they end; then publish and checkpoint what is left.

    None among the batches means that there was nothing to read just then.
    """
    quality, recent = Quality(), Quality(QUALITY_HALF_LIFE)
    for batch in batches:
        if batch is not None:
            began = time.perf_counter()
            scores = learner.score_and_learn(batch.micro)
            quality.add(scores)
            recent.add(scores)
            told = learner.watch(batch.micro, scores)
            commits.take_in(batch, told)
            _measure(batch, scores, learner, recent, time.perf_counter() - began)
            _announce(told)
        commits.settle(learner, quality.report())
    commits.finish(learner, quality.report())


def _announce(told: Iterable[Told]) -> None:
    for record in told:
        if isinstance(record, DriftAlarm):
            metrics.DRIFT_ALARMS.labels(record.signal).inc()
            log.warning("drift alarm %s: %.4g -> %.4g", record.key, record.before, record.after)
        else:
            metrics.RETRAIN_REQUESTS.inc()
            log.warning("a retrain is asked for: %s", record.key)


def _measure(batch: Batch, scores: Scores, learner: Learner, quality: Quality, seconds: float) -> None:
    metrics.BATCH_SECONDS.observe(seconds)
    metrics.BATCH_EVENTS.observe(len(batch.micro.interactions))
    metrics.EVENTS.labels("learn").inc(len(batch.micro.interactions))
    metrics.DEAD_LETTERS.labels("learn").inc(len(batch.refused))
    metrics.DUPLICATES.labels("learn").inc(batch.duplicates)
    metrics.GENERATION.labels("learn").set(batch.position.generation)
    metrics.STEP.labels("learn").set(batch.position.step)
    metrics.ITEMS.labels("learn").set(len(learner.stream.catalogue))
    metrics.USERS.labels("learn").set(len(learner.stream.histories))
    metrics.REPLAY.set(len(learner.replay))
    if not math.isnan(scores.loss):
        metrics.LOSS.set(scores.loss)
    if scores.quarantined:
        metrics.QUARANTINED.inc()
    for scorer, slices in quality.report().items():
        for name, figures in slices.items():
            for figure, value in figures.items():
                if value is not None:
                    metrics.QUALITY.labels(scorer, name, figure).set(value)
    if not batch.again:
        now = time.time()
        for append_time in batch.append_times:
            metrics.LEARNED_FRESHNESS.observe(max(0.0, now - append_time / 1000))
