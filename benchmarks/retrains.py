"""Retrains in memory, for benchmarks: what `millstream retrain` does to a log, done to a list of batches.

Amounts are those of the settings' defaults, in whole batches, as the journal parts them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import restore, to_files
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
from pipeline.retraining.gate import GateVerdict, Outcome, decide
from pipeline.retraining.training import Retraining, RetrainResult
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

BATCH = BatchConfig().events
WAIT, HELD_OUT, TRIAL = (
    -(-events // BATCH)
    for events in (
        PlanConfig().wait_events,
        PlanConfig().held_out_events,
        PlanConfig().trial_events,
    )
)
"""Batches between an alarm and the end of the window, to validate on, and to compare on."""
TOOK = WAIT + HELD_OUT + TRIAL
"""Batches from a request to the verdict."""
NOWHERE = Position(1, 0, "", 0, {}, 0, 0, {})

Policy = Callable[[int, Sequence[ControlRecord]], bool]
"""Whether to ask for a retrain after so many batches, by what was told of the last."""


@dataclass(frozen=True)
class Retrained:
    """A retrain that was judged: asked for after so many batches, at so many seconds of processor time."""

    asked: int
    seconds: float
    verdict: GateVerdict

    @property
    def is_promoted(self) -> bool:
        """Whether its candidate took the champion's place, TOOK batches after it was asked for."""
        return self.verdict.outcome is Outcome.PROMOTED


@dataclass
class LearnerHarness:
    """What was said of each batch by whoever was champion, what was told, and the retrains."""

    scores: list[Scores] = field(default_factory=list)
    told: list[ControlRecord] = field(default_factory=list)
    retrains: list[Retrained] = field(default_factory=list)


@dataclass(frozen=True)
class UnderWay:
    """A retrain whose candidate has run ahead through its trial, to be judged when the champion is there."""

    asked: int
    seconds: float
    candidate: Contender


def new_learner(cache: Path, config: LearnerConfig | None = None) -> Learner:
    """One that has seen nothing, on one thread; `cache` holds content vectors."""
    cpu, backbone = use_device("cpu", threads=1), load_backbone()
    encoder = TextEncoder(backbone, cache, ModelConfig().max_tokens, cpu)
    return Learner(config or LearnerConfig(), backbone, encoder, cpu)


def batches_of(events: Iterable[Event]) -> list[MicroBatch]:
    """The opening catalogue, then batches of a data set's interactions, with the items before them."""
    return list(micro_batches((event for event in events if isinstance(event, Item | Interaction)), BATCH))


def interactions_of(batches: Iterable[MicroBatch]) -> list[Interaction]:
    """All of them, in order."""
    return [event for batch in batches for event in batch.interactions]


def standing(scores: Iterable[Scores]) -> dict[str, float]:
    """The mixture's mean figures over some batches, and the number ``n`` of their targets."""
    quality = Quality()
    for scored in scores:
        quality.add(scored)
    figures = quality.report()["mixture"]["all"]
    return {name: value for name, value in figures.items() if value is not None}


def copy_of(learner: Learner) -> Learner:
    """Another one in the same state, through the files of a checkpoint."""
    other = learner.another()
    restore(other, None, learner.config.sizes, to_files(capture(learner, None, NOWHERE), 1))
    return other


def retrain(
    learner: Learner,
    window: Sequence[Interaction],
    held_out: Sequence[Interaction],
    config: TrainingConfig | None = None,
) -> RetrainResult:
    """Retrain a learner as it stands."""
    with TemporaryDirectory() as folder:
        retraining = Retraining(learner, config or TrainingConfig(), window, held_out, Path(folder))
        return retraining.run(lambda _: None)


def live(
    learner: Learner, supervisor: Supervisor, batches: Sequence[MicroBatch], policy: Policy
) -> LearnerHarness:
    """Learn batches, the catalogue first, and retrain when the policy asks for it.

    It is not heard while a retrain is under way, nor when too little is left to judge one.
    """
    life, asked, under_way = LearnerHarness(), None, None
    learner.score_and_learn(batches[0])
    for number, batch in enumerate(batches[1:], start=1):
        scores = learner.score_and_learn(batch)
        told = supervise(supervisor, learner, batch, scores)
        life.scores.append(scores)
        life.told += told
        if asked is None and policy(number, told) and number + TOOK < len(batches):
            asked = number
        if asked is not None and number == asked + WAIT:
            under_way = _begun(learner, batches, asked)
        if under_way is not None and number == under_way.asked + TOOK:
            champion = Contender(learner, life.scores[-TRIAL:])
            verdict = decide(*evidence(champion, under_way.candidate), GateConfig())
            life.retrains.append(Retrained(under_way.asked, under_way.seconds, verdict))
            if life.retrains[-1].is_promoted:
                learner = under_way.candidate.learner
                supervisor.adopted("promotion", f"{batch.generation}-{batch.step}")
            asked = under_way = None
    return life


def _begun(champion: Learner, batches: Sequence[MicroBatch], asked: int) -> UnderWay:
    """Retrain a copy of the champion on the batches since the request, and let it run ahead."""
    bounds = itertools.accumulate([asked + 1, WAIT, HELD_OUT, TRIAL])
    window, held_out, trial = (batches[start:stop] for start, stop in itertools.pairwise(bounds))
    candidate = copy_of(champion)
    began = time.process_time()
    retrain(candidate, interactions_of(window), interactions_of(held_out))
    seconds = time.process_time() - began
    return UnderWay(asked, seconds, run_through(candidate, [*held_out, *trial], HELD_OUT))
