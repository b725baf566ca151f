"""The retrainer: from a plan to a decision, and from a promoted candidate to a learner that goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

from consumers.retrain import comparing, training
from consumers.retrain.reading import LogView
from pipeline.config import GateConfig, TrainingConfig
from pipeline.control.records import GateDecision
from pipeline.errors import OffsetsExpired
from pipeline.events import Interaction
from pipeline.journal.entry import read_journal
from pipeline.retraining.candidates import Candidate
from pipeline.retraining.comparison import Contender, run_through
from pipeline.retraining.training import Retraining
from pipeline.signals import Stopped
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.model_harness import ModelHarness, tiny_settings
from tests.support.retrain_harness import (
    ACTS,
    ANYTHING_GOES,
    CHAMPION,
    NOTHING_GOES,
    PLAN,
    begun,
    files_below,
    live,
    make_retrainer,
)
from tests.support.retrain_harness import state_of_candidate as state_of
from tests.support.serve_tools import wait_until


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


def made(harness: ModelHarness, gate: GateConfig = ANYTHING_GOES) -> tuple[Candidate, GateDecision]:
    candidate = begun(harness)
    return candidate, make_retrainer(harness, gate).retrain(candidate.name)


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    named = {name: part.detach().clone() for name, part in learner.recommender.learned().items()}
    return {**named, "residual": learner.table.all().residual.clone()}


# What comes of it.


def test_a_candidate_is_judged(harness: ModelHarness) -> None:
    candidate, decision = made(harness)
    assert decision.outcome == "promoted"
    assert (decision.candidate, decision.champion, decision.generation) == ("one", CHAMPION, 1)
    assert decision.request == "retrain-drift-1-5-loss"
    assert decision.reasons
    assert decision.figures["targets.all"] >= PLAN.trial_events - 1, "but for the bad one"
    assert decision.cost["epochs"] == 2
    assert decision.cost["events"] > PLAN.window_events
    assert decision.cost["peak_bytes"] > 2**20
    assert decision.cost["seconds"] > 0
    assert candidate.decision() == decision
    assert sorted(path.name for path in candidate.folder.iterdir()) == [
        "checkpoint",
        "decision.json",
        "plan.json",
    ]


def test_a_collision_with_an_event_before_the_window_is_not_trained_on(
    tmp_path: Path, backbone_folder: Path
) -> None:
    with ModelHarness(tiny_settings(tmp_path, backbone_folder)) as harness:
        harness.stock()
        live(harness, ACTS // 4)
        harness.act("ann", "unheard-of", event_id="live-0")  # the learner refuses it, and has no row for it
        live(harness, ACTS - ACTS // 4, begin=ACTS // 4)
        with harness.learning() as learning:
            learning.new(6)
            learning.checkpoint()
            learning.new()
        candidate, decision = made(harness)
        assert decision.outcome == "promoted"
        learner, _ = state_of(harness, candidate)
        assert "unheard-of" not in learner.stream.catalogue


def test_one_that_gains_too_little_is_rejected(harness: ModelHarness) -> None:
    _, decision = made(harness, NOTHING_GOES)
    assert decision.outcome == "rejected"
    assert any("log_loss.all.low" in reason for reason in decision.reasons)


def test_too_little_to_go_by_is_a_rejection(harness: ModelHarness) -> None:
    _, decision = made(harness, ANYTHING_GOES.replace(least_targets=10_000))
    assert decision.outcome == "rejected"
    assert any("targets.all" in reason for reason in decision.reasons)


@pytest.mark.parametrize(("gate", "outcome"), [(ANYTHING_GOES, "held"), (NOTHING_GOES, "rejected")])
def test_by_hand_a_person_decides_of_what_would_be_promoted(
    harness: ModelHarness, gate: GateConfig, outcome: str
) -> None:
    candidate = begun(harness)
    assert make_retrainer(harness, gate, manual=True).retrain(candidate.name).outcome == outcome


def test_a_decided_candidate_is_not_decided_again(harness: ModelHarness) -> None:
    candidate, decision = made(harness)
    assert make_retrainer(harness, NOTHING_GOES).retrain(candidate.name) == decision


def test_the_candidate_stands_where_the_trial_ends(harness: ModelHarness) -> None:
    candidate, _ = made(harness)
    learner, position = state_of(harness, candidate)
    entries = {entry.version: after for entry, after in read_journal(harness.log, harness.topics.journal)}
    assert entries[position.version] == position.journal
    with harness.learning() as learning:
        learning.recover()
        life_at = {batch.position.version: batch.position for batch in learning.learned}
    assert position == life_at[position.version]
    until = harness.rebuilt(position.version).learner
    assert dict(learner.stream.histories.items()) == dict(until.stream.histories.items())
    assert learner.stream.events == until.stream.events
    assert any(not torch.equal(weights(learner)[name], part) for name, part in weights(until).items())


def test_nothing_that_training_was_validated_on_is_in_the_trial(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated, tried = list[str](), list[str]()

    def retraining(
        learner: Learner,
        config: TrainingConfig,
        window: Sequence[Interaction],
        held_out: Sequence[Interaction],
        folder: Path,
    ) -> Retraining:
        validated.extend(event.event_id for event in held_out)
        return Retraining(learner, config, window, held_out, folder)

    def compared(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        every = list(batches)
        tried.extend(event.event_id for batch in every[held_out:] for event in batch.interactions)
        return run_through(learner, every, held_out)

    monkeypatch.setattr(training, "Retraining", retraining)
    monkeypatch.setattr(comparing, "run_through", compared)
    made(harness)
    assert len(validated) >= PLAN.held_out_events
    assert len(tried) >= 2 * (PLAN.trial_events - 1), "both contenders"
    assert not set(validated) & set(tried)


def test_a_promoted_candidate_is_adopted_and_learning_goes_on(harness: ModelHarness) -> None:
    candidate, _ = made(harness)
    learner, position = state_of(harness, candidate)
    with harness.learning() as learning:
        learning.recover()
        learning.turns(1)
        assert learning.position.version == f"2-{position.step}"
        assert learning.position.offsets == position.offsets
        promoted = weights(learning.learner)
        assert all(torch.equal(promoted[name], part) for name, part in weights(learner).items())
        live(harness, 40, begin=ACTS)
        after = learning.new()
        assert sum(len(batch.micro.interactions) for batch in after) > 40, "the trial's rest, and what is new"
        assert not torch.equal(weights(learning.learner)["residual"], promoted["residual"])
        kept = learning.digest()
    assert harness.rebuilt().digest == kept


def test_a_retrain_writes_to_the_control_topic_and_its_folder_alone(
    harness: ModelHarness, tmp_path: Path
) -> None:
    def ends() -> dict[str, int]:
        topics = harness.log.describe_topics().keys() - {harness.topics.control}
        return {str(source): end for source, end in harness.log.end_offsets(topics).items()}

    folder = harness.checkpoints.folder
    before = ends(), files_below(folder, "candidates"), files_below(tmp_path / "snapshots", "none")
    made(harness)
    assert (ends(), files_below(folder, "candidates"), files_below(tmp_path / "snapshots", "none")) == before


def steps(learner: Learner) -> list[float]:
    """That the optimizer has taken, a parameter each."""
    return [float(moments["step"]) for moments in learner.optimizer.shared.state.values()]


def test_moments_are_those_of_the_champion(harness: ModelHarness) -> None:
    candidate, _ = made(harness)
    learner, position = state_of(harness, candidate)
    assert steps(learner) == steps(harness.rebuilt(position.version).learner) != []


def test_it_may_be_larger_than_its_champion(harness: ModelHarness) -> None:
    sizes = harness.learner().config.sizes
    larger = sizes.replace(
        lora_rank=4, lora_alpha=8, adapter_rank=sizes.adapter_rank + 2, vectors={"picture": 5}
    )
    candidate = begun(harness)
    decision = make_retrainer(harness, model=larger).retrain(candidate.name)
    assert decision.figures["bytes.ratio"] > 1
    learner, _ = state_of(harness, candidate)
    assert learner.config.sizes == larger


# What it waits for, and what it does not.


@pytest.fixture
def ahead_of_all(harness: ModelHarness) -> Candidate:
    """A candidate of whose trial much is still to come."""
    return begun(harness, PLAN.replace(trial_events=ACTS))


def test_it_waits_for_what_is_still_to_come_and_says_how_much_that_is(
    harness: ModelHarness, ahead_of_all: Candidate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    decisions = list[GateDecision]()
    waiting = threading.Thread(
        target=lambda: decisions.append(make_retrainer(harness).retrain(ahead_of_all.name)),
        name="retrainer",
        daemon=True,
    )
    waiting.start()
    said = "more interactions, to validate and to compare on"
    wait_until(lambda: any(said in message for message in caplog.messages))
    assert waiting.is_alive()
    with harness.learning() as learning:
        learning.recover()
        left = learning.position.step
        live(harness, 140, begin=ACTS)
        learning.new()
    waiting.join(20)
    assert decisions[0].outcome == "promoted"
    assert state_of(harness, ahead_of_all)[1].step > left
    assert ahead_of_all.decision() == decisions[0]


def test_told_to_stop_it_waits_no_longer(harness: ModelHarness, ahead_of_all: Candidate) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        make_retrainer(harness, stop=stop).retrain(ahead_of_all.name)
    assert ahead_of_all.decision() is None


def test_told_to_stop_it_leaves_the_comparison(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, candidate = threading.Event(), begun(harness)

    def through(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        stop.set()
        return run_through(learner, batches, held_out)

    monkeypatch.setattr(comparing, "run_through", through)
    with pytest.raises(Stopped):
        make_retrainer(harness, stop=stop).retrain(candidate.name)
    assert candidate.decision() is None


def test_a_champion_that_is_gone_cancels_it(harness: ModelHarness, ahead_of_all: Candidate) -> None:
    order = harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        learning.new()
        assert learning.position.generation == 2
    decision = make_retrainer(harness).retrain(ahead_of_all.name)
    assert (decision.outcome, decision.figures, decision.cost) == ("cancelled", {}, {})
    assert order in decision.reasons[0]
    assert not ahead_of_all.checkpoint.exists()


def test_a_window_that_the_log_has_lost_cancels_it(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> None:
        raise OffsetsExpired(harness.topics.interactions, 2, 3, 50, 60)

    monkeypatch.setattr(LogView, "interactions", expired)
    _, decision = made(harness)
    assert decision.outcome == "cancelled"
    assert "lost to retention" in decision.reasons[0]


def test_what_has_nothing_to_train_on_waits_for_nothing(
    harness: ModelHarness, ahead_of_all: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogView, "interactions", lambda *_: [])
    monkeypatch.setattr(LogView, "read_ahead", lambda *_: pytest.fail("it waits"))
    decision = make_retrainer(harness).retrain(ahead_of_all.name)
    assert decision.outcome == "cancelled"
    assert decision.reasons[0].startswith("nothing to train on: it has no new interactions")
