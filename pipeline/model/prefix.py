"""Prefixes: keys and values that are learned, which every act attends to beside the acts before it.

Prefix-tuning (Li & Liang 2021) in the form of LLaMA-Adapter (Zhang et al. 2023): what is attended to in a
prefix has a softmax of its own and is added. Its values are initially zero, so that it changes nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pipeline.model.families import run_on_two_acts

ATTENTION = "millstream_prefix"
"""Name by which transformers knows this attention."""


class Prefix(nn.Module):
    """The keys and values ``[length, heads, width]`` of one attention."""

    def __init__(self, length: int, heads: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(length, heads, width))
        self.values = nn.Parameter(torch.zeros(length, heads, width))

    def forward(self, query: Tensor, scaling: float | None) -> Tensor:
        """Attend from queries ``[r, heads, t, width]``: ``[r, t, heads, width]``."""
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        weights = (scaling * torch.einsum("rhtw,phw->rhtp", query, self.keys)).softmax(dim=3)
        return torch.einsum("rhtp,phw->rthw", weights, self.values)


def add_prefix(layers: PreTrainedModel, length: int) -> None:
    """Freeze layers and give each attention a prefix; untrained, it changes nothing.

    Attentions are found by running the layers; where they cannot be replaced, there is no prefix.
    """
    layers.requires_grad_(False)
    layers.set_attn_implementation(ATTENTION)
    with torch.no_grad():
        run_on_two_acts(layers)
    parts: list[Any] = [part for part in layers.modules() if hasattr(part, "prefix")]
    for attention in parts:
        attention.prefix = Prefix(length, *attention.prefix.keys.shape[1:])


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend to the acts before each act and to the prefix; an attention without one gets an empty one."""
    if not hasattr(module, "prefix"):
        module.prefix = Prefix(0, query.shape[1], query.shape[3])
    acts, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return acts + module.prefix(query, scaling), None


AttentionInterface.register(ATTENTION, _attend)
