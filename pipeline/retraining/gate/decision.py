"""The Gate's decision.

A candidate must show a gain of log-loss that is worth a swap, and must not lose otherwise:
neither NDCG, nor a slice of the targets, nor its lists, its speed or its size. The burden of
proof is the candidate's overall; a slice, small and noisy, speaks against it on a clear loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le
from typing import NamedTuple

import numpy as np

from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets
from pipeline.retraining.gate.figures import ALL, Figures, costs, gains, lists, sample_sizes, soundness
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
    """What is asked of one figure; `relation` is a key of RELATIONS."""

    about: str
    figure: str
    relation: str
    bound: float

    def holds(self, figures: Figures) -> bool:
        """Whether the figure is as it should be."""
        return RELATIONS[self.relation](figures[self.figure], self.bound)

    def tell(self, figures: Figures) -> str:
        """What an operator reads.

        >>> Check("bytes of the champion's", "bytes.ratio", "at most", 1.5).tell({"bytes.ratio": 2})
        "bytes of the champion's: bytes.ratio is 2, not at most 1.5"
        """
        relation = self.relation if self.holds(figures) else f"not {self.relation}"
        return f"{self.about}: {self.figure} is {figures[self.figure]:.4g}, {relation} {self.bound:.4g}"


def decide(ground: SharedTargets, champion: ModelRun, candidate: ModelRun, shape: GateConfig) -> GateVerdict:
    """Judge the candidate by what both did on the same ground; for the same seed, the same again.

    A candidate with a value that is not finite is rejected, however little there is to go by;
    so is one whose champion has one, for there is nothing to compare with.

    Raises:
        ValueError: the trials are not of this ground, or not of the same probe users.
    """
    _refuse_unlike(ground, champion, candidate)
    masks = {**ground.slices, ALL: np.ones_like(ground.users, dtype=np.bool_)}
    figures = soundness(champion, candidate)
    if failed := _failed(_sound(), figures):
        return GateVerdict(outcome=Outcome.REJECTED, reasons=failed, figures=figures)

    figures |= sample_sizes(ground, masks, len(candidate.lists))
    if failed := _failed(_enough(shape), figures):
        return GateVerdict(outcome=Outcome.TOO_FEW, reasons=failed, figures=figures)

    judged = {name: mask for name, mask in masks.items() if name == ALL or _is_judged(name, figures, shape)}
    figures |= gains(ground, judged, champion, candidate, shape.sampling)
    figures |= lists(champion, candidate) | costs(champion, candidate)
    checks = [*_better(shape), *_no_worse(judged.keys() - {ALL}, shape), *_no_dearer(shape)]
    if failed := _failed(checks, figures):
        return GateVerdict(outcome=Outcome.REJECTED, reasons=failed, figures=figures)
    reasons = [check.tell(figures) for check in checks]
    return GateVerdict(outcome=Outcome.PROMOTED, reasons=reasons, figures=figures)


def _refuse_unlike(ground: SharedTargets, *trials: ModelRun) -> None:
    if any(trial.log_loss.shape != ground.users.shape for trial in trials):
        raise ValueError("a trial is not of as many targets as the ground")
    if len({trial.lists.shape for trial in trials}) > 1:
        raise ValueError("the contenders' lists are not of as many probe users and items")


def _failed(checks: Iterable[Check], figures: Figures) -> list[str]:
    return [check.tell(figures) for check in checks if not check.holds(figures)]


def _is_judged(name: str, figures: Figures, shape: GateConfig) -> bool:
    has_targets = figures[f"targets.{name}"] >= shape.least_slice
    return has_targets and figures[f"users.{name}"] >= shape.least_users


def _sound() -> list[Check]:
    return [
        Check(f"values of the {who} that are not finite", f"not_finite.{who}", "at most", 0)
        for who in ("candidate", "champion")
    ]


def _enough(shape: GateConfig) -> list[Check]:
    return [
        Check("targets that both scored", "targets.all", "at least", shape.least_targets),
        Check("users, weighed by their targets", "users.all", "at least", shape.least_users),
        Check("users with lists", "probes", "at least", shape.least_probes),
    ]


def _better(shape: GateConfig) -> list[Check]:
    return [
        Check("gain in log-loss, at worst, in nats", "log_loss.all.low", "above", shape.least_gain),
        Check("gain in NDCG, at worst", "ndcg.all.low", "at least", -shape.ndcg_margin),
    ]


def _no_worse(slices: Collection[str], shape: GateConfig) -> list[Check]:
    margins = {"log_loss": shape.slice_log_loss_margin, "ndcg": shape.slice_ndcg_margin}
    return [
        Check(f"gain in {figure} in slice {name}, at best", f"{figure}.{name}.high", "at least", -margin)
        for name in sorted(slices)
        for figure, margin in margins.items()
    ]


def _no_dearer(shape: GateConfig) -> list[Check]:
    return [
        Check("what lists have in common with the champion's", "jaccard", "at least", shape.least_jaccard),
        Check(
            "distinct items in the lists, to the champion's",
            "diversity.ratio",
            "at least",
            shape.least_diversity,
        ),
        Check("seconds spent scoring, to the champion's", "seconds.ratio", "at most", shape.most_latency),
        Check("bytes of learned state, to the champion's", "bytes.ratio", "at most", shape.most_size),
    ]
