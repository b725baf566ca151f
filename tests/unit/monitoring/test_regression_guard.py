"""The guard: calm whatever the world or the baseline does, and quick when what serves has gone wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from pipeline.config import GuardConfig
from pipeline.evaluation.prequential import SCORERS, Scores, TargetScores, empty_scores
from pipeline.monitoring.regression_guard import Fall, Guard, GuardState, _chance_of_less

CONFIG = GuardConfig()
BATCH = 50
BASKET = 5
"""Events that are easy or hard together."""
ITEMS = 1
"""So that log-probabilities are what they are above chance."""
LEFT = "1-200"
Leads = Callable[[int], float]
"""Nats by which the mixture is ahead of covisitation, by step."""


def batch(
    seed: int, step: int, lead: float, hardness: float = 6.0, *, openings: float = 0.1, gap: float = 0.0
) -> Scores:
    """Scores of a batch: baskets are hard to predict for both, and the lead varies by basket.

    Args:
        openings: share of events that open a basket.
        gap: nats by which these are harder to predict.
    """
    random = np.random.default_rng((seed, step))
    covisitation = -random.normal(hardness, 2.0, BATCH)
    baskets = np.repeat(random.normal(0, 0.5, BATCH // BASKET), BASKET)
    mixture = covisitation + lead + baskets + random.normal(0, 1.0, BATCH)
    draws = np.random.default_rng((seed, step, 9)).random((2, BATCH))
    first, cold = draws[0] < openings, draws[1] < 0.2
    mixture[first] -= gap
    by_scorer = {name: TargetScores(np.ones(BATCH), covisitation) for name in SCORERS}
    return replace(
        empty_scores(),
        by_scorer=by_scorer | {"mixture": TargetScores(np.ones(BATCH), mixture)},
        slices={"all": np.ones(BATCH, dtype=np.bool_), "first_of_basket": first, "cold": cold},
    )


def falls(
    guard: Guard, steps: Iterable[int], leads: Leads, *, seed: int = 0, hardness: float = 6.0
) -> list[tuple[int, Fall]]:
    """What the guard says of steps in order, with the step."""
    found = (
        (step, guard.update(f"1-{step - 1}", batch(seed, step, leads(step), hardness), ITEMS))
        for step in steps
    )
    return [(step, fall) for step, fall in found if fall is not None]


def steady(lead: float) -> Leads:
    return lambda step: lead


def after_promotion(seed: int = 0) -> Guard:
    """A guard that knows what is usual, and sees a candidate take over after step 200."""
    guard = Guard(CONFIG)
    assert falls(guard, range(1, 201), steady(0.5), seed=seed) == []
    guard.promoted(LEFT)
    return guard


def step_of(version: str) -> int:
    return int(version.partition("-")[2])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("block", "reference"), [(16, 2), (1, 40)])
def test_blocks_that_are_too_few_or_unlike_those_before_are_not_compared(block: int, reference: int) -> None:
    guard = Guard(GuardConfig(block=block, reference=reference, fewest=1, recent=2))
    assert falls(guard, range(1, 20), steady(0.5)) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_lead_never_falls(seed: int) -> None:
    assert falls(Guard(CONFIG), range(1, 301), steady(0.5), seed=seed) == []


@pytest.mark.parametrize("seed", range(20))
def test_an_equal_candidate_stays(seed: int) -> None:
    assert falls(after_promotion(seed), range(201, 401), steady(0.5), seed=seed) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_world_that_is_hard_for_both_is_no_fall(seed: int) -> None:
    guard = Guard(CONFIG)
    assert falls(guard, range(1, 201), steady(0.5), seed=seed) == []
    assert falls(guard, range(201, 401), steady(0.5), seed=seed, hardness=12.0) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_world_that_takes_some_of_the_lead_is_no_fall(seed: int) -> None:
    """The better scorer has more to lose: the mixture loses .8 nats, covisitation half as much."""
    guard = Guard(CONFIG)
    assert falls(guard, range(1, 201), steady(1.5), seed=seed) == []
    assert falls(guard, range(201, 401), steady(1.1), seed=seed, hardness=6.4) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_baseline_that_warms_up_is_no_fall(seed: int) -> None:
    """The lead falls from 2 to -1 nats because covisitation rises; the mixture is as good as ever."""
    guard = Guard(CONFIG)
    for step in range(1, 401):
        lead = 2.0 - 3.0 * min(1.0, step / 300)
        assert guard.update(f"1-{step - 1}", batch(seed, step, lead, 6.0 - (2.0 - lead)), ITEMS) is None


def test_a_catalogue_that_grows_is_no_fall() -> None:
    """All items take an equal part of the mixture's probability; covisitation gives the new ones none."""
    guard = Guard(CONFIG)
    for step in range(1, 401):
        items = 1_000 * max(1, step - 200)
        scores = batch(0, step, 9.0 - np.log(items))
        assert guard.update(f"1-{step - 1}", scores, items) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_is_found_while_the_catalogue_grows(seed: int) -> None:
    """By a tenth within the blocks that are compared, as in a shop with many new items."""
    guard, found = Guard(CONFIG), list[int]()
    for step in range(1, 301):
        items, fault = round(1_000 * 1.001**step), 2.0 * (step > 200)
        scores = batch(seed, step, 9.0 - np.log(items) - fault)
        found += [step] if guard.update(f"1-{step - 1}", scores, items) else []
    assert 200 < found[0] <= 200 + CONFIG.recent * CONFIG.block / BATCH


