"""The user tower: the backbone's last layers, made causal, over a user's item vectors.

The layers stay frozen; peft LoRA learns beside them (Hu et al. 2021). The tower starts as
the pretrained layer followed by the identity, so that scoring begins in the pretrained
space. Events' type, value and time gap enter as embeddings that are zero at birth.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.config import ModelSizes
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.lora import add_lora, blocks_of
from pipeline.model.sequences import Packed
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS


class Tower(nn.Module):
    """Item vectors of a history to user vectors, one after each act."""

    def __init__(self, backbone: Backbone, sizes: ModelSizes) -> None:
        """Cut the backbone's last layers out of a copy.

        Raises:
            InvalidSettings: the backbone cannot be made causal.
        """
        super().__init__()
        self.layers = _last_layers(backbone.model, sizes.layers)
        add_lora(self.layers, sizes.lora_rank, sizes.lora_alpha)
        self.of_type = _born_zero(len(TYPES), backbone.width)
        self.of_value = _born_zero(VALUE_BUCKETS, backbone.width)
        self.of_gap = _born_zero(GAP_BUCKETS, backbone.width)
        self.projection = nn.Parameter(torch.eye(backbone.width))
        self._scale = math.sqrt(backbone.width)
        self._check_causal()

    def forward(self, vectors: Tensor, packed: Packed) -> Tensor:
        """User vectors after each act.

        Args:
            vectors: ``[r, t, d]`` item vectors as packed.
            packed: where the acts are, and what is known of them.

        Returns:
            ``[acts, d]``, in the order of ``packed.places``.
        """
        facts = self.of_type(packed.types) + self.of_value(packed.values) + self.of_gap(packed.gaps)
        acts = torch.add(facts, vectors, alpha=self._scale)
        hidden = self._attend(acts, packed.mask, packed.positions)
        users = hidden.flatten(0, 1) @ (self.projection.T / self._scale)
        return users.index_select(0, packed.indices)

    def _attend(self, acts: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Hidden states ``[r, t, d]`` of the layers, with a boolean mask ``[r, 1, t, t]``."""
        added = torch.zeros_like(mask, dtype=acts.dtype).masked_fill(~mask, -torch.inf)
        output = self.layers(inputs_embeds=acts, attention_mask=added, position_ids=positions)
        hidden: Tensor = output.last_hidden_state
        return hidden

    @torch.no_grad()
    def _check_causal(self) -> None:
        """Refuse layers that make something else of our mask: they would score by looking ahead."""
        with self.layers.device:
            acts = self._scale * torch.eye(len(self.projection))[torch.tensor([[0, 1], [0, 2]])]
            causal = torch.ones(2, 1, 2, 2, dtype=torch.bool).tril()
            one, other = self._attend(acts, causal, torch.arange(2).expand(2, 2))
        if not torch.allclose(one[0], other[0], atol=1e-5):
            raise InvalidSettings(
                f"model.backbone: {type(self.layers).__name__} ignores a causal mask; choose another model"
            )


class _VectorsIn(nn.Module):
    """Stands in for an encoder's token embeddings: vectors pass, normalised as tokens are.

    Token and segment positions mean nothing here; the causal mask carries the order.
    """

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.norm = getattr(embeddings, "LayerNorm", nn.Identity())

    def forward(
        self, input_ids: None = None, inputs_embeds: Tensor | None = None, *_: object, **__: object
    ) -> Tensor:
        normed: Tensor = self.norm(inputs_embeds)
        return normed


def _last_layers(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """A copy of a BERT-like or decoder model that takes vectors and has its last layers only."""
    cut: Any = copy.deepcopy(model)
    blocks = blocks_of(cut)
    del blocks[:-count]
    for number, block in enumerate(blocks):
        parts: list[Any] = [part for part in block.modules() if hasattr(part, "layer_idx")]
        for part in parts:
            part.layer_idx = number
    cut.config.num_hidden_layers = count
    cut.config.use_cache = False
    cut.set_attn_implementation("eager")  # faster than fused attention on rows as short as ours
    if hasattr(cut, "embeddings"):
        cut.embeddings = _VectorsIn(cut.embeddings)
    else:
        cut.set_input_embeddings(nn.Embedding(1, cut.config.hidden_size))
    if hasattr(cut, "pooler"):
        cut.pooler = None
    last: PreTrainedModel = cut
    return last


def _born_zero(count: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(count, width)
    nn.init.zeros_(embedding.weight)
    return embedding
