"""A retrainer for a small model, with amounts and a Gate that a few dozen events suffice for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor

from consumers.retrain.announcing import Announcer
from consumers.retrain.champion import Champions
from consumers.retrain.comparing import Comparer
from consumers.retrain.deciding import Decider
from consumers.retrain.planning import Planner
from consumers.retrain.reading import LogView
from consumers.retrain.requests import ManualRequest
from consumers.retrain.retrainer import Retrainer
from consumers.retrain.training import Trainer
from pipeline.checkpoints.manifest import MANIFEST, read_manifest
from pipeline.checkpoints.store import restore_from
from pipeline.config import (
    GateConfig,
    LanguageConfig,
    ModelSizes,
    OptimizerConfig,
    PlanConfig,
    RetrainConfig,
    RowRates,
    SamplingConfig,
    TrainingConfig,
)
from pipeline.control.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.control.records import DecisionOutcome, GateDecision
from pipeline.journal.position import Position
from pipeline.model.content.adapter import adapter_of, with_adapter
from pipeline.model.content.text import TextEncoder
from pipeline.model.scoring import users_before_last
from pipeline.retraining.candidates import Candidate, Candidates, RetrainPlan
from pipeline.retraining.training import RetrainProgress
from pipeline.training.learner import Learner
from tests.support.model_harness import COLOURS, MINUTE, START, THINGS, USERS, ModelHarness, tiny_settings

ACTS, CHAMPION = 240, "1-6"
"""Interactions in the log of `learned_harness`, and the version of its one checkpoint."""
PLAN = PlanConfig(window_events=64, wait_events=24, held_out_events=24, trial_events=56)
TRAINING = TrainingConfig(
    epochs=2,
    patience=2,
    segments=2,
    optimizer=OptimizerConfig(rate=3e-3, rows=RowRates(residual=0.02, bias=0.02)),
)
NO_LANGUAGE = LanguageConfig()
"""The text encoder stays as it is."""
ANYTHING_GOES = GateConfig(
    least_targets=20,
    least_users=2,
    least_probes=1,
    least_slice=10,
    least_gain=-100,
    ndcg_margin=100,
    slice_log_loss_margin=100,
    slice_ndcg_margin=100,
    least_jaccard=0,
    least_diversity=0,
    most_latency=1e6,
    most_size=1e6,
    sampling=SamplingConfig(resamples=100),
)
"""Promotes what can be compared at all."""
NOTHING_GOES = ANYTHING_GOES.replace(least_gain=100)


def silent(_: RetrainProgress) -> None:
    """Ignore progress."""


def some_adapter(encoder: TextEncoder, seed: int = 0) -> dict[str, Tensor]:
    """An adapter that changes the vector of any text."""
    random = torch.Generator().manual_seed(seed)
    newborn = adapter_of(with_adapter(encoder.backbone.model))
    return {name: torch.randn(tensor.shape, generator=random) / 4 for name, tensor in newborn.items()}


def make_planner(harness: ModelHarness, plan: PlanConfig = PLAN, stop: Event | None = None) -> Planner:
    log = LogView(harness.log, harness.topics, stop or Event())
    return Planner(log, harness.checkpoints, candidates(harness), plan)


def plan_by_hand(
    harness: ModelHarness, plan: PlanConfig = PLAN, since: datetime | None = None
) -> RetrainPlan:
    return make_planner(harness, plan).by_hand(ManualRequest.now(since))


def make_retrainer(
    harness: ModelHarness,
    gate: GateConfig = ANYTHING_GOES,
    *,
    manual: bool = False,
    stop: Event | None = None,
    progress: Callable[[RetrainProgress], None] = silent,
    language: LanguageConfig = NO_LANGUAGE,
    model: ModelSizes | None = None,
) -> Retrainer:
    """A retrainer that has just started."""
    first = harness.learner()
    log = LogView(harness.log, harness.topics, stop or Event())
    champions = Champions(log, harness.checkpoints, first.another)
    config = RetrainConfig(training=TRAINING, language=language)
    return Retrainer(
        candidates(harness),
        make_planner(harness, stop=log.stop),
        Trainer(champions, log, config, model or first.config.sizes, progress),
        Comparer(champions, log, harness.checkpoints),
        Decider(gate.replace(mode="manual" if manual else "auto")),
        Announcer(harness.log, harness.topics),
    )


def candidates(harness: ModelHarness) -> Candidates:
    return Candidates(harness.checkpoints.folder)


def live(harness: ModelHarness, acts: int, begin: int = 0) -> None:
    """Append so many purchases with own ids; each user walks along the catalogue in a stride of theirs."""
    for number in range(begin, begin + acts):
        user = number % len(USERS)
        at = number // len(USERS) * (user + 1) + 3 * user
        item = f"{COLOURS[at % 3]}-{THINGS[at // 3 % 4]}"
        time = START + MINUTE * number
        harness.act(USERS[user], item, event_id=f"live-{number}", time=time, session=f"s{number // 30}")


def learned_harness(folder: Path, backbone: Path) -> Path:
    """The folder of a model that has learned its whole log, with a checkpoint on the way."""
    with ModelHarness(tiny_settings(folder, backbone)) as harness:
        harness.stock()
        live(harness, ACTS // 2)
        harness.writer.append(harness.topics.interactions, "ann", b"bad")
        live(harness, ACTS // 2, begin=ACTS // 2)
        with harness.learning() as learning:
            learning.new(6)
            learning.checkpoint()
            assert learning.position.version == CHAMPION
            learning.new()
    return folder


def begun(harness: ModelHarness, plan_config: PlanConfig = PLAN) -> Candidate:
    """A candidate named "one" that has a plan and nothing else."""
    plan = plan_by_hand(harness, plan_config)
    assert plan.champion == CHAMPION
    return candidates(harness).begin(
        plan.model_copy(update={"name": "one", "request": "retrain-drift-1-5-loss"})
    )


class Foreseen(NamedTuple):
    """Log-probabilities ``[n]`` of all rows."""

    model: Tensor
    mixture: Tensor


@torch.inference_mode()
def foreseen(learner: Learner, user: str) -> Foreseen:
    """Score a user's next act in the basket of the last; no other user plays a part."""
    stream, table, recommender = learner.stream, learner.table.all(), learner.recommender
    last = stream.histories.of(user)[-1]
    segment = stream.segment(user, [last._replace(time=last.time + MINUTE)])
    before = users_before_last([segment], recommender, table, learner.config.segments.context)
    return Foreseen(recommender.rank_all(before, table)[0], learner.mixture([segment], before)[0])


