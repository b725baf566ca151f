"""Bottleneck adapters: a small network after each layer (Houlsby et al. 2019; Pfeiffer et al. 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu

from pipeline.model.families import blocks_of


class Bottleneck(nn.Module):
    """Adds W₂·gelu(W₁·x + b₁) + b₂ to a layer's output x; W₂ and b₂ are initially zero."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Adapt hidden states ``[..., d]``."""
        adapted: Tensor = hidden + self.up(gelu(self.down(hidden)))
        return adapted


def add_bottlenecks(layers: Any, size: int) -> None:
    """Freeze layers and put a bottleneck after each; untrained, it changes nothing."""
    layers.requires_grad_(False)
    for block in blocks_of(layers):
        block.bottleneck = Bottleneck(layers.config.hidden_size, size)
        block.register_forward_hook(_adapt)


def _adapt(block: Any, _: object, output: Any) -> Any:
    """Adapt what a layer returns: its hidden states, or a tuple that begins with them."""
    if isinstance(output, tuple):
        return block.bottleneck(output[0]), *output[1:]
    return block.bottleneck(output)
