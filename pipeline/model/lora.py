"""LoRA beside a language model's layers (Hu et al. 2021): peft's, with a leaner way forward and back.

peft adds s·B(A(x)) to the frozen map's answer in steps of their own, each with a result and a
gradient of full width. Here the second product adds to what the first one gave.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

ADAPTER = "default"


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The model's stack of layers: its longest list of modules."""
    return max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len)


def add_lora(model: nn.Module, rank: int, alpha: int) -> None:
    """Freeze everything, then put LoRA beside every linear map of the layers; it begins as the identity."""
    model.requires_grad_(False)
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, part in blocks_of(model).named_modules()
            if isinstance(part, (nn.Linear, Conv1D))
        }
    )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear)
    config._register_custom_module({nn.Linear: LoraLinear})
    inject_adapter_in_model(config, model)


class LoraLinear(Linear):
    """peft's LoRA beside an `nn.Linear`; its modules, names and values are peft's."""

    turned: Tensor
    """Wᵀ in memory of its own: the ways forward and back each find their factor in order (measured: a
    twentieth of the way forward)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        weight: Any = self.get_base_layer().weight
        self.register_buffer("turned", weight.detach().T.contiguous(), persistent=False)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ of ``[..., d]``."""
        if torch.is_autocast_enabled(x.device.type):
            mapped: Tensor = super().forward(x, *args, **kwargs)
            return mapped
        frozen, scale = self.get_base_layer(), self.scaling[ADAPTER]
        narrow, wide = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        flat: Tensor = _Mapped.apply(
            x.flatten(0, -2), frozen.weight, self.turned, frozen.bias, narrow, wide, scale
        )
        return flat.view(*x.shape[:-1], -1)


class _Mapped(torch.autograd.Function):
    """The sum of both maps of ``[n, d]``, with gradients for x, A and B; W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        turned: Tensor,
        bias: Tensor | None,
        narrow: Tensor,
        wide: Tensor,
        scale: float,
    ) -> Tensor:
        between = x @ narrow.T
        mapped = (x @ turned).addmm_(between, wide.T, alpha=scale)
        if bias is not None:
            mapped += bias
        ctx.save_for_backward(x, weight, narrow, wide, between)
        ctx.scale = scale
        return mapped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, narrow, wide, between = ctx.saved_tensors
        at_between = ctx.scale * (gradient @ wide)
        at_x = (gradient @ weight).addmm_(at_between, narrow)
        return at_x, None, None, None, at_between.T @ x, ctx.scale * (between.T @ gradient).T, None
