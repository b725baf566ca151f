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
    """Items that every target of a batch is ranked against.

    Attributes:
        items: ``[s]`` catalogue rows, possibly repeated.
        log_expected: ``[n]`` log of how often each catalogue row was expected in the draw.
    """

    items: Tensor
    log_expected: Tensor


def draw_negatives(
    counts: NDArray[np.float64], amount: int, random: np.random.Generator, device: torch.device
) -> Negatives:
    """Draw items, half by their counts ``[n]`` and half uniformly."""
    uniform = np.full(counts.size, 1 / counts.size)
    share = counts / counts.sum() if counts.sum() > 0 else uniform
    chance = UNIFORM_SHARE * uniform + (1 - UNIFORM_SHARE) * share
    items = random.choice(counts.size, size=amount, p=chance / chance.sum())
    expected = np.log(amount * chance).astype(np.float32)
    return Negatives(torch.from_numpy(items).to(device), torch.from_numpy(expected).to(device))


def sampled_softmax(positive: Tensor, negative: Tensor, targets: Tensor, drawn: Negatives) -> Tensor:
    """Loss of each target against the negatives, as if against the whole catalogue.

    Args:
        positive: ``[m]`` logits of the targets.
        negative: ``[m, s]`` logits of the negatives.
        targets: ``[m]`` catalogue rows of the targets.
        drawn: the negatives, with which the logits are corrected (logQ; Bengio & Senécal
            2008, Yi et al. 2019); a negative that is the target itself does not count.

    Returns:
        ``[m]`` negative log-likelihoods.
    """
    own = positive - drawn.log_expected[targets]
    others = negative - drawn.log_expected[drawn.items]
    others = others.masked_fill_(targets.unsqueeze(1) == drawn.items, -torch.inf)
    return torch.logaddexp(own, torch.logsumexp(others, dim=1)) - own
