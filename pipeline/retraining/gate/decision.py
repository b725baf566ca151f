"""The Gate's decision.

A candidate must show a gain in log-loss that is worth a swap, and must not be worse in NDCG, in
any slice of the targets, in its lists, its speed or its size. Over all targets the candidate
must prove its gain; a slice, which is small and noisy, rejects it only on a clear loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import ge, gt, le
from typing import NamedTuple

import numpy as np

from pipeline.config import GateConfig
from pipeline.retraining.gate.evidence import GateOutcome, GateVerdict, ModelRun, SharedTargets
from pipeline.retraining.gate.figures import (
    ALL,
    Figures,
    costs,
    gains,
    lists,
    non_finite_values,
    sample_sizes,
)

RELATIONS: Mapping[str, Callable[[float, float], bool]] = {"above": gt, "at least": ge, "at most": le}


class Check(NamedTuple):
    """A requirement on one figure; `relation` is a key of RELATIONS."""

    about: str
    figure: str
    relation: str
    bound: float

    def holds(self, figures: Figures) -> bool:
        """Whether the figure meets the bound."""
        return RELATIONS[self.relation](figures[self.figure], self.bound)

    def describe(self, figures: Figures) -> str:
        """Describe the outcome for an operator.

        >>> Check("learned state, relative", "bytes.ratio", "at most", 1.5).describe({"bytes.ratio": 2})
        'learned state, relative: bytes.ratio is 2, not at most 1.5'
        """
        relation = self.relation if self.holds(figures) else f"not {self.relation}"
        return f"{self.about}: {self.figure} is {figures[self.figure]:.4g}, {relation} {self.bound:.4g}"


def decide(
    targets: SharedTargets, champion: ModelRun, candidate: ModelRun, config: GateConfig
) -> GateVerdict:
    """Judge the candidate by the runs of both on the same targets; deterministic for a seed.

    A non-finite value of the candidate rejects it, no matter how little evidence there is. A
    non-finite value of the champion also rejects it, because there is nothing to compare with.

    Raises:
        ValueError: the runs differ in the number of targets, of probe users or of listed items.
    """
    _require_comparable(targets, champion, candidate)
    masks = {**targets.slices, ALL: np.ones_like(targets.users, dtype=np.bool_)}
    figures = non_finite_values(champion, candidate)
    if failed := _failed(_finite_checks(), figures):
        return GateVerdict(outcome=GateOutcome.REJECTED, reasons=failed, figures=figures)

    figures |= sample_sizes(targets, masks, len(candidate.lists))
    if failed := _failed(_sample_size_checks(config), figures):
        return GateVerdict(outcome=GateOutcome.TOO_FEW, reasons=failed, figures=figures)

    checked = {
        name: mask for name, mask in masks.items() if name == ALL or _is_checked(name, figures, config)
    }
    figures |= gains(targets, checked, champion, candidate, config.sampling)
    figures |= lists(champion, candidate) | costs(champion, candidate)
    checks = [*_gain_checks(config), *_slice_checks(checked.keys() - {ALL}, config), *_cost_checks(config)]
    if failed := _failed(checks, figures):
        return GateVerdict(outcome=GateOutcome.REJECTED, reasons=failed, figures=figures)
    reasons = [check.describe(figures) for check in checks]
    return GateVerdict(outcome=GateOutcome.PROMOTED, reasons=reasons, figures=figures)


def _require_comparable(targets: SharedTargets, *runs: ModelRun) -> None:
    if any(run.log_loss.shape != targets.users.shape for run in runs):
        raise ValueError("a run does not have as many targets as there are shared targets")
    if len({run.lists.shape for run in runs}) > 1:
        raise ValueError("the lists of the two runs differ in the number of probe users or items")


def _failed(checks: Iterable[Check], figures: Figures) -> list[str]:
    return [check.describe(figures) for check in checks if not check.holds(figures)]


def _is_checked(name: str, figures: Figures, config: GateConfig) -> bool:
    has_targets = figures[f"targets.{name}"] >= config.least_slice
    return has_targets and figures[f"users.{name}"] >= config.least_users


def _finite_checks() -> list[Check]:
    return [
        Check(f"non-finite values of the {who}", f"not_finite.{who}", "at most", 0)
        for who in ("candidate", "champion")
    ]


def _sample_size_checks(config: GateConfig) -> list[Check]:
    return [
        Check("targets scored by both", "targets.all", "at least", config.least_targets),
        Check("effective users", "users.all", "at least", config.least_users),
        Check("probe users", "probes", "at least", config.least_probes),
    ]


def _gain_checks(config: GateConfig) -> list[Check]:
    return [
        Check("lower bound of the log-loss gain (nats)", "log_loss.all.low", "above", config.least_gain),
        Check("lower bound of the NDCG gain", "ndcg.all.low", "at least", -config.ndcg_margin),
    ]


def _slice_checks(slices: Collection[str], config: GateConfig) -> list[Check]:
    margins = {"log_loss": config.slice_log_loss_margin, "ndcg": config.slice_ndcg_margin}
    return [
        Check(
            f"upper bound of the {figure} gain in slice {name}", f"{figure}.{name}.high", "at least", -margin
        )
        for name in sorted(slices)
        for figure, margin in margins.items()
    ]


def _cost_checks(config: GateConfig) -> list[Check]:
    return [
        Check("overlap with the champion's lists", "jaccard", "at least", config.least_jaccard),
        Check(
            "distinct items in the lists, relative to the champion",
            "diversity.ratio",
            "at least",
            config.least_diversity,
        ),
        Check("scoring time, relative to the champion", "seconds.ratio", "at most", config.most_latency),
        Check(
            "size of the learned state, relative to the champion", "bytes.ratio", "at most", config.most_size
        ),
    ]
