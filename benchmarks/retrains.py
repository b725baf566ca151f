"""Retrains in memory, for benchmarks: what `millstream retrain` does on a log, on a list of batches.

Sizes are the defaults of the settings, rounded up to whole batches, as the journal splits them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import restore
from pipeline.config import (
    BatchConfig,
    GateConfig,
    LearnerConfig,
    ModelConfig,
    PlanConfig,
    TrainingConfig,
)
from pipeline.control.records import ControlRecord
from pipeline.evaluation.prequential import Quality, Scores
from pipeline.events import Event, Interaction, Item
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.monitoring.supervisor import Supervisor
from pipeline.retraining.comparison import Contender, evidence, run_through
from pipeline.retraining.gate import GateOutcome, GateVerdict, decide
from pipeline.retraining.training import Retraining, RetrainResult
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise
from tests.support.checkpoint_tools import to_files

BATCH = BatchConfig().events
WAIT, HELD_OUT, TRIAL = (
    -(-events // BATCH)
    for events in (
        PlanConfig().wait_events,
        PlanConfig().held_out_events,
        PlanConfig().trial_events,
    )
)
"""Batches from an alarm to the end of the window, then to validate on, then to compare on."""
DURATION = WAIT + HELD_OUT + TRIAL
"""Batches from a request to the verdict."""
NO_POSITION = Position(1, 0, "", 0, {}, 0, 0, {})

Policy = Callable[[int, Sequence[ControlRecord]], bool]
"""Whether to request a retrain, from the number of batches learned and the records of the last one."""


@dataclass(frozen=True)
class FinishedRetrain:
    """A judged retrain: the number of batches before its request, its processor time, the verdict."""

    requested_at: int
    seconds: float
    verdict: GateVerdict

    @property
    def is_promoted(self) -> bool:
        """Whether its candidate replaced the champion, DURATION batches after the request."""
        return self.verdict.outcome is GateOutcome.PROMOTED


@dataclass
class StreamRun:
    """The champion's scores of each batch, the control records, and the retrains."""

    scores: list[Scores] = field(default_factory=list)
    records: list[ControlRecord] = field(default_factory=list)
    retrains: list[FinishedRetrain] = field(default_factory=list)


@dataclass(frozen=True)
class PendingRetrain:
    """A retrain whose candidate has already learned the trial's batches; the champion has not yet."""

    requested_at: int
    seconds: float
    candidate: Contender


def new_learner(cache: Path, config: LearnerConfig | None = None) -> Learner:
    """Make a new learner on one thread; `cache` holds content vectors."""
    cpu, backbone = use_device("cpu", threads=1), load_backbone()
    encoder = TextEncoder(backbone, cache, ModelConfig().max_tokens, cpu)
    return Learner(config or LearnerConfig(), backbone, encoder, cpu)


def batches_of(events: Iterable[Event]) -> list[MicroBatch]:
    """Return the initial catalogue, then batches of a data set's interactions with the items before them."""
    return list(micro_batches((event for event in events if isinstance(event, Item | Interaction)), BATCH))


def numbered(acts: Sequence[Interaction], steps: Iterator[int]) -> Iterator[MicroBatch]:
    """Yield acts in batches of `BATCH`, numbered by the next of `steps`."""
    for start in range(0, len(acts), BATCH):
        yield MicroBatch(0, next(steps), [], acts[start : start + BATCH])


def learn_all(learner: Learner, batches: Iterable[MicroBatch]) -> None:
    """Score and learn batches; nothing is made of the scores."""
    for batch in batches:
        learner.score_and_learn(batch)


def interactions_of(batches: Iterable[MicroBatch]) -> list[Interaction]:
    """Return all interactions of the batches, in order."""
    return [event for batch in batches for event in batch.interactions]


def mean_figures(scores: Iterable[Scores]) -> dict[str, float]:
    """Return the mixture's mean figures over some batches, and the number ``n`` of their targets."""
    quality = Quality()
    for scored in scores:
        quality.add(scored)
    figures = quality.report()["mixture"]["all"]
    return {name: value for name, value in figures.items() if value is not None}


def copy_of(learner: Learner) -> Learner:
    """Copy a learner through the files of a checkpoint."""
    other = learner.another()
    restore(other, None, learner.config.sizes, to_files(capture(learner, None, NO_POSITION), 1))
    return other


def retrain(
    learner: Learner,
    window: Sequence[Interaction],
    held_out: Sequence[Interaction],
    config: TrainingConfig | None = None,
) -> RetrainResult:
    """Retrain a learner in its current state."""
    with TemporaryDirectory() as folder:
        retraining = Retraining(learner, config or TrainingConfig(), window, held_out, Path(folder))
        return retraining.run(lambda _: None)


def run_stream(
    learner: Learner, supervisor: Supervisor, batches: Sequence[MicroBatch], policy: Policy
) -> StreamRun:
    """Learn batches, the catalogue first, and retrain when the policy requests it.

    Requests are ignored during a retrain, and when too few batches are left to judge one.
    """
    run, requested_at, pending = StreamRun(), None, None
    learner.score_and_learn(batches[0])
    for number, batch in enumerate(batches[1:], start=1):
        scores = learner.score_and_learn(batch)
        records = supervise(supervisor, learner, batch, scores)
        run.scores.append(scores)
        run.records += records
        if requested_at is None and policy(number, records) and number + DURATION < len(batches):
            requested_at = number
        if requested_at is not None and number == requested_at + WAIT:
            pending = _start_retrain(learner, batches, requested_at)
        if pending is not None and number == pending.requested_at + DURATION:
            champion = Contender(learner, run.scores[-TRIAL:])
            verdict = decide(*evidence(champion, pending.candidate), GateConfig())
            run.retrains.append(FinishedRetrain(pending.requested_at, pending.seconds, verdict))
            if run.retrains[-1].is_promoted:
                learner = pending.candidate.learner
                supervisor.adopted("promotion", f"{batch.generation}-{batch.step}", by_person=False)
            requested_at = pending = None
    return run


def _start_retrain(champion: Learner, batches: Sequence[MicroBatch], requested_at: int) -> PendingRetrain:
    """Retrain a copy of the champion on the batches since the request, and run it through the trial."""
    bounds = itertools.accumulate([requested_at + 1, WAIT, HELD_OUT, TRIAL])
    window, held_out, trial = (batches[start:stop] for start, stop in itertools.pairwise(bounds))
    candidate = copy_of(champion)
    began = time.process_time()
    retrain(candidate, interactions_of(window), interactions_of(held_out))
    seconds = time.process_time() - began
    return PendingRetrain(requested_at, seconds, run_through(candidate, [*held_out, *trial], HELD_OUT))
