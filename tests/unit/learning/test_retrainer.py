"""The retrainer: from a plan to a judgement, and from a promoted candidate to a learner that goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import OffsetsExpired
from pipeline.events import Interaction
from pipeline.learning import retrainer
from pipeline.learning.candidates import Candidate
from pipeline.learning.checkpoints import restore_from
from pipeline.learning.contest import Contender, run_through
from pipeline.learning.control import Judgement
from pipeline.learning.gate import GateShape
from pipeline.learning.journal import read_journal
from pipeline.learning.learner import Learner, MicroBatch
from pipeline.learning.position import Position
from pipeline.learning.retrainer import judged
from pipeline.learning.retraining import Retraining, RetrainShape
from pipeline.model.recommender import ModelShape
from pipeline.model.tower import TowerShape
from pipeline.stopping import Stopped
from tests.mill import Mill
from tests.workshop import (
    ACTS,
    AMOUNTS,
    ANYTHING_GOES,
    CHAMPION,
    NOTHING_GOES,
    begun,
    files_below,
    live,
    workshop,
)


@pytest.fixture
def mill(lived_mill: Mill) -> Mill:
    return lived_mill


def made(mill: Mill, gate: GateShape = ANYTHING_GOES) -> tuple[Candidate, Judgement]:
    candidate = begun(mill)
    return candidate, judged(workshop(mill, gate), candidate)


def state_of(mill: Mill, candidate: Candidate) -> tuple[Learner, Position]:
    learner = mill.learner()
    return learner, restore_from(candidate.checkpoint, learner)


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    named = {name: part.detach().clone() for name, part in learner.recommender.learned().items()}
    return {**named, "residual": learner.table.all().residual.clone()}


# What comes of it.


def test_a_candidate_is_judged(mill: Mill) -> None:
    candidate, judgement = made(mill)
    assert judgement.outcome == "promoted"
    assert (judgement.candidate, judgement.champion, judgement.generation) == ("one", CHAMPION, 1)
    assert judgement.request == "retrain-drift-1-5-loss"
    assert judgement.reasons
    assert judgement.figures["targets.all"] >= AMOUNTS.trial - 1, "but for the bad one"
    assert judgement.cost["epochs"] == 2
    assert judgement.cost["events"] > AMOUNTS.window
    assert judgement.cost["peak_bytes"] > 2**20
    assert judgement.cost["seconds"] > 0
    assert candidate.judgement() == judgement
    assert sorted(path.name for path in candidate.folder.iterdir()) == [
        "checkpoint",
        "judgement.json",
        "plan.json",
    ]


def test_one_that_gains_too_little_is_rejected(mill: Mill) -> None:
    _, judgement = made(mill, NOTHING_GOES)
    assert judgement.outcome == "rejected"
    assert any("log_loss.all.low" in reason for reason in judgement.reasons)


def test_too_little_to_go_by_is_a_rejection(mill: Mill) -> None:
    _, judgement = made(mill, replace(ANYTHING_GOES, least_targets=10_000))
    assert judgement.outcome == "rejected"
    assert any("targets.all" in reason for reason in judgement.reasons)


@pytest.mark.parametrize(("gate", "outcome"), [(ANYTHING_GOES, "held"), (NOTHING_GOES, "rejected")])
def test_by_hand_a_person_decides_of_what_would_be_promoted(
    mill: Mill, gate: GateShape, outcome: str
) -> None:
    assert judged(replace(workshop(mill, gate), manual=True), begun(mill)).outcome == outcome


def test_what_is_judged_is_not_judged_again(mill: Mill) -> None:
    candidate, judgement = made(mill)
    assert judged(workshop(mill, NOTHING_GOES), candidate) == judgement


def test_the_candidate_stands_where_the_trial_ends(mill: Mill) -> None:
    candidate, _ = made(mill)
    learner, position = state_of(mill, candidate)
    entries = {entry.version: after for entry, after in read_journal(mill.log, mill.topics.journal)}
    assert entries[position.version] == position.journal
    with mill.life() as life:
        life.again()
        life_at = {batch.position.version: batch.position for batch in life.learned}
    assert position == life_at[position.version]
    until = mill.rebuilt(position.version).learner
    assert dict(learner.stream.histories.items()) == dict(until.stream.histories.items())
    assert learner.stream.events == until.stream.events
    assert any(not torch.equal(weights(learner)[name], part) for name, part in weights(until).items())


def test_nothing_that_training_was_judged_on_is_in_the_trial(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated, tried = list[str](), list[str]()

    def retraining(
        learner: Learner,
        shape: RetrainShape,
        window: Sequence[Interaction],
        held_out: Sequence[Interaction],
        folder: Path,
    ) -> Retraining:
        validated.extend(event.event_id for event in held_out)
        return Retraining(learner, shape, window, held_out, folder)

    def contest(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        every = list(batches)
        tried.extend(event.event_id for batch in every[held_out:] for event in batch.interactions)
        return run_through(learner, every, held_out)

    monkeypatch.setattr(retrainer, "Retraining", retraining)
    monkeypatch.setattr(retrainer, "run_through", contest)
    made(mill)
    assert len(validated) >= AMOUNTS.held_out
    assert len(tried) >= 2 * (AMOUNTS.trial - 1), "both contenders"
    assert not set(validated) & set(tried)


def test_a_promoted_candidate_is_adopted_and_learning_goes_on(mill: Mill) -> None:
    candidate, judgement = made(mill)
    learner, position = state_of(mill, candidate)
    mill.promote("one", generation=judgement.generation)
    with mill.life() as life:
        life.again()
        life.turns(1)
        assert life.position.version == f"2-{position.step}"
        assert life.position.offsets == position.offsets
        promoted = weights(life.learner)
        assert all(torch.equal(promoted[name], part) for name, part in weights(learner).items())
        live(mill, 40, begin=ACTS)
        after = life.new()
        assert sum(len(batch.micro.interactions) for batch in after) > 40, "the trial's rest, and what is new"
        assert not torch.equal(weights(life.learner)["residual"], promoted["residual"])
        kept = life.digest()
    assert mill.rebuilt().digest == kept


def test_a_retrain_leaves_log_and_checkpoints_alone(mill: Mill, tmp_path: Path) -> None:
    def ends() -> dict[str, int]:
        topics = mill.log.describe_topics()
        return {str(source): end for source, end in mill.log.end_offsets(topics).items()}

    folder = mill.checkpoints.folder
    before = ends(), files_below(folder, "candidates"), files_below(tmp_path / "snapshots", "none")
    made(mill)
    assert (ends(), files_below(folder, "candidates"), files_below(tmp_path / "snapshots", "none")) == before


def steps(learner: Learner) -> list[float]:
    """That the optimizer has taken, a parameter each."""
    return [float(moments["step"]) for moments in learner.descent.adamw.state.values()]


def test_moments_are_those_of_the_champion(mill: Mill) -> None:
    candidate, _ = made(mill)
    learner, position = state_of(mill, candidate)
    assert steps(learner) == steps(mill.rebuilt(position.version).learner) != []


def test_it_may_be_larger_than_its_champion(mill: Mill) -> None:
    shop = workshop(mill)
    larger = ModelShape(TowerShape(shop.model.tower.layers, 4, 8), shop.model.adapter_rank + 2)
    candidate = begun(mill)
    assert judged(replace(shop, model=larger), candidate).figures["bytes.ratio"] > 1
    learner, _ = state_of(mill, candidate)
    assert learner.shape.model == larger


# What it waits for, and what it does not.


@pytest.fixture
def ahead_of_all(mill: Mill) -> Candidate:
    """A candidate of whose trial much is still to come."""
    return begun(mill, replace(AMOUNTS, trial=ACTS))


def test_it_waits_for_what_is_still_to_come(mill: Mill, ahead_of_all: Candidate) -> None:
    told = list[Judgement]()
    waiting = threading.Thread(
        target=lambda: told.append(judged(workshop(mill), ahead_of_all)), name="retrainer", daemon=True
    )
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    with mill.life() as life:
        life.again()
        left = life.position.step
        live(mill, 140, begin=ACTS)
        life.new()
    waiting.join(20)
    assert told[0].outcome == "promoted"
    assert state_of(mill, ahead_of_all)[1].step > left
    assert ahead_of_all.judgement() == told[0]


def test_told_to_stop_it_waits_no_longer(mill: Mill, ahead_of_all: Candidate) -> None:
    shop = workshop(mill)
    threading.Timer(0.2, shop.stop.set).start()
    with pytest.raises(Stopped):
        judged(shop, ahead_of_all)
    assert ahead_of_all.judgement() is None


def test_told_to_stop_it_leaves_the_contest(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, candidate = workshop(mill), begun(mill)

    def through(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        shop.stop.set()
        return run_through(learner, batches, held_out)

    monkeypatch.setattr(retrainer, "run_through", through)
    with pytest.raises(Stopped):
        judged(shop, candidate)
    assert candidate.judgement() is None


def test_a_champion_that_is_gone_makes_it_void(mill: Mill, ahead_of_all: Candidate) -> None:
    order = mill.roll_back("1-3")
    with mill.life() as life:
        life.again()
        life.new()
        assert life.position.generation == 2
    judgement = judged(workshop(mill), ahead_of_all)
    assert (judgement.outcome, judgement.figures, judgement.cost) == ("void", {}, {})
    assert order in judgement.reasons[0]
    assert not ahead_of_all.checkpoint.exists()


def test_a_window_that_the_log_has_lost_makes_it_void(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    def expired(*_: object) -> None:
        raise OffsetsExpired(mill.topics.interactions, 2, 3, 50, 60)

    monkeypatch.setattr(retrainer, "_interactions", expired)
    _, judgement = made(mill)
    assert judgement.outcome == "void"
    assert "lost to retention" in judgement.reasons[0]
