"""The drift schedules of the simulated shop hold, and old knowledge is worth less after a drift."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.datasets import Shop, ShopSettings
from pipeline.datasets.shop import Choice, Drift
from pipeline.events import Item
from pipeline.state.covisitation import Covisitation, DecayedCovisitation
from tests.support.build import as_pairs

HALF = 5_000
ABRUPT = ShopSettings(seed=5, events=2 * HALF, arrivals=0, drift=Drift.ABRUPT, drift_at=HALF)
TOP = 20


def choices_of(settings: ShopSettings) -> list[Choice]:
    return [event for event in Shop(settings).choices() if isinstance(event, Choice)]


def category_shares(settings: ShopSettings, choices: list[Choice]) -> NDArray[np.float64]:
    """The true share of each category in the acts, averaged over the choices."""
    items = [event for event in Shop(settings).events() if isinstance(event, Item)]
    category = np.unique([item.category or "" for item in items], return_inverse=True)[1]
    probabilities = np.mean([choice.probabilities for choice in choices], axis=0)
    return np.asarray(np.bincount(category, probabilities), dtype=np.float64)


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Total variation distance, from 0 to 1."""
    return float(np.abs(one - other).sum() / 2)


@pytest.fixture(scope="module")
def choices() -> list[Choice]:
    return choices_of(ABRUPT)


@pytest.fixture(scope="module")
def rows() -> dict[str, int]:
    items = [event for event in Shop(ABRUPT).events() if isinstance(event, Item)]
    return {item.item: row for row, item in enumerate(items)}


@pytest.mark.parametrize(
    ("drift", "shares"),
    [
        (Drift.NONE, [0, 0, 0, 0, 0, 0, 0]),
        (Drift.ABRUPT, [0, 1, 1, 1, 1, 1, 1]),
        (Drift.GRADUAL, [0, 0, 0.5, 1, 1, 1, 1]),
        (Drift.RECURRING, [0, 1, 1, 0, 0, 1, 1]),
        (Drift.SEASONAL, [0, 0, 1, 0, 1, 0, 1]),
    ],
)
def test_a_schedule_gives_the_share_of_users_under_the_new_regime(drift: Drift, shares: list[float]) -> None:
    """Checked at 900, before the drift, then at its start at 1,000 and every half span after it."""
    settings = ShopSettings(drift=drift, drift_at=1_000, drift_span=400)
    asked = [settings.drifted(moment) for moment in (900, *range(1_000, 2_200, 200))]
    assert asked == pytest.approx(shares)


@pytest.mark.parametrize("drift", list(Drift))
def test_visits_follow_the_schedule(drift: Drift) -> None:
    settings = ShopSettings(seed=5, events=4_000, drift=drift, drift_at=1_000, drift_span=1_600)
    regimes = [choice.regime for choice in choices_of(settings)]
    for begin in range(0, 4_000, 200):
        promised = np.mean([settings.drifted(moment) for moment in range(begin, begin + 200)])
        assert np.mean(regimes[begin : begin + 200]) == pytest.approx(promised, abs=0.25)
    assert np.mean(regimes) == pytest.approx(
        np.mean([settings.drifted(moment) for moment in range(4_000)]), abs=0.05
    )


def test_before_the_drift_the_shop_is_the_same_as_without(choices: list[Choice]) -> None:
    without = choices_of(dataclasses.replace(ABRUPT, drift=Drift.NONE, events=HALF))
    for one, other in zip(choices, without, strict=False):
        assert (one.interaction.user, one.interaction.item) == (
            other.interaction.user,
            other.interaction.item,
        )
        assert np.array_equal(one.probabilities, other.probabilities)


def test_a_shop_can_have_the_new_regime_only(choices: list[Choice]) -> None:
    only = choices_of(dataclasses.replace(ABRUPT, drift_at=0, events=HALF))
    assert {choice.regime for choice in only} == {1}
    before, after = choices[:HALF], choices[HALF + 100 :]
    new = category_shares(ABRUPT, only)
    assert 3 * distance(new, category_shares(ABRUPT, after)) < distance(new, category_shares(ABRUPT, before))


def test_the_publics_taste_drifts(choices: list[Choice]) -> None:
    quarters = [category_shares(ABRUPT, choices[n : n + HALF // 2]) for n in range(0, 2 * HALF, HALF // 2)]
    within = max(distance(*quarters[:2]), distance(*quarters[2:]))
    assert distance(quarters[1], quarters[2]) > 1.5 * within


def test_a_regime_that_recurs_is_the_same_again() -> None:
    settings = dataclasses.replace(
        ABRUPT, drift=Drift.RECURRING, drift_at=3_000, drift_span=3_000, events=9_000
    )
    choices = choices_of(settings)
    old, new, old_again = (category_shares(settings, choices[n + 100 : n + 3_000]) for n in (0, 3_000, 6_000))
    assert distance(new, old_again) > 2 * distance(old, old_again)


def test_covisitation_of_the_old_regime_is_worth_less_in_the_new(
    choices: list[Choice], rows: dict[str, int]
) -> None:
    """Compares the covisitation of the first 4,000 acts with one of the new regime."""
    before, late = slice(HALF - 1_000, HALF), slice(2 * HALF - 1_000, 2 * HALF)
    old = covisitation_of(choices, rows, slice(0, HALF - 1_000))
    new = covisitation_of(choices, rows, slice(HALF, 2 * HALF - 1_000))
    assert hit_rate(old, choices, rows, late) < 0.7 * hit_rate(old, choices, rows, before)
    assert hit_rate(new, choices, rows, late) > 0.9 * hit_rate(old, choices, rows, before)


def test_the_new_regime_is_as_hard_as_the_old(choices: list[Choice], rows: dict[str, int]) -> None:
    """The best possible hit rate is the same, so a loss at the drift is a loss of knowledge."""

    def best(part: list[Choice]) -> float:
        hits = [
            rows[choice.interaction.item] in np.argpartition(choice.probabilities, -TOP)[-TOP:]
            for choice in part
        ]
        return float(np.mean(hits))

    assert best(choices[HALF:]) == pytest.approx(best(choices[:HALF]), abs=0.05)


def steps(choices: list[Choice], rows: dict[str, int], part: slice) -> list[tuple[NDArray[np.int64], int]]:
    """The item rows before each act in the part, and its own row; without each user's first act."""
    histories: dict[str, list[int]] = defaultdict(list)
    collected = []
    for choice in choices:
        act = choice.interaction
        collected.append((np.array(histories[act.user][-8:], dtype=np.int64), rows[act.item]))
        histories[act.user].append(rows[act.item])
    return [step for step in collected[part] if step[0].size]


def covisitation_of(choices: list[Choice], rows: dict[str, int], part: slice) -> Covisitation:
    covisitation = DecayedCovisitation(half_life=1e9, max_partners=len(rows))
    covisitation.grow(len(rows))
    covisitation.fold(*as_pairs(steps(choices, rows, part)))
    return covisitation


def hit_rate(covisitation: Covisitation, choices: list[Choice], rows: dict[str, int], part: slice) -> float:
    asked = steps(choices, rows, part)
    suggested = covisitation.suggest([before for before, _ in asked]).toarray()
    best = np.argpartition(suggested, -TOP, axis=1)[:, -TOP:]
    return float(np.mean([item in row for (_, item), row in zip(asked, best, strict=True)]))