def test_other_events_than_before_are_no_fall() -> None:
    """More first items of baskets, which are harder to predict; of each kind all is as before."""
    guard = Guard(CONFIG)
    for step in range(1, 401):
        openings = 0.1 if step <= 200 else 0.7
        assert guard.update(f"1-{step - 1}", batch(0, step, 2.0, openings=openings, gap=2.0), ITEMS) is None


def test_a_fall_on_each_kind_is_found_though_easier_kinds_hide_it() -> None:
    guard, found = Guard(CONFIG), list[Fall]()
    for step in range(1, 301):
        lead, openings = (2.0, 0.7) if step <= 200 else (1.0, 0.1)
        fall = guard.update(f"1-{step - 1}", batch(0, step, lead, openings=openings, gap=2.0), ITEMS)
        found += [fall] if fall else []
    assert found
    assert found[0].before - found[0].after > CONFIG.least


def test_a_growing_lead_is_no_fall() -> None:
    assert falls(Guard(CONFIG), range(1, 401), lambda step: step / 100) == []


def test_a_clear_but_small_fall_is_left_to_learning() -> None:
    config = CONFIG.replace(least=0.5)
    guard = Guard(config)
    assert falls(guard, range(1, 401), lambda step: 0.5 if step <= 200 else 0.1) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_candidate_that_goes_wrong_falls_within_a_few_hundred_events(seed: int) -> None:
    found = falls(
        after_promotion(seed), range(201, 240), lambda step: 0.5 if step <= 205 else -2.0, seed=seed
    )
    step, fall = found[0]
    assert fall.version == LEFT
    assert (step - 205) * BATCH <= 500
    assert fall.lead_before == pytest.approx(0.5, abs=0.3)
    assert fall.lead_after < fall.lead_before - CONFIG.least
    assert fall.before == pytest.approx(-5.5, abs=0.5)
    assert fall.after < fall.before - CONFIG.least


def test_a_bad_candidate_is_measured_by_what_was_before_it() -> None:
    (_, fall), *_ = falls(after_promotion(), range(201, 220), steady(-1.0))
    assert fall.version == LEFT
    assert fall.lead_after == pytest.approx(-1.0, abs=0.3)
    assert fall.after == pytest.approx(-7.0, abs=0.5)


def test_after_probation_a_candidate_is_its_own_measure() -> None:
    guard = after_promotion()
    probation = CONFIG.probation * CONFIG.block // BATCH + 1
    assert falls(guard, range(201, 201 + probation), steady(0.5)) == []
    assert guard.state()["probation"] is None
    (step, fall), *_ = falls(guard, range(300, 400), lambda step: 0.5 if step <= 350 else -2.0)
    assert step > 350
    assert step_of(fall.version) >= 300, "not back to before the promotion"


@pytest.mark.parametrize("seed", range(10))
def test_a_fast_fall_names_a_version_from_before_it(seed: int) -> None:
    (step, fall), *_ = falls(
        Guard(CONFIG), range(1, 301), lambda step: 0.5 if step <= 200 else -1.5, seed=seed
    )
    window = CONFIG.recent * CONFIG.block / BATCH
    assert 200 < step <= 200 + window
    assert 200 - window <= step_of(fall.version) <= 200


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_fall_is_seen_before_it_is_deep(seed: int) -> None:
    def slow(step: int) -> float:
        return 0.5 - max(0, step - 200) * 0.03

    (step, fall), *_ = falls(Guard(CONFIG), range(1, 401), slow, seed=seed)
    assert slow(step_of(fall.version)) > -0.3, "the rest is not"
    assert slow(step) > -1.0


def test_a_young_learner_is_not_judged() -> None:
    young = CONFIG.fewest * CONFIG.block // BATCH
    assert falls(Guard(CONFIG), range(1, young), lambda step: 0.5 if step <= 10 else -3.0) == []


def test_a_quarantined_batch_ends_a_probation_at_once() -> None:
    guard = after_promotion()
    falls(guard, range(201, 203), steady(0.5))
    fall = guard.update("2-5", replace(empty_scores(), quarantined=True), ITEMS)
    assert fall is not None
    assert (fall.version, fall.after, fall.lead_after) == (LEFT, float("-inf"), float("-inf"))
    assert fall.lead_before == pytest.approx(0.5, abs=0.1)
    guard.returned()
    assert guard.update("2-6", replace(empty_scores(), quarantined=True), ITEMS) is None, "it is gone"


