"""A retrain predicts the next acts better, and ends with the same bits however often it is killed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import (
    OptimizerConfig,
    RowRates,
    TrainingConfig,
)
from pipeline.errors import NothingToLearn
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.retraining.training import Retraining, RetrainProgress, RetrainResult
from pipeline.retraining.training import retraining as module
from pipeline.retraining.training.progress import FILE
from pipeline.retraining.training.validation import Validation, validate
from pipeline.retraining.training.window import upcoming_segments
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, matrix_of, purchase

LEARNER = learner_config(negatives=12)
TRAINING = TrainingConfig(
    epochs=2,
    patience=2,
    segments=2,
    optimizer=OptimizerConfig(rate=3e-3, rows=RowRates(residual=0.02, bias=0.02)),
)
ITEMS = [
    Item(item=f"{c}-{t}", title=f"{c} {t}")
    for c in ("red", "blue", "green")
    for t in ("cup", "plate", "lamp", "candle")
]
PAST, LATER = 160, 40


class Killed(Exception):
    """Raised by the progress callback."""


def walks(amount: int, step: int = 1) -> list[Interaction]:
    """Let users mostly buy along the catalogue, so many items on."""
    random, at, events = np.random.default_rng(0), [0, 3, 6, 9], list[Interaction]()
    for time in range(amount):
        user = int(random.integers(len(at)))
        at[user] = int((at[user] + random.choice([step, step, step, 5])) % len(ITEMS))
        events.append(purchase(f"u{user}", ITEMS[at[user]].item, MINUTE * time))
    return events


EVENTS = walks(PAST + LATER)
WINDOW, HELD_OUT = EVENTS[PAST // 2 : PAST], EVENTS[PAST:]


@pytest.fixture
def champion(backbone: Backbone, tmp_path: Path) -> Iterator[Callable[[], Learner]]:
    """Make copies of one champion, which has learned all but the last events."""
    encoder = TextEncoder(backbone, tmp_path / "cache", 8, torch.device("cpu"))

    def made() -> Learner:
        learner = Learner(LEARNER, backbone, encoder, torch.device("cpu"))
        learner.score_and_learn(MicroBatch(0, 0, ITEMS, []))
        for step in range(PAST // 40):
            learner.score_and_learn(MicroBatch(0, step + 1, [], EVENTS[40 * step : 40 * (step + 1)]))
        return learner

    yield made
    encoder.close()


def no_progress(_: RetrainProgress) -> None:
    """Do nothing after a minibatch."""


def retrain(learner: Learner, folder: Path, config: TrainingConfig = TRAINING) -> RetrainResult:
    folder.mkdir(exist_ok=True)
    return Retraining(learner, config, WINDOW, HELD_OUT, folder).run(no_progress)


def learned(learner: Learner) -> dict[str, Tensor]:
    parameters = {name: part.detach().clone() for name, part in learner.recommender.learned().items()}
    return parameters | {f"table.{name}": column for name, column in learner.table.state().items()}


def counted(learner: Learner) -> tuple[list[float], list[float]]:
    """Return the counts of popularity and covisitation as plain numbers."""
    covisitation = matrix_of(learner.stream.covisitation.counts)
    return learner.stream.popularity.counts.tolist(), covisitation.ravel().tolist()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_next_acts_are_predicted_better_than_by_the_champion(
    champion: Callable[[], Learner], tmp_path: Path
) -> None:
    result = retrain(champion(), tmp_path / "run", TRAINING.replace(epochs=4, patience=4))
    assert result.best_epoch > 0
    assert result.after.log_loss < result.before.log_loss - 0.02
    assert result.before.targets == LATER
    assert result.events == len(WINDOW) * result.epochs


def test_stream_state_mixer_and_moments_do_not_change_without_refolding(
    champion: Callable[[], Learner], tmp_path: Path
) -> None:
    learner, untouched = champion(), champion()
    assert not retrain(learner, tmp_path / "run", TRAINING.replace(past=1.0)).refolded
    assert counted(learner) == counted(untouched)
    assert list(learner.stream.histories.items()) == list(untouched.stream.histories.items())
    assert same(learner.mixer.state(), untouched.mixer.state())
    for one, other in zip(
        learner.optimizer.shared.state.values(), untouched.optimizer.shared.state.values(), strict=True
    ):
        assert same(one, other)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_retrain_killed_in_and_after_epochs_ends_with_the_same_bits(
    champion: Callable[[], Learner], tmp_path: Path, alpha: float
) -> None:
    config = TRAINING.replace(alpha=alpha)
    unbroken = champion()
    expected = retrain(unbroken, tmp_path / "unbroken", config)

    folder = tmp_path / "killed"
    folder.mkdir()
    for deadline in ((1, 0.5), (1, 1.0), (2, 0.0), (2, 1.0)):

        def die(at: RetrainProgress, deadline: tuple[int, float] = deadline) -> None:
            if (at.epoch, at.segments / at.total) >= deadline:
                raise Killed

        with pytest.raises(Killed):
            Retraining(champion(), config, WINDOW, HELD_OUT, folder).run(die)
    resumed = champion()
    result = retrain(resumed, folder, config)

    assert replace(result, seconds=expected.seconds) == expected
    assert same(learned(resumed), learned(unbroken))
    assert counted(resumed) == counted(unbroken)


def test_a_finished_retrain_is_not_run_again(champion: Callable[[], Learner], tmp_path: Path) -> None:
    first, again = champion(), champion()
    expected = retrain(first, tmp_path / "run")
    steps: list[RetrainProgress] = []
    assert Retraining(again, TRAINING, WINDOW, HELD_OUT, tmp_path / "run").run(steps.append) == expected
    assert steps == []
    assert same(learned(again), learned(first))


def test_the_progress_of_another_retrain_is_not_resumed(
    champion: Callable[[], Learner], tmp_path: Path
) -> None:
    faster = TRAINING.optimizer.replace(rate=2 * TRAINING.optimizer.rate)
    other = TRAINING.replace(optimizer=faster)
    alone, after = champion(), champion()
    expected = retrain(alone, tmp_path / "alone", other)
    retrain(champion(), tmp_path / "run")
    assert replace(retrain(after, tmp_path / "run", other), seconds=expected.seconds) == expected
    assert same(learned(after), learned(alone))


@pytest.mark.parametrize("damage", ["bit", "truncated", "emptied"])
def test_damaged_progress_is_told_and_made_again(
    champion: Callable[[], Learner], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    unbroken, again = champion(), champion()
    expected = retrain(unbroken, tmp_path / "run")
    path = tmp_path / "run" / FILE
    content = path.read_bytes()
    broken = {"bit": content[:-1] + bytes([content[-1] ^ 1]), "truncated": content[:-9], "emptied": b""}
    path.write_bytes(broken[damage])
    assert replace(retrain(again, tmp_path / "run"), seconds=expected.seconds) == expected
    assert same(learned(again), learned(unbroken))
    assert "retraining.progress is damaged" in caplog.text


def later(events: list[Interaction], acts: int) -> list[Interaction]:
    """Let the same acts happen so many acts later."""
    return [event.model_copy(update={"time": event.time + MINUTE * acts}) for event in events]


def test_what_the_window_lacks_is_kept_by_replay(champion: Callable[[], Learner], tmp_path: Path) -> None:
    """The champion has learned users who buy along the catalogue; in the window they buy against it."""
    against = later(walks(PAST, -1), PAST)
    window, held_out = against[: PAST // 2], against[PAST // 2 :]
    losses = []
    for replay in (0, 8):
        learner, folder = champion(), tmp_path / str(replay)
        learner.score_and_learn(MicroBatch(0, 99, [], window))
        folder.mkdir()
        config = TRAINING.replace(replay=replay, past=1.0)
        Retraining(learner, config, window, held_out, folder).run(no_progress)
        along = upcoming_segments(later(walks(PAST), 2 * PAST), learner.stream, LEARNER.segments)
        losses.append(validate(learner.recommender, learner.table, along).log_loss)
    without, with_it = losses
    assert with_it < without - 0.05


def test_the_unsupervised_objective_changes_what_is_learned(
    champion: Callable[[], Learner], tmp_path: Path
) -> None:
    without, with_it = champion(), champion()
    retrain(without, tmp_path / "without")
    retrain(with_it, tmp_path / "with", TRAINING.replace(alpha=0.3))
    assert not same(learned(without), learned(with_it))


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 1, 4, 4),
        ([5.0, 4.0, 4.5, 4.5, 1.0], 1, 2, 1),
        ([5.0, 4.0, 4.5, 3.0, 3.5], 2, 4, 3),
        ([5.0, 6.0, 7.0, 8.0, 9.0], 2, 2, 0),
        ([5.0, math.nan, math.nan, math.nan, 1.0], 2, 2, 0),
    ],
)
def test_it_stops_when_patience_ends_and_keeps_the_best_epoch(
    champion: Callable[[], Learner],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    losses: list[float],
    patience: int,
    epochs: int,
    best: int,
) -> None:
    validations = iter([Validation(loss, 0.1, LATER) for loss in losses])
    monkeypatch.setattr(module, "validate", lambda *_: next(validations))
    learner = champion()
    before = learned(learner)
    result = retrain(learner, tmp_path / "run", TRAINING.replace(epochs=4, patience=patience))
    assert (result.epochs, result.best_epoch) == (epochs, best)
    assert (result.before.log_loss, result.after.log_loss) == (losses[0], losses[best])
    assert same(learned(learner), before) == (best == 0)


def test_progress_counts_every_segment_of_every_epoch(
    champion: Callable[[], Learner], tmp_path: Path
) -> None:
    steps: list[RetrainProgress] = []
    (tmp_path / "run").mkdir()
    Retraining(champion(), TRAINING, WINDOW, HELD_OUT, tmp_path / "run").run(steps.append)
    for epoch in (1, 2):
        done = [at.segments for at in steps if at.epoch == epoch]
        assert done == sorted(done)
        assert done[-1] == steps[0].total


def test_a_step_that_is_not_finite_is_skipped(champion: Callable[[], Learner], tmp_path: Path) -> None:
    learner = champion()
    before = learned(learner)
    result = retrain(learner, tmp_path / "run", TRAINING.model_copy(update={"alpha": math.inf}))
    assert result.events == 0
    assert same(learned(learner), before)


UNKNOWN = [event.model_copy(update={"item": "unknown"}) for event in HELD_OUT]


@pytest.mark.parametrize(
    ("window", "held_out", "why"),
    [
        ([], HELD_OUT, "nothing to train on: it has no new interactions.*; widen the window"),
        (
            WINDOW,
            [],
            "nothing to validate on.*: it has no new interactions, only duplicates.*; retrain again",
        ),
        (WINDOW, UNKNOWN, f"none of its {len(UNKNOWN)} interactions can be predicted.*; retrain again"),
    ],
)
def test_without_targets_there_is_no_retrain_and_the_reason_says_what_to_do(
    champion: Callable[[], Learner],
    tmp_path: Path,
    window: list[Interaction],
    held_out: list[Interaction],
    why: str,
) -> None:
    with pytest.raises(NothingToLearn, match=why):
        Retraining(champion(), TRAINING, window, held_out, tmp_path)
