"""A retrainer that is killed anywhere, or told to stop, and run again comes to the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from consumers.retrain import champion, comparing, deciding
from pipeline.control.records import GateDecision
from pipeline.retraining.candidates import DECISION
from pipeline.retraining.comparison import Contender, run_through
from pipeline.retraining.training import RetrainProgress
from pipeline.signals import Stopped
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.model_harness import ModelHarness, copy_of
from tests.support.retrain_harness import ACTS, CHAMPION, begun, digest_of, live, make_retrainer, silent

Progress = Callable[[RetrainProgress], None]


class Killed(Exception):
    """Raised in the middle of everything."""


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


@pytest.fixture(scope="module")
def unbroken(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path
) -> tuple[str, GateDecision]:
    """Digest of the candidate, and the decision, of a retrainer that was never interrupted."""
    with copy_of(lived, tmp_path_factory.mktemp("unbroken"), backbone_folder) as harness:
        candidate = begun(harness)
        decision = make_retrainer(harness).retrain(candidate.name)
        return digest_of(candidate), decision


def in_epoch(epoch: int) -> Progress:
    def progress(at: RetrainProgress) -> None:
        if (at.epoch, at.segments >= at.total // 2) == (epoch, True):
            raise Killed

    return progress


def dying(batches: Iterable[MicroBatch], after: int) -> Iterator[MicroBatch]:
    for number, batch in enumerate(batches):
        if number == after:
            raise Killed
        yield batch


class Deaths:
    """How a retrainer dies; each returns the progress that it is to be given."""

    @staticmethod
    def first_epoch(_: pytest.MonkeyPatch) -> Progress:
        return in_epoch(1)

    @staticmethod
    def second_epoch(_: pytest.MonkeyPatch) -> Progress:
        return in_epoch(2)

    @staticmethod
    def champion_is_kept(patch: pytest.MonkeyPatch) -> Progress:
        return _dies_when_renamed_to("champion", patch)

    @staticmethod
    def candidate_learns_on(patch: pytest.MonkeyPatch) -> Progress:
        return _dies_in_run(1, patch)

    @staticmethod
    def candidate_is_kept(patch: pytest.MonkeyPatch) -> Progress:
        return _dies_when_renamed_to("checkpoint", patch)

    @staticmethod
    def champion_learns_on(patch: pytest.MonkeyPatch) -> Progress:
        return _dies_in_run(2, patch)

    @staticmethod
    def gate(patch: pytest.MonkeyPatch) -> Progress:
        patch.setattr(deciding, "decide", _die)
        return silent

    @staticmethod
    def decision_is_kept(patch: pytest.MonkeyPatch) -> Progress:
        return _dies_when_renamed_to(DECISION, patch)


DEATHS = [name for name in vars(Deaths) if not name.startswith("_")]


def _die(*_: object) -> None:
    raise Killed


def _dies_in_run(run: int, patch: pytest.MonkeyPatch) -> Progress:
    """The candidate's run through the batches is the first, the champion's the second."""
    runs = list[int]()

    def through(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        runs.append(1)
        return run_through(learner, dying(batches, 3) if len(runs) == run else batches, held_out)

    patch.setattr(comparing, "run_through", through)
    return silent


def _dies_when_renamed_to(name: str, patch: pytest.MonkeyPatch) -> Progress:
    """What was written to a temporary name stays there."""
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if target.name == name:
            raise Killed
        return rename(path, target)

    patch.setattr(Path, "rename", renamed)
    return silent


def untimed(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not name.startswith("seconds")}


@pytest.mark.parametrize("death", DEATHS)
def test_killed_anywhere_it_comes_to_the_same_bits(
    harness: ModelHarness, unbroken: tuple[str, GateDecision], death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = begun(harness)
    with monkeypatch.context() as patch:
        progress = getattr(Deaths, death)(patch)
        with pytest.raises(Killed):
            make_retrainer(harness, progress=progress).retrain(candidate.name)
    assert candidate.decision() is None
    live(harness, 40, begin=ACTS)  # what happens meanwhile makes no difference
    digest, decision = unbroken
    again = make_retrainer(harness).retrain(candidate.name)
    assert digest_of(candidate) == digest
    assert untimed(again.figures) == untimed(decision.figures)
    assert (again.outcome, again.champion, again.generation) == ("promoted", decision.champion, 1)
    assert again.cost["events"] == decision.cost["events"]


def test_a_stop_leaves_work_that_the_next_one_ends(
    harness: ModelHarness, unbroken: tuple[str, GateDecision]
) -> None:
    candidate, stopped, runs = begun(harness), 0, list[RetrainProgress]()
    while candidate.decision() is None:
        stop = Event()

        def progress(at: RetrainProgress, stop: Event = stop) -> None:
            runs.append(at)
            if at.segments == at.total:  # once an epoch
                stop.set()

        try:
            make_retrainer(harness, stop=stop, progress=progress).retrain(candidate.name)
        except Stopped:
            stopped += 1
    assert stopped == 2, "after each epoch's last minibatch"
    assert digest_of(candidate) == unbroken[0]


def test_the_champion_is_made_once(
    harness: ModelHarness, unbroken: tuple[str, GateDecision], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = begun(harness)
    with pytest.raises(Killed):
        make_retrainer(harness, progress=in_epoch(1)).retrain(candidate.name)
    shutil.rmtree(harness.checkpoints.folder / CHAMPION)
    monkeypatch.setattr(champion, "rebuild", _die)
    make_retrainer(harness).retrain(candidate.name)
    assert digest_of(candidate) == unbroken[0]


def test_a_champion_that_the_ladder_has_lost_is_made_from_the_journal(
    harness: ModelHarness, unbroken: tuple[str, GateDecision]
) -> None:
    candidate = begun(harness)
    shutil.rmtree(harness.checkpoints.folder / CHAMPION)
    make_retrainer(harness).retrain(candidate.name)
    assert digest_of(candidate) == unbroken[0]
