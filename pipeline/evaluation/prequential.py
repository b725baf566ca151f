"""Prequential evaluation: how well each scorer predicted events before they were learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.lists import CUTOFF, NO_LISTS, Lists

SCORERS = ("model", "covisitation", "popularity", "mixture")
SLICES = (
    "all",
    "first_of_basket",
    "first_of_user",
    "cold",
    "new_items",
    "tail",
    "new_users",
    "dormant",
    "returning",
)
"""All targets, and cohorts of them; see `pipeline.training.cohorts`."""
FULL_RANKING, AUDITED = "full_ranking", "audited"
"""The mixture over all items instead of candidates, and the slice of targets that are ranked in full."""
Report = dict[str, dict[str, dict[str, float | None]]]
"""Figures by scorer, slice and name; None if nothing was scored."""


@dataclass(frozen=True)
class TargetScores:
    """The scores that one scorer gave to m targets.

    Attributes:
        ranks: ``[m]`` rank of the target among all items, from 1; ties count half. Where few items were
            candidates, among these; a target that was none has the last rank of all.
        log_probabilities: ``[m]`` natural logs.
        recalls: ``[m]`` share of the best items of a full ranking that were candidates; None if none were.
    """

    ranks: NDArray[np.float64]
    log_probabilities: NDArray[np.float64]
    recalls: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Targets:
    """The m targets of a batch, before they are scored.

    Attributes:
        users: user of each target.
        pasts: ``[m]`` number of known acts of the user before the target.
        acts: ``[m]`` number of acts on the item before.
    """

    users: list[str]
    pasts: NDArray[np.int64]
    acts: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Scores of all scorers for the m targets of one batch.

    Attributes:
        targets: the targets.
        by_scorer: scores of each scorer.
        slices: ``[m]`` masks by slice.
        loss: the loss that the learner minimised; NaN if it learned nothing.
        quarantined: whether a value was not finite, so that the batch was only folded.
        audited: ``[m]`` which targets were ranked in full, too; None if none was.
        lists: what some users would have been shown.
    """

    targets: Targets
    by_scorer: dict[str, TargetScores]
    slices: dict[str, NDArray[np.bool_]]
    loss: float
    quarantined: bool = False
    audited: NDArray[np.bool_] | None = None
    lists: Lists = NO_LISTS

    def slices_of(self, scorer: str) -> dict[str, NDArray[np.bool_]]:
        """Return the slices over which a scorer's figures are averaged."""
        if self.audited is None:
            return self.slices
        if scorer == FULL_RANKING:
            return {AUDITED: self.audited}
        return {**self.slices, AUDITED: self.audited} if scorer == "mixture" else self.slices


def rank_targets(log_probabilities: Tensor, targets: Tensor) -> TargetScores:
    """Rank targets ``[m]`` among all items by their log-probabilities ``[m, n]``."""
    own = log_probabilities.gather(1, targets.unsqueeze(1))
    above_less_below = (log_probabilities - own).sign_().sum(dim=1).double()
    ranks = (1 + log_probabilities.shape[1] + above_less_below) / 2
    return TargetScores(ranks.cpu().numpy(), own.squeeze(1).double().cpu().numpy())


def rank_among(
    log_probabilities: Tensor, columns: Tensor, is_candidate: Tensor, is_found: Tensor, size: int
) -> TargetScores:
    """Rank targets among their candidates; a target that was not found has the last rank of all items.

    Args:
        log_probabilities: ``[m, c]`` of candidates.
        columns: ``[m]`` where the targets are among them.
        is_candidate: ``[m, c]`` which columns count.
        is_found: ``[m]`` whether the target was retrieved, and not only scored.
        size: number of all items.
    """
    own = log_probabilities.gather(1, columns.unsqueeze(1))
    above, equal = (log_probabilities > own) & is_candidate, (log_probabilities == own) & is_candidate
    ranks = (1 + equal.sum(dim=1)).double() / 2 + above.sum(dim=1)
    ranks = torch.where(is_found, ranks, float(size))
    return TargetScores(ranks.cpu().numpy(), own.squeeze(1).double().cpu().numpy())


