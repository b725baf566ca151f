"""Decisions of recorded data are predicted before they are learned, and nothing is changed by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.datasets import Drops, Shop, ShopSettings
from pipeline.evaluation import calibration
from pipeline.events import Impression, Interaction, InteractionType, Item
from pipeline.state.histories import Act
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.backtest import BacktestReport, backtest
from pipeline.training.binary_decisions import BinaryDecision, BinaryDecisions, log_scores
from pipeline.training.learner import Learner
from tests.support.build import purchase
from tests.support.impressions import impression

SHOP = Shop(ShopSettings(seed=3, events=150, users=10, items=90, arrivals=5, arrival_every=20, slate=10))
WARM_UP = 100
ITEMS = 12
"""Half of them are for the users with even numbers, half for the others."""


@pytest.fixture(autouse=True)
def warm_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "WARM_UP", WARM_UP)


@dataclass
class Tastes:
    """Users who like the items of their half, and dislike the others."""

    amount: int = 500
    name: str = "tastes"
    digest: str = ""
    drops: Drops = field(default_factory=Drops)

    def events(self) -> Iterator[Item | Interaction]:
        random = np.random.default_rng(0)
        for number in range(ITEMS):
            yield Item(item=str(number), title=f"{'red' if number % 2 else 'blue'} cup")
        for time in range(self.amount):
            user, item = random.integers(8), random.integers(ITEMS)
            likes = user % 2 == item % 2
            kind = InteractionType.LIKE if likes else InteractionType.DISLIKE
            yield Interaction(event_id=f"e{time}", user=f"u{user}", item=str(item), type=kind, time=time)


def report_of(settings: Settings, data: Shop | Tastes) -> BacktestReport:
    return backtest(make_learner(settings), data, None, 16, lambda events: None)


def test_responses_to_slates_are_predicted(settings: Settings) -> None:
    report = report_of(settings, SHOP)
    found = report.decisions["response"]
    assert set(report.decisions) == {"response"}
    # Users without an act yet are not predicted; answers calibrate when their window has passed.
    assert 500 < found.n < 1_500 - WARM_UP
    assert found.roc_auc is not None and found.roc_auc > 0.6
    assert found.positive is not None and 0.02 < found.positive < 0.1
    assert report.to_json()["decisions"]["response"]["roc_auc"] == found.roc_auc  # type: ignore[index]


def test_likes_and_dislikes_are_distinguished(settings: Settings) -> None:
    found = report_of(settings, Tastes()).decisions["preference"]
    assert 350 < found.n < 500 - WARM_UP
    assert found.roc_auc is not None and found.roc_auc > 0.75


@pytest.mark.parametrize("data", [SHOP, Tastes(200)])
def test_predicting_changes_nothing(
    settings: Settings, data: Shop | Tastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = report_of(settings, data)
    monkeypatch.setattr(BinaryDecisions, "add", lambda *arguments: None)
    alone = report_of(settings, data)
    assert predicted.quality == alone.quality
    assert predicted.decisions and not alone.decisions


def test_data_of_one_sign_without_impressions_has_no_decisions(settings: Settings) -> None:
    shop = Shop(ShopSettings(seed=3, events=150, users=10, items=90, arrivals=0))
    assert report_of(settings, shop).decisions == {}


@pytest.fixture
def learner(settings: Settings) -> Learner:
    """Knows that cups follow mugs."""
    learner = make_learner(settings)
    learner.score_and_learn(MicroBatch(0, 0, [Item(item=name, title=name) for name in ("mug", "cup")], []))
    acts = [purchase(f"u{n // 2}", ("mug", "cup")[n % 2], n) for n in range(60)]
    learner.score_and_learn(MicroBatch(0, 1, [], acts))
    return learner


def scores_of(
    learner: Learner, user: str, items: tuple[str, ...], before: Sequence[Interaction]
) -> list[float]:
    acts = tuple(Act.of(act) for act in before)
    (found,) = log_scores(learner, [BinaryDecision(impression("i", user, items), items, acts)])
    return [*found]


def test_a_score_follows_from_acts_of_the_same_batch(learner: Learner) -> None:
    assert scores_of(learner, "new", ("mug", "cup"), []) == []
    mug, cup = scores_of(learner, "new", ("mug", "cup"), [purchase("new", "mug", 100)])
    assert cup > mug
    assert np.exp([mug, cup]).sum() == pytest.approx(1)


def test_an_item_that_nobody_has_seen_has_the_share_of_any(learner: Learner) -> None:
    before = [purchase("new", "never seen", 99), purchase("new", "mug", 100)]
    assert scores_of(learner, "new", ("other",), before) == [pytest.approx(np.log(0.5))]
    assert len(learner.stream.catalogue) == 2


def test_a_neutral_act_and_a_return_are_no_preference(settings: Settings, learner: Learner) -> None:
    decisions = BinaryDecisions(settings.rewards)
    kinds = [InteractionType.DISLIKE, InteractionType.RETURN, InteractionType.LIKE] * WARM_UP
    acts = [
        Interaction(event_id=f"x{n}", user="u0", item="mug", type=kind, time=1_000 + n)
        for n, kind in enumerate(kinds)
    ]
    decisions.add(learner, list[Impression](), acts[:150])
    decisions.add(learner, [], acts[150:])
    assert decisions.report()["preference"].n == 100
