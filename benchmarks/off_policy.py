"""Off-policy estimators on the digits, by the protocol of the Open Bandit Pipeline's multiclass example.

    python -m benchmarks.off_policy

A classifier makes a policy: it takes the class that is predicted with probability α, and any one otherwise.
One policy (logistic regression, α .4) chooses classes for 70 % of the digits and is rewarded for the right
ones; the value of another (a random forest, α .9) is estimated from that. The model of the rewards is a
gradient boosting that is fitted on two thirds and asked for the third. The figures are relative errors of
the estimates, mean and standard deviation of all runs, beside those that the example's page prints.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, train_test_split

from pipeline.cli.terminal import ReportOption
from pipeline.evaluation.off_policy.estimators import (
    SHRINK,
    SWITCH,
    Estimator,
    LoggedSlates,
    WeightRule,
    direct_method,
    doubly_robust,
    ips,
    self_normalized_doubly_robust,
    snips,
    tuned,
)

Floats = NDArray[np.float64]
CLASSES, EVALUATED_SHARE, FOLDS, SEED = 10, 0.7, 3, 12_345
LOGGING_ALPHA, EVALUATED_ALPHA = 0.4, 0.9
PARAMETERS = (10, 50, 100, 500, 1_000, 5_000, 10_000, np.inf)
"""Among which switch and shrinkage are tuned."""
PUBLISHED = {
    "DM": (0.436541, 0.017629),
    "IPS": (0.030288, 0.024506),
    "SNIPS": (0.022764, 0.017917),
    "DR": (0.016156, 0.012679),
    "SNDR": (0.022082, 0.016865),
    "Switch-DR": (0.034657, 0.018575),
    "DRos": (0.015868, 0.012537),
}
"""Mean and standard deviation of 30 runs."""


def main(
    runs: Annotated[int, typer.Option(help="Splits of the digits.")] = 30,
    report: ReportOption = None,
) -> None:
    """Estimate the value in each run; print relative errors beside the published ones."""
    errors = [errors_of(run) for run in track(range(runs))]
    table = Table("estimator", "relative error", "published", "apart, in its deviations")
    figures: dict[str, dict[str, float]] = {}
    for name, (mean, deviation) in PUBLISHED.items():
        own = np.array([each[name] for each in errors])
        figures[name] = {"mean": float(own.mean()), "deviation": float(own.std(ddof=1))}
        apart = (figures[name]["mean"] - mean) / deviation
        shown = f"{figures[name]['mean']:.4f} ± {figures[name]['deviation']:.4f}"
        table.add_row(name, shown, f"{mean:.4f} ± {deviation:.4f}", f"{apart:+.2f}")
    Console().print(table)
    if report:
        report.write_text(json.dumps({"runs": runs, "errors": figures}, indent=2) + "\n")


def errors_of(run: int) -> dict[str, float]:
    """Return the relative error of each estimator on a split of the digits."""
    images, digits = load_digits(return_X_y=True)
    training, logged, known, right = train_test_split(
        images, digits, test_size=EVALUATED_SHARE, random_state=run
    )
    forest = RandomForestClassifier(30, max_depth=5, min_samples_leaf=10, random_state=SEED)
    regression = LogisticRegression(C=100, max_iter=10_000, random_state=SEED)
    logging = _policy(regression.fit(training, known).predict(logged), LOGGING_ALPHA)
    evaluated = _policy(forest.fit(training, known).predict(logged), EVALUATED_ALPHA)
    rounds = np.arange(len(right))
    actions = _drawn(logging, np.random.RandomState(run))
    rewards = (actions == right).astype(np.float64)
    expected = _expected_rewards(logged, actions, rewards)
    slates = LoggedSlates.of(
        evaluated[rounds, actions][:, None],
        logging[rounds, actions][:, None],
        rewards[:, None],
        (expected[rounds, actions][:, None], (evaluated * expected).sum(axis=1, keepdims=True)),
    )
    value = float(evaluated[rounds, right].mean())
    return {
        name: abs(float(made(slates).mean()) - value) / value for name, made in _estimators(slates).items()
    }


def _estimators(slates: LoggedSlates) -> dict[str, Estimator]:
    def best(rule: WeightRule) -> Estimator:
        return rule.estimator(tuned(rule, slates, PARAMETERS))

    plain: dict[str, Callable[[LoggedSlates], Floats]] = {
        "DM": direct_method,
        "IPS": ips,
        "SNIPS": snips,
        "DR": doubly_robust,
        "SNDR": self_normalized_doubly_robust,
    }
    return {**plain, "Switch-DR": best(SWITCH), "DRos": best(SHRINK)}


def _policy(predicted: NDArray[Any], alpha: float) -> Floats:
    """Probabilities ``[n, classes]``: mostly of the predicted class."""
    chances = np.full((len(predicted), CLASSES), (1 - alpha) / CLASSES)
    chances[np.arange(len(predicted)), predicted] += alpha
    return chances


def _drawn(chances: Floats, random: np.random.RandomState) -> NDArray[np.int64]:
    return np.array([random.choice(CLASSES, p=each) for each in chances], dtype=np.int64)


def _expected_rewards(images: Floats, actions: NDArray[np.int64], rewards: Floats) -> Floats:
    """Expected rewards ``[n, classes]``, each by a model that has not seen its digit."""
    expected, classes = np.zeros((len(images), CLASSES)), np.eye(CLASSES)
    for fitted, asked in KFold(FOLDS, shuffle=True, random_state=SEED).split(images):
        model = HistGradientBoostingClassifier(
            max_iter=30, learning_rate=0.01, max_depth=5, min_samples_leaf=10, random_state=SEED
        )
        model.fit(np.hstack([images[fitted], classes[actions[fitted]]]), rewards[fitted])
        for action in range(CLASSES):
            taken = np.tile(classes[action], (len(asked), 1))
            expected[asked, action] = model.predict_proba(np.hstack([images[asked], taken]))[:, 1]
    return expected


if __name__ == "__main__":
    typer.run(main)
