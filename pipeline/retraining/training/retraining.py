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

from pipeline.errors import NothingToLearn
from pipeline.events import Interaction
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.device import fast_products
from pipeline.model.item_table import ItemTable, RowRates
from pipeline.model.losses import Negatives, draw_negatives
from pipeline.model.tensors import under
from pipeline.retraining.training.progress import Progress, TrainingStatus, read_progress, write_progress
from pipeline.retraining.training.refolding import refold_if_better
from pipeline.retraining.training.validation import Validation, validate
from pipeline.retraining.training.views import contrastive_loss
from pipeline.retraining.training.window import folded_segments, upcoming_segments
from pipeline.state.segments import Segment
from pipeline.training.forward import forward
from pipeline.training.learner import Learner
from pipeline.training.optimizer import OptimizerStep, Touched
from pipeline.training.rng import Purpose, random_for

log = logging.getLogger(__name__)

CONTENT = "content"


@dataclass(frozen=True)
class RetrainConfig:
    """How a retrain learns.

    Chosen on shops that drift abruptly (seeds 0-2, windows of 4,096 acts since the drift, then
    seeds 10-12; `past` on 0-3 and 5-8). Larger minibatches, the stream's own rates and a window
    that reaches back before the drift gain less; new row accumulators lose. `past` 1 gains
    .025 nats over the trial and nothing is lost on cold items; .3 gains .042 and loses .04 there
    (.10 on the worst shop); .4 gains less and loses as much; .2 gains no more and loses more (five
    of the shops). benchmarks/gate.py measures it.

    Attributes:
        epochs: at most.
        patience: epochs in a row without a new best one that end it.
        segments: in a minibatch.
        negatives: a minibatch.
        rate, weight_decay: AdamW's, for the recommender.
        clip: the largest norm of its gradient.
        rows: Adagrad's rates for the item table.
        alpha: share of the unsupervised objective in the loss, from 0 to 1.
        past: what memory and popularity counted before the window is worth after the retrain, if
            that foresees better what was held out; from 0 to 1, which leaves them as they are.
    """

    epochs: int = 4
    patience: int = 1
    segments: int = 8
    negatives: int = 512
    rate: float = 3e-4
    weight_decay: float = 1e-4
    clip: float = 5.0
    rows: RowRates = RowRates(residual=0.003, bias=0.006)
    alpha: float = 0.0
    past: float = 0.3


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


class Retraining:
    """Trains the learned state of a Learner, and may refold its stream state.

    The retrain has its own AdamW moments; the learner's are kept for its later steps (measured:
    better than resetting them). The rows' accumulators carry over, because without them the first
    steps would be far too large. The replay buffer stays unchanged: emptying or refilling it made
    no difference.
    """

    def __init__(
        self,
        learner: Learner,
        shape: RetrainConfig,
        window: Sequence[Interaction],
        held_out: Sequence[Interaction],
        folder: Path,
    ) -> None:
        """Prepare a retrain, or the rest of an interrupted one.

        Args:
            learner: restored from a checkpoint of the champion.
            shape: how to train.
            window: the last interactions before the checkpoint, in the order of batches.
            held_out: the first interactions after it, to validate on.
            folder: an existing folder used by this retrain alone.

        Raises:
            NothingToLearn: there are no targets to train on, or none to validate on.
        """
        self._learner, self._shape, self._window, self._folder = learner, shape, window, folder
        cut = learner.shape.cut
        self._training = folded_segments(window, learner.stream, cut)
        self._validation = upcoming_segments(held_out, learner.stream, cut)
        if not (self._training and self._validation):
            raise NothingToLearn(
                "the window, or the held-out part after it, has no targets: widen the window"
            )
        self._recommender = learner.recommender
        self._table = ItemTable(learner.table.all().content.shape[1], learner.device, shape.rows)
        self._table.load(learner.table.state())
        self._optimizer = OptimizerStep(
            self._recommender, self._table, shape.rate, shape.weight_decay, shape.clip
        )
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
        parts = self._window, self._training, self._validation
        return 0 < self._shape.past < 1 and refold_if_better(self._learner, *parts, self._shape.past)

    def _start(self) -> Progress:
        now = self._state()
        return Progress(TrainingStatus(task=self._task, validations=(self._validate(),)), now, now)

    def _continues(self, status: TrainingStatus) -> bool:
        waited = status.epoch - status.best_epoch
        return status.epoch < self._shape.epochs and waited < self._shape.patience

    def _run_epoch(self, at: Progress, progress: Callable[[RetrainProgress], None]) -> Progress:
        began, epoch, trained = time.perf_counter(), at.status.epoch + 1, 0
        order = self._random(epoch, 0, Purpose.RETRAIN_ORDER).permutation(len(self._training))
        for start in range(0, order.size, self._shape.segments):
            minibatch = [self._training[index] for index in order[start : start + self._shape.segments]]
            trained += self._train(minibatch, epoch, start)
            progress(RetrainProgress(epoch, start + len(minibatch), order.size))
        status = TrainingStatus(
            task=self._task,
            validations=(*at.status.validations, self._validate()),
            events=at.status.events + trained,
            seconds=at.status.seconds + time.perf_counter() - began,
        )
        now = self._state()
        log.info("epoch %s of a retrain: %s", epoch, status.validations[-1])
        return Progress(status, now, now if status.best_epoch == epoch else at.best)

    @fast_products()
    def _train(self, minibatch: list[Segment], epoch: int, step: int) -> int:
        """Take one step; return the number of targets learned."""
        passed = forward(self._recommender, self._table, minibatch, self._negatives(epoch, step))
        loss, touched = passed.losses[passed.new].mean(), [Touched(passed.touched, passed.rows)]
        if self._shape.alpha > 0:
            views = self._random(epoch, step, Purpose.RETRAIN_VIEWS)
            unsupervised, rows = contrastive_loss(self._recommender, self._table, minibatch, views)
            loss = self._shape.alpha * unsupervised + (1 - self._shape.alpha) * loss
            touched.append(rows)
        if not self._optimizer.step(loss, touched):
            log.error("minibatch %s of epoch %s is not finite: skipped", step, epoch)
            return 0
        return int(passed.new.sum())

    def _negatives(self, epoch: int, step: int) -> Negatives:
        random = self._random(epoch, step, Purpose.RETRAIN_NEGATIVES)
        counts = self._learner.stream.popularity.counts
        return draw_negatives(counts, self._shape.negatives, random, self._learner.device)

    def _validate(self) -> Validation:
        return validate(self._recommender, self._table, self._validation)

    def _random(self, epoch: int, step: int, purpose: Purpose) -> np.random.Generator:
        return random_for(self._learner.shape.seed, epoch, step, purpose)

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
        digest.update(orjson.dumps([self._shape, self._learner.shape.seed, encoder]))
        digest.update(orjson.dumps([[event.event_id for event in part] for part in (window, held_out)]))
        for name, tensor in self._state().items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def _result(status: TrainingStatus, refolded: bool) -> RetrainResult:
    validations, best = status.validations, status.best_epoch
    return RetrainResult(
        status.epoch, best, validations[0], validations[best], status.events, status.seconds, refolded
    )
