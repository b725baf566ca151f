"""The Gate's decision.

A candidate must show a gain in log-loss that is worth a swap, and must not be worse in NDCG, in
any slice of the targets, in its lists, its speed or its size. Over all targets the candidate
must prove its gain; a slice, which is small and noisy, rejects it only on a clear loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le
from typing import NamedTuple

import numpy as np

from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets
from pipeline.retraining.gate.figures import (
    ALL,
    Figures,
    costs,
    gains,
    lists,
    non_finite_values,
    sample_sizes,
)
from pipeline.retraining.gate.paired import Sampling

RELATIONS: Mapping[str, Callable[[float, float], bool]] = {"above": gt, "at least": ge, "at most": le}


@dataclass(frozen=True)
class GateConfig:
    """What is asked of a candidate.

    Learners that differ by their seed alone differ by up to 0.025 nats and 0.006 of NDCG on 2,500
    targets or more of the simulated shop (12 pairs, 6 stretches each); none of them is promoted.

    Attributes:
        least_targets, least_users, least_probes: without as many nothing is compared. Of users,
            the effective number, at least 2 (see `effective_users`).
        least_slice: targets; a slice with fewer of them, or of users, is not judged.
        least_gain: nats; the lower bound of the gain in log-loss must be above it.
        ndcg_margin: how far the lower bound of the gain in NDCG may be below zero.
        slice_log_loss_margin, slice_ndcg_margin: how far the upper bound of a slice's gain may
            be below zero; nats and NDCG.
        least_jaccard: mean over probe users of the share that their two lists have in common.
        least_diversity: distinct items in all lists, as a multiple of the champion's.
        most_latency, most_size: seconds and bytes, as multiples of the champion's.
        sampling: how the bounds are found.
    """

    least_targets: int = 2_000
    least_users: int = 30
    least_probes: int = 20
    least_slice: int = 100
    least_gain: float = 0.01
    ndcg_margin: float = 0.01
    slice_log_loss_margin: float = 0.1
    slice_ndcg_margin: float = 0.01
    least_jaccard: float = 0.1
    least_diversity: float = 0.5
    most_latency: float = 1.5
    most_size: float = 1.5
    sampling: Sampling = Sampling()


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


def decide(targets: SharedTargets, champion: ModelRun, candidate: ModelRun, shape: GateConfig) -> GateVerdict:
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
        return GateVerdict(outcome=Outcome.REJECTED, reasons=failed, figures=figures)

    figures |= sample_sizes(targets, masks, len(candidate.lists))
    if failed := _failed(_sample_size_checks(shape), figures):
        return GateVerdict(outcome=Outcome.TOO_FEW, reasons=failed, figures=figures)

    checked = {name: mask for name, mask in masks.items() if name == ALL or _is_checked(name, figures, shape)}
    figures |= gains(targets, checked, champion, candidate, shape.sampling)
    figures |= lists(champion, candidate) | costs(champion, candidate)
    checks = [*_gain_checks(shape), *_slice_checks(checked.keys() - {ALL}, shape), *_cost_checks(shape)]
    if failed := _failed(checks, figures):
        return GateVerdict(outcome=Outcome.REJECTED, reasons=failed, figures=figures)
    reasons = [check.describe(figures) for check in checks]
    return GateVerdict(outcome=Outcome.PROMOTED, reasons=reasons, figures=figures)


def _require_comparable(targets: SharedTargets, *runs: ModelRun) -> None:
    if any(run.log_loss.shape != targets.users.shape for run in runs):
        raise ValueError("a run does not have as many targets as there are shared targets")
    if len({run.lists.shape for run in runs}) > 1:
        raise ValueError("the lists of the two runs differ in the number of probe users or items")


def _failed(checks: Iterable[Check], figures: Figures) -> list[str]:
    return [check.describe(figures) for check in checks if not check.holds(figures)]


def _is_checked(name: str, figures: Figures, shape: GateConfig) -> bool:
    has_targets = figures[f"targets.{name}"] >= shape.least_slice
    return has_targets and figures[f"users.{name}"] >= shape.least_users


def _finite_checks() -> list[Check]:
    return [
        Check(f"non-finite values of the {who}", f"not_finite.{who}", "at most", 0)
        for who in ("candidate", "champion")
    ]


def _sample_size_checks(shape: GateConfig) -> list[Check]:
    return [
        Check("targets scored by both", "targets.all", "at least", shape.least_targets),
        Check("effective users", "users.all", "at least", shape.least_users),
        Check("probe users", "probes", "at least", shape.least_probes),
    ]


def _gain_checks(shape: GateConfig) -> list[Check]:
    return [
        Check("lower bound of the log-loss gain (nats)", "log_loss.all.low", "above", shape.least_gain),
        Check("lower bound of the NDCG gain", "ndcg.all.low", "at least", -shape.ndcg_margin),
    ]


def _slice_checks(slices: Collection[str], shape: GateConfig) -> list[Check]:
    margins = {"log_loss": shape.slice_log_loss_margin, "ndcg": shape.slice_ndcg_margin}
    return [
        Check(
            f"upper bound of the {figure} gain in slice {name}", f"{figure}.{name}.high", "at least", -margin
        )
        for name in sorted(slices)
        for figure, margin in margins.items()
    ]


def _cost_checks(shape: GateConfig) -> list[Check]:
    return [
        Check("overlap with the champion's lists", "jaccard", "at least", shape.least_jaccard),
        Check(
            "distinct items in the lists, relative to the champion",
            "diversity.ratio",
            "at least",
            shape.least_diversity,
        ),
        Check("scoring time, relative to the champion", "seconds.ratio", "at most", shape.most_latency),
        Check(
            "size of the learned state, relative to the champion", "bytes.ratio", "at most", shape.most_size
        ),
    ]
