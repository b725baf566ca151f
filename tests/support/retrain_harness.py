"""A retrainer over a mill, with amounts and a Gate that a few dozen events suffice for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import NamedTuple

import orjson
import torch
from torch import Tensor

from consumers.retrain.planning import PlanConfig, plan_now
from consumers.retrain.retrainer import Workshop
from pipeline.control.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.control.records import DecisionOutcome, GateDecision
from pipeline.model.content.adapter import adapter_of, with_adapter
from pipeline.model.content.text import TextEncoder
from pipeline.model.item_table import RowRates
from pipeline.model.scoring import users_before_last
from pipeline.retraining.candidates import Candidate, Candidates
from pipeline.retraining.gate import GateConfig, Sampling
from pipeline.retraining.training import RetrainConfig, RetrainProgress
from pipeline.training.learner import Learner
from tests.support.model_harness import COLOURS, MINUTE, START, THINGS, USERS, ModelHarness, tiny_settings

ACTS, CHAMPION = 240, "1-6"
"""Interactions in the log of `learned_mill`; what the one checkpoint on its way holds."""
PLAN = PlanConfig(window=64, wait=24, held_out=24, trial=56)
RETRAIN = RetrainConfig(
    epochs=2, patience=2, segments=2, negatives=8, rate=3e-3, rows=RowRates(residual=0.02, bias=0.02)
)
ANYTHING_GOES = GateConfig(
    least_targets=20,
    least_users=2,
    least_probes=1,
    least_slice=10,
    least_gain=-10,
    ndcg_margin=10,
    slice_log_loss_margin=10,
    slice_ndcg_margin=10,
    least_jaccard=0,
    least_diversity=0,
    most_latency=1e6,
    most_size=1e6,
    sampling=Sampling(resamples=100),
)
NOTHING_GOES = replace(ANYTHING_GOES, least_gain=100)


def silent(_: RetrainProgress) -> None:
    """Nobody listens."""


def some_adapter(encoder: TextEncoder, seed: int = 0) -> dict[str, Tensor]:
    """One that changes what an encoder makes of any text."""
    random = torch.Generator().manual_seed(seed)
    newborn = adapter_of(with_adapter(encoder.backbone.model))
    return {name: torch.randn(tensor.shape, generator=random) / 4 for name, tensor in newborn.items()}


def workshop(harness: ModelHarness, gate: GateConfig = ANYTHING_GOES) -> Workshop:
    """As a retrainer that has just started has it."""
    first = harness.learner()
    return Workshop(
        harness.log,
        harness.topics,
        harness.checkpoints,
        first.another,
        first.shape.model,
        RETRAIN,
        gate,
        manual=False,
        stop=Event(),
        progress=silent,
    )


def candidates(harness: ModelHarness) -> Candidates:
    return Candidates(harness.checkpoints.folder)


def live(harness: ModelHarness, acts: int, begin: int = 0) -> None:
    """So many purchases with ids of their own: users walk along the catalogue, each in a stride of theirs."""
    for number in range(begin, begin + acts):
        place = number % len(USERS)
        at = number // len(USERS) * (place + 1) + 3 * place
        item = f"{COLOURS[at % 3]}-{THINGS[at // 3 % 4]}"
        time = START + MINUTE * number
        harness.act(USERS[place], item, event_id=f"live-{number}", time=time, session=f"s{number // 30}")


def learned_harness(folder: Path, backbone: Path) -> Path:
    """The folder of a mill that has learned all there is, with one checkpoint on its way."""
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
    """A candidate named "one" with a plan, and nothing done yet."""
    plan = plan_now(workshop(harness), plan_config, None)
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
    """What is said of a user's next act in the basket of the last; no other user plays a part."""
    stream, table, recommender = learner.stream, learner.table.all(), learner.recommender
    last = stream.histories.of(user)[-1]
    segment = stream.segment(user, [last._replace(time=last.time + MINUTE)])
    before = users_before_last([segment], recommender, table, learner.shape.context)
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


def files_below(folder: Path, but: str) -> dict[str, bytes]:
    """Everything in a folder by path, without what lies below one of its folders."""
    files = [path for path in folder.rglob("*") if path.is_file() and folder / but not in path.parents]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def digest_of(candidate: Candidate) -> str:
    """Of everything in its checkpoint."""
    manifest = orjson.loads((candidate.checkpoint / "manifest.json").read_bytes())
    return str(manifest["digest"])
