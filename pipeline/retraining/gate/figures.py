"""The Gate's figures: both contenders in numbers by name, all finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.config import SamplingConfig
from pipeline.retraining.gate.evidence import ModelRun, SharedTargets
from pipeline.retraining.gate.paired import effective_users, gain_of

ALL = "all"
Figures = dict[str, float]
Masks = Mapping[str, NDArray[np.bool_]]


def soundness(champion: ModelRun, candidate: ModelRun) -> Figures:
    """How many values of each contender are not finite."""
    return {
        f"not_finite.{who}": float((~np.isfinite([trial.log_loss, trial.ndcg])).sum())
        for who, trial in (("champion", champion), ("candidate", candidate))
    }


def sample_sizes(ground: SharedTargets, masks: Masks, probes: int) -> Figures:
    """How much there is to go by: probe users, and of each slice targets and effective users."""
    targets = {f"targets.{name}": float(mask.sum()) for name, mask in masks.items()}
    users = {f"users.{name}": effective_users(ground.users[mask]) for name, mask in masks.items()}
    return {"probes": float(probes), **targets, **users}


def gains(
    ground: SharedTargets, masks: Masks, champion: ModelRun, candidate: ModelRun, sampling: SamplingConfig
) -> Figures:
    """Of log-loss and NDCG in each slice: both means, and the gain with its bounds."""
    figures = Figures()
    for figure, old, new, better in (
        ("log_loss", champion.log_loss, candidate.log_loss, -1),
        ("ndcg", champion.ndcg, candidate.ndcg, 1),
    ):
        for name, mask in masks.items():
            gain = gain_of(better * (new - old)[mask], ground.users[mask], sampling)
            means = {"champion": float(old[mask].mean()), "candidate": float(new[mask].mean())}
            parts = {**means, "gain": gain.mean, "low": gain.low, "high": gain.high}
            figures |= {f"{figure}.{name}.{part}": value for part, value in parts.items()}
    return figures


def lists(champion: ModelRun, candidate: ModelRun) -> Figures:
    """How stable the lists are, and how diverse.

    Stability is Jaccard's index of a probe user's two lists, in the mean; diversity the number
    of distinct items in all lists (Adomavicius & Kwon 2012, "aggregate diversity").
    """
    pairs = zip(map(set, champion.lists.tolist()), map(set, candidate.lists.tolist()), strict=True)
    shared = [len(old & new) / len(old | new) for old, new in pairs]
    distinct = {"champion": np.unique(champion.lists).size, "candidate": np.unique(candidate.lists).size}
    return {
        "jaccard": float(np.mean(shared)),
        **_compared("diversity", distinct["champion"], distinct["candidate"]),
    }


def costs(champion: ModelRun, candidate: ModelRun) -> Figures:
    """Seconds spent scoring, and bytes of learned state."""
    return {
        **_compared("seconds", champion.seconds, candidate.seconds),
        **_compared("bytes", champion.bytes, candidate.bytes),
    }


def _compared(figure: str, champion: float, candidate: float) -> Figures:
    ratio = candidate / champion
    return {
        f"{figure}.champion": float(champion),
        f"{figure}.candidate": float(candidate),
        f"{figure}.ratio": ratio,
    }
