"""A retrainer that is killed anywhere, or told to stop, and run again comes to the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.retrain import retrainer
from consumers.retrain.retrainer import Workshop, judged
from pipeline.control.records import GateDecision
from pipeline.retraining.candidates import DECISION
from pipeline.retraining.comparison import Contender, run_through
from pipeline.retraining.training import RetrainProgress
from pipeline.signals import Stopped
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.model_harness import ModelHarness, copy_of
from tests.support.retrain_harness import ACTS, CHAMPION, begun, candidates, digest_of, live, workshop


class Killed(Exception):
    """Raised in the middle of everything."""


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


@pytest.fixture(scope="module")
def unbroken(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path
) -> tuple[str, GateDecision]:
    """Digest of the candidate and the judgement, of a retrainer that nobody disturbed."""
    with copy_of(lived, tmp_path_factory.mktemp("unbroken"), backbone_folder) as harness:
        candidate = begun(harness)
        decision = judged(workshop(harness), candidate)
        return digest_of(candidate), decision


def in_epoch(epoch: int) -> Callable[[RetrainProgress], None]:
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
    """How a retrainer dies; each takes what it works with."""

    @staticmethod
    def first_epoch(shop: Workshop, _: pytest.MonkeyPatch) -> Workshop:
        return replace(shop, progress=in_epoch(1))

    @staticmethod
    def second_epoch(shop: Workshop, _: pytest.MonkeyPatch) -> Workshop:
        return replace(shop, progress=in_epoch(2))

    @staticmethod
    def champion_is_kept(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        return _dies_when_renamed_to("champion", shop, patch)

    @staticmethod
    def candidate_learns_on(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        return _dies_in_run(1, shop, patch)

    @staticmethod
    def candidate_is_kept(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        return _dies_when_renamed_to("checkpoint", shop, patch)

    @staticmethod
    def champion_learns_on(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        return _dies_in_run(2, shop, patch)

    @staticmethod
    def gate(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        patch.setattr(retrainer, "decide", _die)
        return shop

    @staticmethod
    def judgement_is_kept(shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
        return _dies_when_renamed_to(DECISION, shop, patch)


DEATHS = [name for name in vars(Deaths) if not name.startswith("_")]


def _die(*_: object) -> None:
    raise Killed


def _dies_in_run(run: int, shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
    """The candidate's run through the batches is the first, the champion's the second."""
    runs = list[int]()

    def through(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
        runs.append(1)
        return run_through(learner, dying(batches, 3) if len(runs) == run else batches, held_out)

    patch.setattr(retrainer, "run_through", through)
    return shop


def _dies_when_renamed_to(name: str, shop: Workshop, patch: pytest.MonkeyPatch) -> Workshop:
    """What was written to a temporary name stays there."""
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if target.name == name:
            raise Killed
        return rename(path, target)

    patch.setattr(Path, "rename", renamed)
    return shop


def untimed(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not name.startswith("seconds")}


@pytest.mark.parametrize("death", DEATHS)
def test_killed_anywhere_it_comes_to_the_same_bits(
    harness: ModelHarness, unbroken: tuple[str, GateDecision], death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = begun(harness)
    with monkeypatch.context() as patch:
        dies = getattr(Deaths, death)(workshop(harness), patch)
        with pytest.raises(Killed):
            judged(dies, candidate)
    assert candidate.decision() is None
    live(harness, 40, begin=ACTS)  # what happens meanwhile makes no difference
    digest, decision = unbroken
    again = judged(workshop(harness), candidates(harness).named("one"))
    assert digest_of(candidate) == digest
    assert untimed(again.figures) == untimed(decision.figures)
    assert (again.outcome, again.champion, again.generation) == ("promoted", decision.champion, 1)
    assert again.cost["events"] == decision.cost["events"]


def test_a_stop_leaves_work_that_the_next_one_ends(
    harness: ModelHarness, unbroken: tuple[str, GateDecision]
) -> None:
    candidate, stopped, runs = begun(harness), 0, list[RetrainProgress]()
    while candidate.decision() is None:
        shop = workshop(harness)

        def progress(at: RetrainProgress, shop: Workshop = shop) -> None:
            runs.append(at)
            if at.segments == at.total:  # once an epoch
                shop.stop.set()

        try:
            judged(replace(shop, progress=progress), candidate)
        except Stopped:
            stopped += 1
    assert stopped == 2, "after each epoch's last minibatch"
    assert digest_of(candidate) == unbroken[0]


def test_the_champion_is_made_once(
    harness: ModelHarness, unbroken: tuple[str, GateDecision], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = begun(harness)
    with pytest.raises(Killed):
        judged(replace(workshop(harness), progress=in_epoch(1)), candidate)
    shutil.rmtree(harness.checkpoints.folder / CHAMPION)
    monkeypatch.setattr(retrainer, "rebuild", _die)
    judged(workshop(harness), candidate)
    assert digest_of(candidate) == unbroken[0]


def test_a_champion_that_the_ladder_has_lost_is_made_from_the_journal(
    harness: ModelHarness, unbroken: tuple[str, GateDecision]
) -> None:
    candidate = begun(harness)
    shutil.rmtree(harness.checkpoints.folder / CHAMPION)
    judged(workshop(harness), candidate)
    assert digest_of(candidate) == unbroken[0]
