"""The supervised objectives: the next item, or all that is left of its basket."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pipeline.model.losses import sampled_softmax
from pipeline.training.objectives.port import Ranking, Supervised

REST = 10
"""Items of the rest of a basket that are wanted at most; each costs a product a target."""


class NextItem:
    """Sampled softmax over the next item alone."""

    def losses(self, ranking: Ranking) -> Tensor:
        """Return the negative log-likelihood of each target: ``[m]``."""
        every = torch.arange(ranking.items.numel(), device=ranking.items.device)
        return sampled_softmax(ranking.own(every, every), ranking.negative, ranking.items, ranking.drawn)


class BasketItems:
    """Binary cross-entropy over many labels: the items from the target to the end of its basket.

    Each label and each negative is a decision of its own: is it wanted, or one of the draws? The logits are
    corrected by the expected number of draws (noise-contrastive estimation; Gutmann & Hyvärinen 2010), so
    they estimate log-probabilities, which the mixer reads. They are normalised by what the draws say of
    their sum, which has no gradient. The labels share the weight of one.
    """

    def losses(self, ranking: Ranking) -> Tensor:
        """Return the loss of each target: ``[m]``."""
        drawn = ranking.drawn
        user, label = _labels(ranking.baskets)
        against = ranking.negative - drawn.log_expected(drawn.items)
        log_sum = torch.logsumexp(against.detach(), dim=1)
        logits = ranking.own(user, label) - log_sum[user] - drawn.log_expected(ranking.items)[label]
        labels = torch.bincount(user, minlength=ranking.items.numel())
        unwanted = softplus(against - log_sum.unsqueeze(1)).sum(dim=1)
        return unwanted.index_add(0, user, softplus(-logits) / labels[user])


def _labels(baskets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of a target and each of the next `REST` of its basket, itself first: ``[k]`` each."""
    every = torch.arange(baskets.numel(), device=baskets.device)
    pairs = [(every[: len(every) - lag], every[lag:]) for lag in range(min(REST, len(every)))]
    users, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    same = baskets[users] == baskets[labels]
    return users[same], labels[same]


class TypeObjectives:
    """One objective for targets of some types of acts, another for all others."""

    def __init__(self, types: Sequence[int], chosen: Supervised, other: Supervised) -> None:
        self._types = torch.tensor(types, dtype=torch.int64)
        self._chosen, self._other = chosen, other

    def losses(self, ranking: Ranking) -> Tensor:
        """Return the loss of each target: ``[m]``."""
        is_chosen = torch.isin(ranking.types, self._types.to(ranking.types.device))
        if not is_chosen.any():
            return self._other.losses(ranking)
        if is_chosen.all():
            return self._chosen.losses(ranking)
        return torch.where(is_chosen, self._chosen.losses(ranking), self._other.losses(ranking))
