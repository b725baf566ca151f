"""The user tower: the backbone's last layers, made causal, over a user's item vectors.

The layers stay frozen; peft LoRA learns beside them (Hu et al. 2021). The tower starts as
the pretrained layer followed by the identity, so that scoring begins in the pretrained
space. Events' type, value and time gap enter as embeddings that are zero at birth.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.model.backbone import Backbone
from pipeline.model.sequences import Packed
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS


@dataclass(frozen=True)
class TowerShape:
    """How many layers of the backbone, and the rank and alpha of the LoRA beside them."""

    layers: int = 1
    lora_rank: int = 8
    lora_alpha: int = 16


class Tower(nn.Module):
    """Item vectors of a history to user vectors, one after each act."""

    def __init__(self, backbone: Backbone, shape: TowerShape) -> None:
        super().__init__()
        self.layers = _last_layers(backbone.model, shape.layers)
        _add_lora(self.layers, shape)
        self.of_type = _born_zero(len(TYPES), backbone.width)
        self.of_value = _born_zero(VALUE_BUCKETS, backbone.width)
        self.of_gap = _born_zero(GAP_BUCKETS, backbone.width)
        self.projection = nn.Parameter(torch.eye(backbone.width))
        self._scale = math.sqrt(backbone.width)

    def forward(self, vectors: Tensor, packed: Packed) -> Tensor:
        """User vectors after each act.

        Args:
            vectors: ``[r, t, d]`` item vectors as packed.
            packed: where the acts are, and what is known of them.

        Returns:
            ``[acts, d]``, in the order of ``packed.places``.
        """
        facts = self.of_type(packed.types) + self.of_value(packed.values) + self.of_gap(packed.gaps)
        hidden = self.layers(
            inputs_embeds=self._scale * vectors + facts,
            attention_mask=packed.mask,
            position_ids=packed.positions,
        ).last_hidden_state
        users: Tensor = hidden.flatten(0, 1)[packed.places] @ self.projection.T / self._scale
        return users


class _VectorsIn(nn.Module):
    """Stands in for an encoder's token embeddings: vectors pass, normalised as tokens are.

    Token and segment positions mean nothing here; the causal mask carries the order.
    """

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.norm = getattr(embeddings, "LayerNorm", nn.Identity())

    def forward(self, inputs_embeds: Tensor, **_: object) -> Tensor:
        normed: Tensor = self.norm(inputs_embeds)
        return normed


def _last_layers(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """A copy of a BERT-like or decoder model that takes vectors and has its last layers only."""
    cut: Any = copy.deepcopy(model)
    blocks = _blocks(cut)
    del blocks[:-count]
    for number, block in enumerate(blocks):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number
    cut.config.num_hidden_layers = count
    cut.config.use_cache = False
    if hasattr(cut, "embeddings"):
        cut.embeddings = _VectorsIn(cut.embeddings)
    else:
        cut.set_input_embeddings(nn.Embedding(1, cut.config.hidden_size))
    if hasattr(cut, "pooler"):
        cut.pooler = None
    last: PreTrainedModel = cut
    return last


def _blocks(model: nn.Module) -> nn.ModuleList:
    """The model's stack of layers: its longest list of modules."""
    return max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len)


def _add_lora(model: nn.Module, shape: TowerShape) -> None:
    """Freeze everything, then put LoRA beside every linear map of the layers."""
    model.requires_grad_(False)
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, part in _blocks(model).named_modules()
            if isinstance(part, nn.Linear)
        }
    )
    config = LoraConfig(r=shape.lora_rank, lora_alpha=shape.lora_alpha, target_modules=linear)
    inject_adapter_in_model(config, model)


def _born_zero(count: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(count, width)
    nn.init.zeros_(embedding.weight)
    return embedding
