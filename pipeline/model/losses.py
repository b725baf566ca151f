"""The learning objective: next-item ranking over shared sampled negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.state.popularity import DecayedPopularity

UNIFORM_SHARE = 0.5


@dataclass(frozen=True)
class Negatives:
    """Sampled items that all targets of a batch are ranked against.

    Attributes:
        items: ``[s]`` catalogue rows, possibly repeated.
        log_expected: returns the log of the expected number of draws of each of some catalogue rows.
    """

    items: Tensor
    log_expected: Callable[[Tensor], Tensor]


def draw_negatives(
    popularity: DecayedPopularity, count: int, random: np.random.Generator, device: torch.device
) -> Negatives:
    """Draw `count` items with replacement, half uniformly and half in proportion to their popularity.

    What is expected is looked up in the counts, so it must be asked for before they change.
    """
    total = popularity.total
    uniform = math.ceil(UNIFORM_SHARE * count) if total > 0 else count
    popular = count - uniform
    items = [random.integers(popularity.size, size=uniform), popularity.draw(popular, random)]

    def log_expected(rows: Tensor) -> Tensor:
        counts = popularity.of(rows.cpu().numpy())
        expected = uniform / popularity.size + popular * counts / (total or 1)
        return torch.from_numpy(np.log(expected).astype(np.float32)).to(rows.device)

    return Negatives(torch.from_numpy(np.concatenate(items)).to(device), log_expected)


def sampled_softmax(positive: Tensor, negative: Tensor, targets: Tensor, drawn: Negatives) -> Tensor:
    """Estimate the softmax loss over the whole catalogue from sampled negatives.

    The logits are corrected by the expected number of draws (logQ; Bengio & Senécal 2008, Yi et al.
    2019). A negative that is the target itself is ignored.

    Args:
        positive: ``[m]`` logits of the targets.
        negative: ``[m, s]`` logits of the negatives.
        targets: ``[m]`` catalogue rows of the targets.
        drawn: the negatives.

    Returns:
        ``[m]`` negative log-likelihoods.
    """
    target_logits = positive - drawn.log_expected(targets)
    other_logits = negative - drawn.log_expected(drawn.items)
    other_logits = other_logits.masked_fill_(targets.unsqueeze(1) == drawn.items, -torch.inf)
    return torch.logaddexp(target_logits, torch.logsumexp(other_logits, dim=1)) - target_logits
