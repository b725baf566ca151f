"""Metrics of batches: how long they took, where the learner stands, and how well it predicts."""

from __future__ import annotations

import math
import time
from collections.abc import Collection

from consumers.learn.join_metrics import JoinMetrics
from consumers.learn.list_metrics import ListMetrics
from consumers.learn.rating_metrics import RatingMetrics
from consumers.learn.signal_metrics import SignalMetrics
from pipeline import metrics, tracing
from pipeline.evaluation.prequential import Quality, Report, Scores
from pipeline.evaluation.regret import regret
from pipeline.journal.position import Position
from pipeline.journal.turns import Batch
from pipeline.training.learner import Learner

QUALITY_HALF_LIFE = 10_000.0
"""In events, of the figures that metrics expose; manifests hold means since the process started."""


class BatchMetrics:
    """Measures each batch that a learner has learned."""

    def __init__(self, learner: Learner, arms: Collection[str], group: str | None) -> None:
        """`arms` are those of the settings; by the attribute `group`, shares of lists are compared."""
        self._learner = learner
        self._quality = Quality(QUALITY_HALF_LIFE)
        self._joined, self._listed = JoinMetrics(arms, learner.stream.outcomes.window), ListMetrics(group)
        self._rated = RatingMetrics(learner.config.ratings, QUALITY_HALF_LIFE)
        self._signed = SignalMetrics(learner.signals)

    def add(self, batch: Batch, scores: Scores, seconds: float) -> None:
        """Add the last batch, whose scoring and learning took some time."""
        learner, events = self._learner, batch.micro.interactions
        self._quality.add(scores)
        _measure(batch, scores, learner, seconds)
        _measure_quality(self._quality.report())
        self._joined.add(learner.stream, learner.values)
        self._listed.add(scores.lists, learner.stream)
        self._rated.add(events, learner.ratings.errors)
        self._signed.add(events)


def measure_position(position: Position) -> None:
    """Say where a learner stands."""
    metrics.GENERATION.labels("learn").set(position.generation)
    metrics.STEP.labels("learn").set(position.step)


def _measure(batch: Batch, scores: Scores, learner: Learner, seconds: float) -> None:
    metrics.BATCH_SECONDS.observe(seconds)
    metrics.REHEARSALS.inc(batch.micro.rehearses)
    metrics.BATCH_EVENTS.observe(len(batch.micro.interactions))
    metrics.EVENTS.labels("learn").inc(len(batch.micro.interactions))
    metrics.DUPLICATES.labels("learn").inc(batch.duplicates)
    metrics.CAPPED.inc(learner.stream.capped)
    measure_position(batch.position)
    metrics.ITEMS.labels("learn").set(len(learner.stream.catalogue))
    metrics.USERS.labels("learn").set(len(learner.stream.histories))
    metrics.REPLAY.set(len(learner.replay))
    _measure_modalities(learner)
    if not math.isnan(scores.loss):
        metrics.LOSS.set(scores.loss)
    if scores.quarantined:
        metrics.QUARANTINED.inc()
    now = time.time()
    for event, append_time in batch.news:
        exemplar = tracing.exemplar(event.event_id)
        metrics.LEARNED_FRESHNESS.observe(max(0.0, now - append_time / 1000), exemplar)


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
