"""The Gate's decision.

A candidate must show a gain of log-loss that is worth a swap, and must not lose otherwise:
neither NDCG, nor a slice of the targets, nor its lists, its speed or its size. The burden of
proof is the candidate's overall; a slice, small and noisy, speaks against it on a clear loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import ge, gt, le
from typing import NamedTuple

import numpy as np

from pipeline.config import GateConfig
from pipeline.retraining.gate.evidence import GateVerdict, ModelRun, Outcome, SharedTargets
from pipeline.retraining.gate.figures import ALL, Figures, costs, gains, lists, sample_sizes, soundness

RELATIONS: Mapping[str, Callable[[float, float], bool]] = {"above": gt, "at least": ge, "at most": le}


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


def decide(ground: SharedTargets, champion: ModelRun, candidate: ModelRun, config: GateConfig) -> GateVerdict:
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
    if failed := _failed(_enough(config), figures):
        return GateVerdict(outcome=Outcome.TOO_FEW, reasons=failed, figures=figures)

    judged = {name: mask for name, mask in masks.items() if name == ALL or _is_judged(name, figures, config)}
    figures |= gains(ground, judged, champion, candidate, config.sampling)
    figures |= lists(champion, candidate) | costs(champion, candidate)
    checks = [*_better(config), *_no_worse(judged.keys() - {ALL}, config), *_no_dearer(config)]
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


def _is_judged(name: str, figures: Figures, config: GateConfig) -> bool:
    has_targets = figures[f"targets.{name}"] >= config.least_slice
    return has_targets and figures[f"users.{name}"] >= config.least_users


def _sound() -> list[Check]:
    return [
        Check(f"values of the {who} that are not finite", f"not_finite.{who}", "at most", 0)
        for who in ("candidate", "champion")
    ]


def _enough(config: GateConfig) -> list[Check]:
    return [
        Check("targets that both scored", "targets.all", "at least", config.least_targets),
        Check("users, weighed by their targets", "users.all", "at least", config.least_users),
        Check("users with lists", "probes", "at least", config.least_probes),
    ]


def _better(config: GateConfig) -> list[Check]:
    return [
        Check("gain in log-loss, at worst, in nats", "log_loss.all.low", "above", config.least_gain),
        Check("gain in NDCG, at worst", "ndcg.all.low", "at least", -config.ndcg_margin),
    ]


def _no_worse(slices: Collection[str], config: GateConfig) -> list[Check]:
    margins = {"log_loss": config.slice_log_loss_margin, "ndcg": config.slice_ndcg_margin}
    return [
        Check(f"gain in {figure} in slice {name}, at best", f"{figure}.{name}.high", "at least", -margin)
        for name in sorted(slices)
        for figure, margin in margins.items()
    ]


def _no_dearer(config: GateConfig) -> list[Check]:
    return [
        Check("what lists have in common with the champion's", "jaccard", "at least", config.least_jaccard),
        Check(
            "distinct items in the lists, to the champion's",
            "diversity.ratio",
            "at least",
            config.least_diversity,
        ),
        Check("seconds spent scoring, to the champion's", "seconds.ratio", "at most", config.most_latency),
        Check("bytes of learned state, to the champion's", "bytes.ratio", "at most", config.most_size),
    ]
