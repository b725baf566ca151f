"""The Gate's figures on champion and candidate, by name, all finite."""

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


def non_finite_values(champion: ModelRun, candidate: ModelRun) -> Figures:
    """Count the values of each model that are not finite."""
    return {
        f"not_finite.{who}": float((~np.isfinite([run.log_loss, run.ndcg])).sum())
        for who, run in (("champion", champion), ("candidate", candidate))
    }


def sample_sizes(targets: SharedTargets, masks: Masks, probes: int) -> Figures:
    """Count the probe users, and the targets and effective users of each slice."""
    counts = {f"targets.{name}": float(mask.sum()) for name, mask in masks.items()}
    users = {f"users.{name}": effective_users(targets.users[mask]) for name, mask in masks.items()}
    return {"probes": float(probes), **counts, **users}


def gains(
    targets: SharedTargets, masks: Masks, champion: ModelRun, candidate: ModelRun, sampling: SamplingConfig
) -> Figures:
    """Compute for log-loss and NDCG in each slice both means, and the gain with its bounds."""
    figures = Figures()
    for figure, old, new, better in (
        ("log_loss", champion.log_loss, candidate.log_loss, -1),
        ("ndcg", champion.ndcg, candidate.ndcg, 1),
    ):
        for name, mask in masks.items():
            gain = gain_of(better * (new - old)[mask], targets.users[mask], sampling)
            means = {"champion": float(old[mask].mean()), "candidate": float(new[mask].mean())}
            parts = {**means, "gain": gain.mean, "low": gain.low, "high": gain.high}
            figures |= {f"{figure}.{name}.{part}": value for part, value in parts.items()}
    return figures


def lists(champion: ModelRun, candidate: ModelRun) -> Figures:
    """Compute the stability and the diversity of the lists.

    Stability is the mean Jaccard index of each probe user's two lists; diversity is the number
    of distinct items in all lists (Adomavicius & Kwon 2012, "aggregate diversity"). How unlike the items of
    a list are, and how lists spread over the catalogue, is reported beside them.
    """
    pairs = zip(map(set, champion.lists.tolist()), map(set, candidate.lists.tolist()), strict=True)
    shared = [len(old & new) / len(old | new) for old, new in pairs]
    distinct = {"champion": np.unique(champion.lists).size, "candidate": np.unique(candidate.lists).size}
    return {
        "jaccard": float(np.mean(shared)),
        **_with_ratio("diversity", distinct["champion"], distinct["candidate"]),
        **{f"lists.{name}.champion": value for name, value in champion.spread.items()},
        **{f"lists.{name}.candidate": value for name, value in candidate.spread.items()},
    }


def costs(champion: ModelRun, candidate: ModelRun) -> Figures:
    """Compare the seconds spent on scoring, and the bytes of learned state."""
    return {
        **_with_ratio("seconds", champion.seconds, candidate.seconds),
        **_with_ratio("bytes", champion.bytes, candidate.bytes),
    }


def _with_ratio(figure: str, champion: float, candidate: float) -> Figures:
    ratio = candidate / champion
    return {
        f"{figure}.champion": float(champion),
        f"{figure}.candidate": float(candidate),
        f"{figure}.ratio": ratio,
    }
