"""Low-rank adapters with fewer ranks: of each product, the largest singular values are kept.

LoRA beside each linear map of the tower, and the adapter between content and item vectors, are products of
two narrow matrices. The best approximation of a lower rank keeps the largest singular values (Eckart and
Young 1936). All LoRA of a model have one rank, so the product that needs most decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.config import ModelSizes

IN, OUT = ".lora_A.", ".lora_B."
ADAPTER = "adapter_in", "adapter_out"
Pair = tuple[str, str]
"""Names of the inner matrix ``[r, in]`` and the outer one ``[out, r]`` of a product."""


class _Factors(NamedTuple):
    """A product's singular values ``[r]``, and its singular vectors ``[out, r]`` and ``[r, in]``."""

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of(cls, inner: Tensor, outer: Tensor) -> _Factors:
        """Factor the product of ``[r, in]`` and ``[out, r]`` at the cost of the narrow matrices."""
        (of_outer, upper), (of_inner, lower) = (torch.linalg.qr(part.double()) for part in (outer, inner.T))
        left, values, right = torch.linalg.svd(upper @ lower.T)
        return cls(of_outer @ left, values, right @ of_inner.T)

    def rank(self, share: float) -> int:
        """Return how many values have the share of the sum of their squares; at least one."""
        sums = self.values.square().cumsum(0)
        return 1 + int((sums < share * sums[-1]).sum())

    def pair(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return both matrices of the product with so many singular values."""
        roots = self.values[:rank].sqrt()
        inner, outer = roots.unsqueeze(1) * self.right[:rank], self.left[:, :rank] * roots
        return inner.float().contiguous(), outer.float().contiguous()


def pruned(
    learned: Mapping[str, Tensor], sizes: ModelSizes, share: float
) -> tuple[dict[str, Tensor], ModelSizes]:
    """Prune LoRA and adapter; return all parameters with the sizes that they have then.

    Args:
        learned: the recommender's learned parameters by name; they stay as they are.
        sizes: theirs.
        share: of the sum of squared singular values that is kept of each product.
    """
    adapter, adapter_rank = _pruned_pairs(learned, [ADAPTER], share)
    found, ranks = {**learned, **adapter}, {"adapter_rank": adapter_rank}
    of_lora: list[Pair] = [(name, name.replace(IN, OUT)) for name in learned if IN in name]
    if of_lora:
        lora, ranks["lora_rank"] = _pruned_pairs(learned, of_lora, share)
        # The model multiplies the product of a LoRA by alpha / rank.
        scale = ranks["lora_rank"] / sizes.lora_rank
        found |= lora | {outer: scale * lora[outer] for _, outer in of_lora}
    return found, sizes.model_copy(update=ranks)


def _pruned_pairs(
    learned: Mapping[str, Tensor], pairs: list[Pair], share: float
) -> tuple[dict[str, Tensor], int]:
    """Prune products to one rank; return their matrices by name, and the rank."""
    factors = {pair: _Factors.of(learned[pair[0]], learned[pair[1]]) for pair in pairs}
    rank = max(factor.rank(share) for factor in factors.values())
    found: dict[str, Tensor] = {}
    for pair, factor in factors.items():
        found |= zip(pair, factor.pair(rank), strict=True)
    return found, rank
