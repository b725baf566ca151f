"""Retraining: several epochs over a window of the log, validated on the acts after the window.

A champion has learned the window once, in order, at a rate that keeps up with the stream; a
retrain goes over its latest part again in smaller steps. It is validated on acts that the
champion has not learned. On acts that it has learned, the champion looks better than it is
(measured after an abrupt drift: log-loss 4.86 on its last 600 acts, 5.33 on the next ones), and
every real improvement looks like a loss.

Randomness depends on seed, epoch and minibatch, and the state is written after each epoch: a
run that was killed at any point and run again ends with the same bits.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from torch import Tensor

from pipeline.config import TrainingConfig
from pipeline.errors import NothingToLearn
from pipeline.events import Interaction
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.device import fast_products
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives, draw_negatives
from pipeline.model.tensors import under
from pipeline.retraining.training.progress import Progress, TrainingStatus, read_progress, write_progress
from pipeline.retraining.training.refolding import refold_if_better
from pipeline.retraining.training.validation import Validation, validate
from pipeline.retraining.training.window import folded_segments, has_target, upcoming_segments
from pipeline.state.segments import Segment
from pipeline.training.forward import forward
from pipeline.training.learner import Learner
from pipeline.training.objectives.chosen import mixed, supervised_of
from pipeline.training.objectives.contrastive import Contrastive
from pipeline.training.objectives.port import HistoryBatch
from pipeline.training.optimizer import OptimizerStep, Touched
from pipeline.training.rng import Purpose, random_for

log = logging.getLogger(__name__)

CONTENT = "content"


WIDEN = "widen the window (retrain.plan.window_events, or an earlier --since)"
LATER = (
    "retrain again when the learner has learned new acts and written a later checkpoint, or hold more out "
    "(retrain.plan.held_out_events)"
)


@dataclass(frozen=True)
class RetrainProgress:
    """Progress within an epoch (from 1): `segments` of `total` are done."""

    epoch: int
    segments: int
    total: int


@dataclass(frozen=True)
class RetrainResult:
    """The result of a retrain.

    Attributes:
        epochs: number of epochs run.
        best_epoch: the epoch whose state the learner has; 0 if none was better than the champion.
        before, after: validation of the champion and of the best epoch.
        events: number of targets trained on, repetitions included.
        seconds: time spent, including finished epochs of interrupted runs.
        refolded: whether the past weighs less in covisitation and popularity than before.
    """

    epochs: int
    best_epoch: int
    before: Validation
    after: Validation
    events: int
    seconds: float
    refolded: bool


def check_window(window: Sequence[Interaction], learner: Learner) -> None:
    """Check that there is something to train on, before anything after the window is waited for.

    Raises:
        NothingToLearn: there are no targets to train on.
    """
    if not has_target(window, learner.stream, learner.config.segments):
        raise NothingToLearn(f"nothing to train on: {_without_target(window)}; {WIDEN}")


class Retraining:
    """Trains the learned state of a Learner, and may refold its stream state.

    The retrain has its own moments; the learner's are kept for its later steps (measured:
    better than resetting them). The rows' accumulators carry over, because without them the first
    steps would be far too large. The replay buffer, from which old Segments are replayed, stays
    unchanged: emptying or refilling it made no difference.
    """

    def __init__(
        self,
        learner: Learner,
        config: TrainingConfig,
        window: Sequence[Interaction],
        held_out: Sequence[Interaction],
        folder: Path,
    ) -> None:
        """Prepare a retrain, or the rest of an interrupted one.

        Args:
            learner: restored from a checkpoint of the champion.
            config: how to train.
            window: the last interactions before the checkpoint, in the order of batches.
            held_out: the first interactions after it, to validate on.
            folder: an existing folder used by this retrain alone.

        Raises:
            NothingToLearn: there are no targets to train on, or none to validate on.
        """
        self._learner, self._config, self._window, self._folder = learner, config, window, folder
        segments = learner.config.segments
        check_window(window, learner)
        self._training = folded_segments(window, learner.stream, segments)
        self._validation = upcoming_segments(held_out, learner.stream, segments)
        if not self._validation:
            raise NothingToLearn(
                f"nothing to validate on after the window: {_without_target(held_out)}; {LATER}"
            )
        self._recommender = learner.recommender
        width = learner.encoder.width
        self._table = ItemTable(
            width, learner.device, config.optimizer.rows, learner.config.sizes.columns(width)
        )
        self._table.load(learner.table.state())
        self._optimizer = OptimizerStep(self._recommender, self._table, config.optimizer)
        self._task = self._digest(window, held_out)

    def run(self, progress: Callable[[RetrainProgress], None]) -> RetrainResult:
        """Train until the epochs or the patience end; leave the learner with the best epoch's state.

        `progress` is called after every minibatch.
        """
        at = read_progress(self._folder, self._task) or self._start()
        self._load(at.current)
        while self._continues(at.status):
            at = self._run_epoch(at, progress)
            write_progress(self._folder, at)
        self._load(at.best)
        self._learner.table.load(self._table.state())
        return _result(at.status, self._refold())

    def _refold(self) -> bool:
        parts = self._window, self._validation
        return 0 < self._config.past < 1 and refold_if_better(self._learner, *parts, self._config.past)

    def _start(self) -> Progress:
        now = self._state()
        return Progress(TrainingStatus(task=self._task, validations=(self._validate(),)), now, now)

    def _continues(self, status: TrainingStatus) -> bool:
        waited = status.epoch - status.best_epoch
        return status.epoch < self._config.epochs and waited < self._config.patience

    def _run_epoch(self, at: Progress, progress: Callable[[RetrainProgress], None]) -> Progress:
        began, epoch, trained = time.perf_counter(), at.status.epoch + 1, 0
        order = self._random(epoch, 0, Purpose.RETRAIN_ORDER).permutation(len(self._training))
        for start in range(0, order.size, self._config.segments):
            minibatch = [self._training[index] for index in order[start : start + self._config.segments]]
            trained += self._train(minibatch, epoch, start)
            progress(RetrainProgress(epoch, start + len(minibatch), order.size))
        status = TrainingStatus(
            task=self._task,
            validations=(*at.status.validations, self._validate()),
            events=at.status.events + trained,
            seconds=at.status.seconds + time.perf_counter() - began,
        )
        now = self._state()
        losses = [validation.log_loss for validation in (status.validations[-1], status.validations[0])]
        log.info("epoch %s of at most %s: log-loss %.3f, champion %.3f", epoch, self._config.epochs, *losses)
        return Progress(status, now, now if status.best_epoch == epoch else at.best)

    @fast_products()
    def _train(self, minibatch: list[Segment], epoch: int, step: int) -> int:
        """Take one step; return the number of targets learned."""
        segments, negatives = minibatch + self._replayed(epoch, step), self._negatives(epoch, step)
        objective = supervised_of(self._learner.config.objective)
        passed = forward(self._recommender, self._table, segments, negatives, objective)
        supervised = passed.mean_loss(passed.new)
        if self._config.replay:
            supervised = supervised + self._learner.config.replay.weight * passed.mean_loss(~passed.new)
        views = self._random(epoch, step, Purpose.RETRAIN_VIEWS)
        histories = HistoryBatch(self._recommender, self._table, minibatch, negatives, views)
        loss, touched = mixed(self._config.alpha, supervised, Contrastive(), histories)
        involved = [Touched(passed.touched, passed.rows), *touched]
        if not self._optimizer.step(loss + passed.introduction, involved):
            log.error("minibatch %s of epoch %s is not finite: skipped", step, epoch)
            return 0
        return int(passed.new.sum())

    def _replayed(self, epoch: int, step: int) -> list[Segment]:
        random = self._random(epoch, step, Purpose.RETRAIN_REPLAY)
        return self._learner.replayed(self._config.replay, random)

    def _negatives(self, epoch: int, step: int) -> Negatives:
        random = self._random(epoch, step, Purpose.RETRAIN_NEGATIVES)
        popularity = self._learner.stream.popularity
        return draw_negatives(popularity, self._learner.config.negatives, random, self._learner.device)

    def _validate(self) -> Validation:
        return validate(self._recommender, self._table, self._validation)

    def _random(self, epoch: int, step: int, purpose: Purpose) -> np.random.Generator:
        return random_for(self._learner.config.seed, epoch, step, purpose)

    def _state(self) -> dict[str, Tensor]:
        """Copy all tensors that training changes, by dotted name."""
        named = self._recommender.learned()
        tensors = {f"parameter.{name}": part.detach().clone() for name, part in named.items()}
        tensors |= {f"table.{name}": t for name, t in self._table.state().items() if name != CONTENT}
        return tensors | {f"moment.{name}": t for name, t in self._optimizer.moments().items()}

    def _load(self, tensors: dict[str, Tensor]) -> None:
        self._recommender.load_learned(under("parameter.", tensors))
        self._table.load({CONTENT: self._table.all().content, **under("table.", tensors)})
        self._optimizer.load_moments(under("moment.", tensors))

    def _digest(self, window: Sequence[Interaction], held_out: Sequence[Interaction]) -> str:
        """Digest everything that determines the result, except the machine."""
        digest = hashlib.blake2b(digest_size=16)
        encoder = adapter_digest(self._learner.encoder.adapter)
        settings = self._config.model_dump(), self._learner.signals.model_dump(), self._learner.config.seed
        digest.update(orjson.dumps([*settings, encoder]))
        digest.update(orjson.dumps([[event.event_id for event in part] for part in (window, held_out)]))
        for name, tensor in self._state().items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        for name, array in self._learner.replay.state().items():
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()


def _without_target(events: Sequence[Interaction]) -> str:
    """Say why interactions have no target."""
    if not events:
        return "it has no new interactions, only duplicates or refused records, if any"
    return (
        f"none of its {len(events):,} interactions can be predicted, because the champion did not know the "
        "item, it was the first act of its user, or it does not count (see [signals])"
    )


def _result(status: TrainingStatus, refolded: bool) -> RetrainResult:
    validations, best = status.validations, status.best_epoch
    return RetrainResult(
        status.epoch, best, validations[0], validations[best], status.events, status.seconds, refolded
    )
