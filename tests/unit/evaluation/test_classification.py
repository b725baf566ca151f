"""Classification figures equal those of scikit-learn, within what the cells may differ."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from pipeline.evaluation.classification import BINS, Classification, ClassificationReport


def simulated(seed: int, amount: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are somewhat wrong, of events with a mean logit."""
    random = np.random.default_rng(seed)
    logits = random.normal(mean, 1.5, amount)
    labels = random.random(amount) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-0.7 * logits - 0.3)), labels


def counted(probabilities: np.ndarray, labels: np.ndarray, parts: int = 1) -> Classification:
    counts = Classification()
    for piece, known in zip(np.array_split(probabilities, parts), np.array_split(labels, parts), strict=True):
        counts.add(piece, known)
    return counts


@pytest.mark.parametrize(("seed", "mean"), [(0, 0.0), (1, -4.0), (2, 3.0)])
@pytest.mark.parametrize("threshold", [0.5, 0.02])
def test_figures_equal_those_of_scikit_learn(seed: int, mean: float, threshold: float) -> None:
    probabilities, labels = simulated(seed, 5_000, mean)
    found = counted(probabilities, labels, parts=7).report(threshold)
    predicted = probabilities >= found.threshold
    assert found.threshold == pytest.approx(threshold, rel=1 / 100)
    for figure, oracle in (
        (found.precision, metrics.precision_score(labels, predicted)),
        (found.recall, metrics.recall_score(labels, predicted)),
        (found.f1, metrics.f1_score(labels, predicted)),
        (found.accuracy, metrics.accuracy_score(labels, predicted)),
        (found.brier, metrics.brier_score_loss(labels, probabilities)),
        (found.log_loss, metrics.log_loss(labels, probabilities)),
    ):
        assert figure == pytest.approx(oracle, rel=1e-9)
    assert found.n == 5_000
    assert found.positive == pytest.approx(labels.mean())


@pytest.mark.parametrize("mean", [0.0, -4.0])
def test_the_auc_is_within_its_stated_error(mean: float) -> None:
    probabilities, labels = simulated(3, 5_000, mean)
    found = counted(probabilities, labels).report()
    assert found.roc_auc is not None and found.roc_auc_error is not None
    assert abs(found.roc_auc - metrics.roc_auc_score(labels, probabilities)) <= found.roc_auc_error < 0.01


def test_the_stated_error_holds_for_ties_in_a_cell() -> None:
    """All in one cell, and the two who said yes above the two who did not: the worst case."""
    found = counted(0.5 + 1e-6 * np.arange(4), np.array([False, False, True, True])).report()
    assert (found.roc_auc, found.roc_auc_error) == (0.5, 0.5)


def test_the_calibration_error_is_that_of_bins_of_equal_mass() -> None:
    probabilities, labels = simulated(4, 3_000, 0.0)
    order = probabilities.argsort()
    parts = zip(np.array_split(probabilities[order], BINS), np.array_split(labels[order], BINS), strict=True)
    oracle = sum(abs(float((one - yes).sum())) for one, yes in parts) / 3_000
    assert counted(probabilities, labels).report().calibration_error == pytest.approx(oracle, abs=0.003)
    assert oracle > 0.05


def test_the_truth_is_calibrated() -> None:
    random = np.random.default_rng(5)
    chances = random.beta(1, 9, 200_000)
    error = counted(chances, random.random(200_000) < chances).report().calibration_error
    assert error is not None and error < 0.004


def test_rare_events_have_a_scale_as_fine() -> None:
    random = np.random.default_rng(6)
    chances = 1e-4 * random.beta(1, 9, 400_000)
    found = counted(chances, random.random(400_000) < chances).report()
    assert found.roc_auc_error is not None and found.roc_auc_error < 0.01


def test_without_a_threshold_it_is_the_share_of_yes() -> None:
    probabilities, labels = simulated(7, 2_000, -2.0)
    found = counted(probabilities, labels).report()
    assert found.threshold == pytest.approx(labels.mean(), rel=1 / 64)


def test_what_is_not_defined_is_none() -> None:
    nothing = Classification().report()
    assert nothing == ClassificationReport(0, None, nothing.threshold, *(None,) * 9)
    only_no = counted(np.array([0.1, 0.2]), np.array([False, False])).report(0.5)
    assert (only_no.precision, only_no.recall, only_no.f1, only_no.roc_auc) == (None, None, None, None)
    assert only_no.accuracy == 1


def test_certainty_that_is_wrong_costs_much_but_not_everything() -> None:
    found = counted(np.array([0.0, 1.0]), np.array([True, False])).report(0.5)
    assert found.log_loss == pytest.approx(34.5, abs=0.1)
    assert (found.accuracy, found.roc_auc, found.brier) == (0, 0, 1)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Classification().add(np.array([wrong]), np.array([True]))


def test_with_a_half_life_old_decisions_fade() -> None:
    counts = Classification(half_life=100)
    counts.add(np.full(1_000, 0.9), np.zeros(1_000, dtype=bool))
    for _ in range(20):
        counts.add(np.full(100, 0.9), np.ones(100, dtype=bool))
    found = counts.report(0.5)
    assert found.n == pytest.approx(200, rel=0.01)
    assert found.accuracy == pytest.approx(1, abs=1e-4)
    assert found.brier == pytest.approx(0.01, abs=1e-4)
