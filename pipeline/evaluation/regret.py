"""Regret: how much worse the mixture was than the best of its parts, over the same targets.

The best part is that of all targets so far, chosen afterwards: no mixture can know it in time, so a small
regret that no longer grows is as good as can be (Cesa-Bianchi & Lugosi 2006, "Prediction, Learning, and
Games").
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.prequential import FULL_RANKING, Report

LESS_IS_BETTER = {"log_loss": True, "hr@20": False, "mrr@20": False}
"""The figures that regret is computed of."""
MIXTURE = "mixture"


@dataclass(frozen=True)
class Regret:
    """How much worse the mixture is on average: below zero it is better than each of its parts.

    Attributes:
        value: in nats for log-loss, a share of 1 for the others.
        best: the best part.
    """

    value: float
    best: str


def regret(quality: Report) -> dict[str, dict[str, Regret]]:
    """Compute the regret a target, by slice and figure; a slice without targets or parts has none."""
    parts = {name: by for name, by in quality.items() if name not in (MIXTURE, FULL_RANKING)}
    found: dict[str, dict[str, Regret]] = {}
    for name, mixture in quality.get(MIXTURE, {}).items():
        rivals = {part: by[name] for part, by in parts.items() if name in by}
        if rivals and mixture["n"]:
            found[name] = {figure: _regret(figure, mixture, rivals) for figure in LESS_IS_BETTER}
    return found


def _regret(
    figure: str, mixture: dict[str, float | None], rivals: dict[str, dict[str, float | None]]
) -> Regret:
    sign = 1 if LESS_IS_BETTER[figure] else -1
    losses = {part: sign * (figures[figure] or 0.0) for part, figures in rivals.items()}
    best = min(losses, key=losses.__getitem__)
    return Regret(sign * (mixture[figure] or 0.0) - losses[best], best)
