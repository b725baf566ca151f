"""A retrainer over a mill, with amounts and a Gate that a few dozen events suffice for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import NamedTuple

import orjson
import torch
from torch import Tensor

from pipeline.learning.candidates import Candidate, Candidates
from pipeline.learning.control import Judgement, JudgementOutcome
from pipeline.learning.drift import DriftAlarm, RetrainRequest
from pipeline.learning.drift.alarms import Signal
from pipeline.learning.gate import GateShape, Sampling
from pipeline.learning.learner import Learner
from pipeline.learning.planning import PlanShape, plan_now
from pipeline.learning.retrainer import Workshop
from pipeline.learning.retraining import RetrainProgress, RetrainShape
from pipeline.model.content.adapter import adapter_of, with_adapter
from pipeline.model.content.text import TextEncoder
from pipeline.model.item_table import RowRates, Rows
from pipeline.model.sequences import pack
from tests.mill import COLOURS, MINUTE, START, THINGS, USERS, Mill, tiny_settings

ACTS, CHAMPION = 240, "1-6"
"""Interactions in the log of `learned_mill`; what the one checkpoint on its way holds."""
AMOUNTS = PlanShape(window=64, wait=24, held_out=24, trial=56)
RETRAIN = RetrainShape(
    epochs=2, patience=2, segments=2, negatives=8, rate=3e-3, rows=RowRates(residual=0.02, bias=0.02)
)
ANYTHING_GOES = GateShape(
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


def workshop(mill: Mill, gate: GateShape = ANYTHING_GOES) -> Workshop:
    """As a retrainer that has just started has it."""
    first = mill.learner()
    return Workshop(
        mill.log,
        mill.topics,
        mill.checkpoints,
        first.another,
        first.shape.model,
        RETRAIN,
        gate,
        manual=False,
        stop=Event(),
        progress=silent,
    )


def candidates(mill: Mill) -> Candidates:
    return Candidates(mill.checkpoints.folder)


def live(mill: Mill, acts: int, begin: int = 0) -> None:
    """So many purchases with ids of their own: users walk along the catalogue, each in a stride of theirs."""
    for number in range(begin, begin + acts):
        place = number % len(USERS)
        at = number // len(USERS) * (place + 1) + 3 * place
        item = f"{COLOURS[at % 3]}-{THINGS[at // 3 % 4]}"
        time = START + MINUTE * number
        mill.act(USERS[place], item, event_id=f"live-{number}", time=time, session=f"s{number // 30}")


def learned_mill(folder: Path, backbone: Path) -> Path:
    """The folder of a mill that has learned all there is, with one checkpoint on its way."""
    with Mill(tiny_settings(folder, backbone)) as mill:
        mill.stock()
        live(mill, ACTS // 2)
        mill.writer.append(mill.topics.interactions, "ann", b"bad")
        live(mill, ACTS // 2, begin=ACTS // 2)
        with mill.life() as life:
            life.new(6)
            life.checkpoint()
            assert life.position.version == CHAMPION
            life.new()
    return folder


def begun(mill: Mill, amounts: PlanShape = AMOUNTS) -> Candidate:
    """A candidate named "one" with a plan, and nothing done yet."""
    plan = plan_now(workshop(mill), amounts, None)
    assert plan.champion == CHAMPION
    return candidates(mill).begin(
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
    past = len(segment) - 1
    acts = pack([segment.cut(max(0, past - learner.shape.context), past)], learner.device)
    vectors = recommender.item_vectors(Rows(*(column[acts.items] for column in table)))
    after = recommender.user_vectors(vectors, acts)[-1:]
    return Foreseen(recommender.rank_all(after, table)[0], learner.mixture([segment], after)[0])


def request(generation: int, step: int) -> RetrainRequest:
    alarm = DriftAlarm(
        signal=Signal.LOSS, generation=generation, step=step, events=9, before=1.0, after=2.0, evidence={}
    )
    return RetrainRequest(alarm=alarm)


def judgement(
    candidate: str = "one", outcome: JudgementOutcome = "promoted", request: str | None = None
) -> Judgement:
    return Judgement(
        candidate=candidate,
        champion="1-7",
        generation=1,
        request=request,
        outcome=outcome,
        reasons=["it is better", "and as fast"],
        figures={"log_loss.all.gain": 0.25, "log_loss.all.low": 0.125, "log_loss.all.high": 0.5},
        cost={"seconds": 12.0, "events": 4_096, "epochs": 2, "peak_bytes": 3 * 2**20},
        judged_at=1_700_000_000_000,
    )


def files_below(folder: Path, but: str) -> dict[str, bytes]:
    """Everything in a folder by path, without what lies below one of its folders."""
    files = [path for path in folder.rglob("*") if path.is_file() and folder / but not in path.parents]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def digest_of(candidate: Candidate) -> str:
    """Of everything in its checkpoint."""
    manifest = orjson.loads((candidate.checkpoint / "manifest.json").read_bytes())
    return str(manifest["digest"])