def test_a_quarantined_batch_is_no_fall_where_nothing_is_on_trial() -> None:
    guard = Guard(CONFIG)
    falls(guard, range(1, 201), steady(0.5))
    before = guard.state()
    assert guard.update("1-200", replace(empty_scores(), quarantined=True), ITEMS) is None
    assert guard.state() == before


def test_batches_without_scores_change_nothing() -> None:
    guard = after_promotion()
    before = guard.state()
    assert guard.update("2-1", empty_scores(), ITEMS) is None
    assert guard.state() == before


def test_values_that_are_not_finite_are_dropped() -> None:
    guard, other, broken = Guard(CONFIG), Guard(CONFIG), batch(0, 1, 0.5)
    broken.by_scorer["mixture"].log_probabilities[:10] = -np.inf
    broken.by_scorer["covisitation"].log_probabilities[10:20] = np.nan
    guard.update("1-0", broken, ITEMS)
    kept = {
        name: TargetScores(v.ranks[20:], v.log_probabilities[20:]) for name, v in broken.by_scorer.items()
    }
    slices = {name: mask[20:] for name, mask in broken.slices.items()}
    other.update("1-0", replace(broken, by_scorer=kept, slices=slices), ITEMS)
    assert guard.state() == other.state()
    assert guard.state()["rest"] + guard.state()["recent"], "the others count"


def test_what_was_tried_is_forgotten_when_it_is_gone() -> None:
    guard = after_promotion()
    usual = guard.state()["reference"]
    falls(guard, range(201, 206), steady(0.2))
    guard.returned()
    forgotten: GuardState = {
        "reference": usual,
        "recent": [],
        "rest": [],
        "probation": None,
        "proven": False,
        "fallen": False,
    }
    assert guard.state() == forgotten
    guard.forget()
    assert guard.state() == Guard(CONFIG).state()


def test_a_fall_lasts_while_nothing_is_done_about_it_and_does_not_become_usual() -> None:
    guard = Guard(CONFIG)
    found = falls(guard, range(1, 601), lambda step: 0.5 if step <= 200 else -2.0)
    steps = [step for step, _ in found]
    assert steps == list(range(steps[0], 601)), "it is found in every batch"
    assert found[-1][1].lead_before == pytest.approx(0.5, abs=0.2)


def test_a_probation_without_a_fall_proves_the_candidate_once() -> None:
    guard = after_promotion()
    proven = []
    for step in range(201, 401):
        guard.update(f"2-{step - 1}", batch(0, step, 0.5), ITEMS)
        proven += [step] if guard.is_proven else []
    assert len(proven) == 1
    assert (proven[0] - 200) * BATCH >= CONFIG.probation * CONFIG.block


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=9), st.lists(st.floats(-9, 9), min_size=2, max_size=9))
def test_the_chance_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    assume(np.var(one) + np.var(other) > 1e-6)
    expected = ttest_ind(one, other, equal_var=False, alternative="less").pvalue
    assert _chance_of_less(np.array(one), np.array(other)) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_it_does_not_grow_without_bound() -> None:
    guard = Guard(CONFIG)
    falls(guard, range(1, 301), steady(0.5))
    state = guard.state()
    assert len(state["reference"]) == CONFIG.reference
    assert len(state["recent"]) == CONFIG.recent
    assert len(state["rest"]) < CONFIG.block


def test_one_batch_may_fill_many_blocks() -> None:
    guard = Guard(CONFIG.replace(block=5))
    falls(guard, range(1, 3), steady(0.5))
    assert len(guard.state()["recent"]) + len(guard.state()["reference"]) == 2 * BATCH // 5
    assert [version for _, version in guard.state()["recent"]][-10:] == ["1-1"] * 10


@settings(max_examples=10)
@given(saved=st.integers(0, 259))
def test_a_restored_guard_says_the_same(saved: int) -> None:
    def leads(step: int) -> float:
        return 0.5 if step <= 200 or step > 230 else -2.0

    def play(guard: Guard, steps: range) -> list[tuple[int, Fall]]:
        found: list[tuple[int, Fall]] = []
        for step in steps:
            if step == 190:
                guard.promoted("1-189")
            found += falls(guard, [step], leads)
        return found

    unbroken, restored = Guard(CONFIG), Guard(CONFIG)
    play(unbroken, range(1, 1 + saved))
    restored.load(orjson.loads(orjson.dumps(unbroken.state())))
    later = play(unbroken, range(1 + saved, 260))
    assert play(restored, range(1 + saved, 260)) == later
    assert restored.state() == unbroken.state()
    assert later or saved > 200
