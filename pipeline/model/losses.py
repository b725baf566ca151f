"""The learning objective: next-item ranking over shared sampled negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIFORM_SHARE = 0.5


@dataclass(frozen=True)
class Negatives:
    """Sampled items that all targets of a batch are ranked against.

    Attributes:
        items: ``[s]`` catalogue rows, possibly repeated.
        log_expected: ``[n]`` log of the expected number of draws of each catalogue row.
    """

    items: Tensor
    log_expected: Tensor


def draw_negatives(
    counts: NDArray[np.float64], count: int, random: np.random.Generator, device: torch.device
) -> Negatives:
    """Draw `count` items with replacement, half in proportion to `counts` ``[n]`` and half uniformly."""
    uniform = np.full(counts.size, 1 / counts.size)
    share = counts / counts.sum() if counts.sum() > 0 else uniform
    chance = UNIFORM_SHARE * uniform + (1 - UNIFORM_SHARE) * share
    items = random.choice(counts.size, size=count, p=chance / chance.sum())
    expected = np.log(count * chance).astype(np.float32)
    return Negatives(torch.from_numpy(items).to(device), torch.from_numpy(expected).to(device))


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
    target_logits = positive - drawn.log_expected[targets]
    other_logits = negative - drawn.log_expected[drawn.items]
    other_logits = other_logits.masked_fill_(targets.unsqueeze(1) == drawn.items, -torch.inf)
    return torch.logaddexp(target_logits, torch.logsumexp(other_logits, dim=1)) - target_logits
