"""Sessions of the shop are played as a server would, and its benchmark compares all policies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import shop
from benchmarks.sessions import (
    BATCH,
    WINDOW_MS,
    Exploring,
    LearningPlayer,
    MyopicPlayer,
    RandomPlayer,
    filled,
    play,
)
from pipeline.datasets.shop.environment import EnvironmentSettings, ShopEnvironment
from pipeline.value.port import Arrays, Decision, Floats, Vectors

SETTINGS = EnvironmentSettings(users=20, items=12, slate=3)


class Favourite:
    """Learns which batches it was given, and values the items by their number, the last one most."""

    warm_up = 0
    normals = (1, 0)
    epsilon = 0.0

    def __init__(self) -> None:
        self.batches: list[list[Decision]] = []

    def learn(self, decisions: Sequence[Decision], random: np.random.Generator) -> None:
        self.batches.append(list(decisions))

    def model(self) -> Arrays:
        return {"batches": np.array([len(self.batches)])}

    def state(self) -> Arrays:
        return self.model()

    def load(self, state: Arrays) -> None:
        raise NotImplementedError

    def values(self, state: Vectors, items: Vectors, normals: Floats) -> Floats:
        return np.arange(len(items), dtype=np.float64)[None]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Recorded(LearningPlayer):
    """Remembers the decisions that it was shown, and how many batches were learned before each slate."""

    def __init__(self, learner: Favourite) -> None:
        super().__init__(random(), learner, lambda arrays: learner, Exploring())
        self.noted: list[Decision] = []
        self.slates: list[tuple[int, list[int]]] = []
        self.favourite = learner

    def slate(self, observation: dict[str, Vectors], info: dict[str, object], size: int) -> np.ndarray:
        found = super().slate(observation, info, size)
        self.slates.append((len(self.favourite.batches), found.tolist()))
        return found

    def note(self, decision: Decision) -> None:
        super().note(decision)
        self.noted.append(decision)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    player = Recorded(Favourite())
    play(ShopEnvironment(SETTINGS), player, 1_000, random(), seed=0)
    return player


def test_decisions_are_learned_once_in_order_after_their_windows(recorded: Recorded) -> None:
    batches = recorded.favourite.batches
    learned = [decision for batch in batches for decision in batch]
    assert len(batches) > 5
    assert learned == recorded.noted[: len(learned)]
    assert all(len(batch) >= BATCH for batch in batches)
    at = [decision.shown_at for decision in recorded.noted]
    changed = [
        number for number in range(1, 1_000) if recorded.slates[number][0] > recorded.slates[number - 1][0]
    ]
    for batch, number in zip(batches, changed, strict=False):
        assert batch[-1].shown_at + WINDOW_MS < at[number - 1]


def test_the_first_slates_are_random_and_later_ones_the_models(recorded: Recorded) -> None:
    first = [slate for batches, slate in recorded.slates if not batches]
    later = [slate for batches, slate in recorded.slates if batches]
    assert len({tuple(slate) for slate in first}) > BATCH / 2
    assert {tuple(slate) for slate in later} == {(11, 10, 9)}


def test_a_settled_player_learns_nothing(recorded: Recorded) -> None:
    batches = len(recorded.favourite.batches)
    play(ShopEnvironment(SETTINGS), recorded.settled(), 300, random(), seed=1)
    assert len(recorded.favourite.batches) == batches


def test_a_decision_holds_what_was_shown_and_others_that_were_not(recorded: Recorded) -> None:
    for decision, (_, slate) in zip(recorded.noted[:50], recorded.slates, strict=False):
        identities = decision.items[:, -3 - SETTINGS.items : -3].argmax(axis=1)
        assert decision.others is not None
        others = decision.others[:, -3 - SETTINGS.items : -3].argmax(axis=1)
        assert identities.tolist() == slate
        assert sorted([*identities, *others]) == list(range(SETTINGS.items))
        assert decision.rewards.shape == decision.scores.shape == (3,)


def test_the_same_seeds_play_the_same_sessions() -> None:
    def rewards(seed: int) -> list[float]:
        played = play(ShopEnvironment(SETTINGS), RandomPlayer(random()), 200, random(), seed)
        return list(played.rewards)

    assert rewards(3) == rewards(3) != rewards(4)


def test_the_best_myopic_policy_regrets_nothing_and_sessions_are_sums() -> None:
    environment = ShopEnvironment(SETTINGS)
    myopic = play(environment, MyopicPlayer(random()), 300, random(), seed=0)
    other = play(environment, RandomPlayer(random()), 300, random(), seed=0)
    assert myopic.regrets == pytest.approx(np.zeros(300))
    assert (other.regrets >= -1e-12).all()
    assert other.regrets.mean() > 0.1
    ended = int(np.flatnonzero(other.left)[-1]) + 1
    assert other.sessions.sum() == pytest.approx(other.expected[:ended].sum())
    assert len(other.sessions) == other.left.sum()


def test_places_are_filled_by_rows_of_values() -> None:
    values = np.array([[0.0, 3, 2, 1], [5, 9, 0, 0]])
    assert filled(values, 4, 0.0, random()).tolist() == [1, 0, 2, 3]
    drawn = [filled(values, 2, 1.0, random(seed)).tolist() for seed in range(300)]
    assert all(len(set(slate)) == 2 for slate in drawn)
    assert np.bincount([slate[0] for slate in drawn], minlength=4).min() > 40


def test_ways_to_explore_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shop.main("bandits", seeds=2, scale=0.02, report=tmp_path / "report.json")
    assert capsys.readouterr().out.count("greedy") == 3
    found = json.loads((tmp_path / "report.json").read_text())
    assert {name: len(regrets) for name, regrets in found["bandits"].items()} == dict.fromkeys(
        shop.EXPLORING, 2
    )


def test_what_is_earned_after_a_drift_is_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shop.main("drift", seeds=1, users=3, scale=0.02, plots=tmp_path)
    printed = capsys.readouterr().out
    assert "100 decisions after a drift, 3 users" in printed
    assert all(side in printed for side in shop.AFTER_DRIFT)
    assert [path.name for path in tmp_path.iterdir()] == ["shop-drift-3.png"]


def test_sessions_of_all_policies_are_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shop, "SMALL", replace(shop.SMALL, users=2, items=4))
    monkeypatch.setattr(shop, "EVALUATED", 200)
    shop.main("sessions", seeds=2, steps=600, plots=tmp_path, report=tmp_path / "report.json")
    printed = capsys.readouterr().out
    assert all(name in printed for name in shop.PLAYERS)
    assert (tmp_path / "shop-sessions.png").stat().st_size > 0