def rank_by_shared_scores(log_probabilities: Tensor, own: Tensor, size: int) -> TargetScores:
    """Rank targets of log-probabilities ``[m]`` among those of `size` items, which all targets share.

    Those ``[k]`` of the most popular items are enough: a target that is above none of them, with which any
    number of others may be tied, has the last rank of all items.
    """
    # NumPy, because torch sorts indices, too: four times as long.
    order = torch.from_numpy(np.sort(log_probabilities.cpu().numpy())).to(own.device)
    below, up_to = torch.searchsorted(order, own), torch.searchsorted(order, own, right=True)
    ranks = 1 + len(order) - (below + up_to + 1).double() / 2
    if len(order) < size:
        ranks[below == 0] = size
    return TargetScores(ranks.cpu().numpy(), own.double().cpu().numpy())


def concatenate(parts: Sequence[TargetScores]) -> TargetScores:
    """Concatenate the scores of several parts."""
    recalls = [part.recalls for part in parts if part.recalls is not None]
    return TargetScores(
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.log_probabilities for part in parts]),
        np.concatenate(recalls) if recalls else None,
    )


def per_target(by_scorer: TargetScores) -> dict[str, NDArray[np.float64]]:
    """Compute the figures of each target: hit, reciprocal rank and gain up to the cutoff, log-loss."""
    hit = by_scorer.ranks <= CUTOFF
    recall = {} if by_scorer.recalls is None else {"recall@20": by_scorer.recalls}
    return {
        "hr@20": hit.astype(np.float64),
        "mrr@20": hit / by_scorer.ranks,
        "ndcg@20": hit / np.log2(1 + by_scorer.ranks),
        "log_loss": -by_scorer.log_probabilities,
        **recall,
    }


def empty_scores() -> Scores:
    """Return empty scores for a batch that was folded only."""
    none = TargetScores(np.zeros(0), np.zeros(0))
    no_mask, no_numbers = np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64)
    no_targets = Targets([], no_numbers, no_numbers)
    return Scores(no_targets, dict.fromkeys(SCORERS, none), dict.fromkeys(SLICES, no_mask), float("nan"))


@dataclass
class Quality:
    """Means of the figures, for each scorer and slice.

    Attributes:
        half_life: number of targets after which a score counts half; None for equal weights.
    """

    half_life: float | None = None
    _sums: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def add(self, scores: Scores) -> None:
        """Add the scores of a batch."""
        decay = 0.5 ** (scores.slices["all"].size / self.half_life) if self.half_life else 1.0
        for scorer, by_scorer in scores.by_scorer.items():
            figures = {"n": np.ones_like(by_scorer.ranks), **per_target(by_scorer)}
            values = np.stack(list(figures.values()))
            for name, mask in scores.slices_of(scorer).items():
                sums = self._sums.setdefault((scorer, name), dict.fromkeys(figures, 0.0))
                for figure, total in zip(figures, values[:, mask].sum(axis=1).tolist(), strict=True):
                    sums[figure] = decay * sums[figure] + total

    def merge(self, other: Quality) -> None:
        """Add the sums of another one; neither may have a half-life."""
        for key, sums in other._sums.items():
            own = self._sums.setdefault(key, dict.fromkeys(sums, 0.0))
            for figure, total in sums.items():
                own[figure] += total

    def report(self) -> Report:
        """Return the means, each with the (decayed) number ``n`` of its targets."""
        tables: Report = {}
        for (scorer, name), sums in self._sums.items():
            n = sums["n"]
            means = {figure: total / n if n else None for figure, total in sums.items() if figure != "n"}
            tables.setdefault(scorer, {})[name] = {"n": n if self.half_life else int(n), **means}
        return tables
