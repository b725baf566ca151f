"""What is predicted of an answer was learned before it was shown."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.calibration import WARM_UP
from pipeline.evaluation.responses import PreferenceQuality, ResponseQuality, response_quality
from pipeline.state.outcomes import Outcome
from tests.support.impressions import impression

WINDOW = 50


def shown(seed: int, amount: int) -> list[Outcome]:
    """Answers of two items whose responses follow from score and place."""
    random, found = np.random.default_rng(seed), []
    for number in range(amount):
        scores = random.beta(1, 4, 2)
        chances = scores / np.array([1, 2])
        seen = impression(f"i{number}").model_copy(update={"scores": tuple(scores.tolist())})
        found.append(Outcome(seen, tuple((random.random(2) < chances).astype(float).tolist()), number))
    return found


def test_responses_are_predicted_and_calibrated() -> None:
    quality = ResponseQuality(WINDOW)
    for outcome in shown(0, 6_000):
        quality.add(outcome)
    found = quality.report()
    assert found.n == 12_000 - WARM_UP - 2 * WINDOW
    assert found.roc_auc is not None and found.roc_auc > 0.7
    assert found.calibration_error is not None and found.calibration_error < 0.02
    assert found.recall is not None and 0.5 < found.recall < 1


def test_an_answer_is_not_learned_before_its_window_has_passed() -> None:
    outcomes = shown(1, 2_000)
    known, other = ResponseQuality(WINDOW), ResponseQuality(WINDOW)
    for outcome in outcomes:
        known.add(outcome)
    for outcome in outcomes:
        late = outcome.shown_at >= 2_000 - WINDOW
        other.add(Outcome(outcome.impression, (0.0, 0.0), outcome.shown_at) if late else outcome)
    # Labels of the last ones differ, so the figures do; what was predicted of them does not.
    last = shown(2, 1)[0]
    ahead = Outcome(last.impression, last.rewards, 2_000)
    before = [quality.report() for quality in (known, other)]
    for quality in (known, other):
        quality.add(ahead)
    after = [quality.report() for quality in (known, other)]
    gains = [
        (one.brier or 0) * one.n - (first.brier or 0) * first.n
        for one, first in zip(after, before, strict=True)
    ]
    assert gains[0] == pytest.approx(gains[1])


def test_answers_in_any_order_are_put_in_that_of_time() -> None:
    outcomes = shown(5, 1_000)
    assert response_quality(outcomes[::-1], WINDOW) == response_quality(outcomes, WINDOW)
    assert response_quality(outcomes[:10], WINDOW).n == 0


def test_scores_that_are_no_probabilities_are_the_least() -> None:
    quality = ResponseQuality(0)
    for outcome in shown(3, 1_000):
        odd = outcome.impression.model_copy(update={"scores": (-3.0, 7.0)})
        quality.add(Outcome(odd, outcome.rewards, outcome.shown_at))
    assert quality.report().n > 0


def test_preferences_are_predicted_from_scores_before_they_are_learned() -> None:
    random, quality = np.random.default_rng(4), PreferenceQuality()
    log_scores = random.normal(-6, 1, 4_000)
    positive = random.random(4_000) < 1 / (1 + np.exp(-(log_scores + 6)))
    for part in range(0, 4_000, 100):
        quality.add(log_scores[part : part + 100], positive[part : part + 100])
    found = quality.report()
    assert found.n == 4_000 - WARM_UP
    assert found.threshold == pytest.approx(0.5)
    assert found.roc_auc is not None and 0.7 < found.roc_auc < 0.8
