"""Products with frozen weights in 8 bits a number, for servers on a CPU.

Weights have one scale for each output, and every input vector one of its own (dynamic quantisation). The sum
of a product is exact in 32 bits, so that what a vector becomes does not depend on the vectors beside it.
LoRA stays in float32 beside the frozen map, and learns on: a new snapshot changes no weight in 8 bits.
Measured in torch 2.15: its own quantised tensors are about as fast and will be removed; torchao, not
compiled, takes longer than float32 for the tens of rows of a request.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from pipeline.model.encoded_vectors import rounded
from pipeline.model.lora import ADAPTER, LoraLinear


class Int8Linear(nn.Module):
    """A frozen linear map, rounded to 8 bits."""

    codes: Tensor
    scales: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight  # some models look at its type; it is the backbone's memory
        weight = linear.weight.detach()
        codes, scales = rounded(weight)
        bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach()
        for name, buffer in (("codes", codes.T.contiguous()), ("scales", scales[:, 0]), ("bias", bias)):
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x·Wᵀ + b for x ``[..., d]``."""
        codes, scales = rounded(x.flatten(0, -2))
        products = torch._int_mm(codes, self.codes).float()
        mapped = torch.addcmul(self.bias, products.mul_(scales), self.scales)
        return mapped.view(*x.shape[:-1], -1)


class Int8LoraLinear(nn.Module):
    """A frozen linear map, rounded to 8 bits, and the LoRA beside it, under the names that peft gives it."""

    def __init__(self, linear: LoraLinear) -> None:
        super().__init__()
        frozen: Any = linear.get_base_layer()
        self.frozen = Int8Linear(frozen)
        self.lora_A, self.lora_B = linear.lora_A, linear.lora_B
        self._scale = linear.scaling[ADAPTER]

    def forward(self, x: Tensor) -> Tensor:
        """Compute x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ for x ``[..., d]``."""
        flat, narrow, wide = x.flatten(0, -2), self._weight(self.lora_A), self._weight(self.lora_B)
        mapped: Tensor = self.frozen(flat)
        return mapped.addmm_(flat @ narrow.T, wide.T, alpha=self._scale).view(*x.shape[:-1], -1)

    @property
    def weight(self) -> Tensor:
        """The frozen weight as it is in the backbone."""
        return self.frozen.weight

    @staticmethod
    def _weight(part: Any) -> Tensor:
        weight: Tensor = part[ADAPTER].weight
        return weight


def use_int8_products(model: nn.Module) -> int:
    """Round the frozen linear maps of a model, in place; return how many there are.

    Those that learn stay, and those that peft mixes with what learns, but for LoRA's.
    """
    count = 0
    for name, part in model.named_children():
        if (made := _rounded_map(part)) is not None:
            setattr(model, name, made)
            count += 1
        elif not isinstance(part, BaseTunerLayer):
            count += use_int8_products(part)
    return count


def _rounded_map(part: nn.Module) -> nn.Module | None:
    if isinstance(part, LoraLinear):
        return Int8LoraLinear(part)
    if isinstance(part, nn.Linear) and not part.weight.requires_grad:
        return Int8Linear(part)
    return None