def request(generation: int, step: int) -> RetrainRequest:
    alarm = DriftAlarm(
        signal=Signal.LOSS, generation=generation, step=step, events=9, before=1.0, after=2.0, evidence={}
    )
    return RetrainRequest(alarm=alarm)


def decision(
    candidate: str = "one", outcome: DecisionOutcome = "promoted", request: str | None = None
) -> GateDecision:
    return GateDecision(
        candidate=candidate,
        champion="1-7",
        generation=1,
        request=request,
        outcome=outcome,
        reasons=["it is better", "and as fast"],
        figures={"log_loss.all.gain": 0.25, "log_loss.all.low": 0.125, "log_loss.all.high": 0.5},
        cost={"seconds": 12.0, "events": 4_096, "epochs": 2, "peak_bytes": 3 * 2**20},
        decided_at=1_700_000_000_000,
    )


def state_of_candidate(harness: ModelHarness, candidate: Candidate) -> tuple[Learner, Position]:
    """A learner in the state of a candidate, and where it stands."""
    learner = harness.learner()
    return learner, restore_from(candidate.checkpoint, learner, None)


def files_below(folder: Path, but: str) -> dict[str, bytes]:
    """Contents of all files in a folder by path, without those below one of its folders."""
    files = [path for path in folder.rglob("*") if path.is_file() and folder / but not in path.parents]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def digest_of(candidate: Candidate) -> str:
    """Digest of the candidate's checkpoint."""
    return read_manifest(candidate.checkpoint / MANIFEST).digest
