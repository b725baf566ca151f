"""LoRA on the layers of a language model (Hu et al. 2021): peft's, with cheaper passes.

peft adds s·B(A(x)) to the output of the frozen map in separate steps, each with an intermediate
result and a gradient of full width. Here the last product accumulates into the output of the
frozen map.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from pipeline.model.device import fast_products
from pipeline.model.families import blocks_of

Module = TypeVar("Module", bound=nn.Module)
ADAPTER = "default"


def add_lora(model: nn.Module, rank: int, alpha: int, *, decomposed: bool = False) -> None:
    """Freeze a model and add LoRA to every linear map of its layers; untrained, it changes nothing.

    Decomposed, it is DoRA (Liu et al. 2024), as peft has it: the lengths of the maps' rows learn, too.
    """
    model.requires_grad_(False)
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, part in blocks_of(model).named_modules()
            if isinstance(part, (nn.Linear, Conv1D))
        }
    )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear, use_dora=decomposed)
    if not decomposed:
        config._register_custom_module({nn.Linear: LoraLinear})
    inject_adapter_in_model(config, model)


class LoraLinear(Linear):
    """peft's LoRA on an `nn.Linear`; modules, parameter names and values are those of peft."""

    transposed: Tensor
    """A contiguous copy of Wᵀ, so that both passes read their factor in memory order (measured: a
    twentieth of the forward pass)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        weight: Any = self.get_base_layer().weight
        self.register_buffer("transposed", weight.detach().T.contiguous(), persistent=False)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ for x ``[..., d]``."""
        if torch.is_autocast_enabled(x.device.type):
            # `_Mapped` has no mixed-precision variant: use peft's own.
            mapped: Tensor = super().forward(x, *args, **kwargs)
            return mapped
        frozen, scale = self.get_base_layer(), self.scaling[ADAPTER]
        narrow, wide = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        flat: Tensor = _Mapped.apply(
            x.flatten(0, -2), frozen.weight, self.transposed, frozen.bias, narrow, wide, scale
        )
        return flat.view(*x.shape[:-1], -1)


def matrix_of(linear: nn.Module, width: int) -> tuple[Tensor, Tensor]:
    """Return what an affine map does to vectors ``[width]``: a matrix ``[width, k]`` and an offset ``[k]``.

    LoRA's are put together of their parts; any other map is asked, which takes fifteen times as long.
    """
    if isinstance(linear, LoraLinear):
        parts: Any = linear
        narrow, wide, bias = parts.lora_A[ADAPTER].weight, parts.lora_B[ADAPTER].weight, parts.base_layer.bias
        matrix = torch.addmm(linear.transposed, narrow.T, wide.T, alpha=linear.scaling[ADAPTER])
        return matrix, matrix.new_zeros(matrix.shape[1]) if bias is None else bias
    offset: Tensor = linear(torch.zeros(1, width))
    return linear(torch.eye(width)) - offset, offset[0]


def folded(model: Module) -> Module:
    """Copy a model with every `LoraLinear` as one map of its sum, as it is now; the rest is shared.

    One product instead of three, and none of autograd's overhead: for servers.
    """
    made: dict[int, Any] = {id(part): part for part in (*model.parameters(), *model.buffers())}
    for part in model.modules():
        if isinstance(part, LoraLinear):
            made[id(part)] = _one_map(part)
    return copy.deepcopy(model, made)


def _one_map(linear: LoraLinear) -> nn.Linear:
    parts: Any = linear
    frozen, narrow, wide = parts.get_base_layer(), parts.lora_A[ADAPTER].weight, parts.lora_B[ADAPTER].weight
    mapped = nn.Linear(frozen.in_features, frozen.out_features, bias=False, device="meta")
    weight = torch.addmm(frozen.weight, wide, narrow, alpha=linear.scaling[ADAPTER])
    mapped.weight = nn.Parameter(weight, requires_grad=False)
    mapped.bias = frozen.bias
    return mapped


class _Mapped(torch.autograd.Function):
    """The sum of the frozen and the LoRA map of ``[n, d]``; gradients for x, A and B only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        transposed: Tensor,
        bias: Tensor | None,
        narrow: Tensor,
        wide: Tensor,
        scale: float,
    ) -> Tensor:
        between = x @ narrow.T
        with fast_products():
            mapped = x @ transposed
        mapped.addmm_(between, wide.T, alpha=scale)
        if bias is not None:
            mapped += bias
        ctx.save_for_backward(x, weight, narrow, wide, between)
        ctx.scale = scale
        return mapped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, narrow, wide, between = ctx.saved_tensors
        between_grad = ctx.scale * (gradient @ wide)
        with fast_products():
            x_grad = gradient @ weight
        x_grad.addmm_(between_grad, narrow)
        return x_grad, None, None, None, between_grad.T @ x, ctx.scale * (between.T @ gradient).T, None
