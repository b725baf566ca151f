"""The user tower: the backbone's last layers, made causal, over the item vectors of a user.

The layers stay frozen and LoRA adapters (Hu et al. 2021) learn, or another way to tune them is chosen; see
`pipeline.model.tuning`. The untrained tower is the pretrained layers followed by the identity, so that
scoring starts in the pretrained space. The type, value and time gap of an event enter as embeddings that are
initially zero.
"""

from __future__ import annotations

import math
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from pipeline.config import ModelSizes
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone, sharing_copy
from pipeline.model.families import additive, attend, blocks_of, family_of
from pipeline.model.sequences import Packed
from pipeline.model.tuning import WITHIN_LAYERS, tuned
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS


class Tower(nn.Module):
    """Maps the item vectors of a history to user vectors, one after each act."""

    def __init__(self, backbone: Backbone, sizes: ModelSizes) -> None:
        """Build the tower from the backbone's last layers, whose weights it shares.

        Raises:
            InvalidSettings: the backbone cannot be made causal, or cannot be tuned in the chosen way.
        """
        super().__init__()
        self.layers = tuned(partial(_last_layers, backbone.model, sizes.layers), sizes)
        self.tuning = sizes.tuning
        self.of_type = _zero_embedding(len(TYPES), backbone.width)
        self.of_value = _zero_embedding(VALUE_BUCKETS, backbone.width)
        self.of_gap = _zero_embedding(GAP_BUCKETS, backbone.width)
        self.projection = nn.Parameter(torch.eye(backbone.width))
        self._scale = math.sqrt(backbone.width)
        self._check_causal()

    def forward(self, vectors: Tensor, packed: Packed) -> Tensor:
        """Compute the user vectors after the acts at ``packed.indices``; other acts are only attended to.

        Args:
            vectors: ``[r, t, d]`` item vectors, laid out as `packed`.
            packed: positions, attention mask and features of the acts.

        Returns:
            ``[m, d]``, in the order of ``packed.indices``.
        """
        features = self.features(packed.types, packed.values, packed.gaps)
        if self.only_layer is None:
            acts = torch.add(features, vectors, alpha=self._scale)
            hidden = attend(self.layers, acts, packed.mask, packed.positions)
            return self.project(hidden.flatten(0, 1).index_select(0, packed.indices))
        acts = self.embed(vectors, features)
        attended = attend_only(self.only_layer, acts, packed.mask)
        chosen = (each.flatten(0, 1).index_select(0, packed.indices) for each in (attended, acts))
        return self.project(after_attention(self.only_layer, *chosen))

    @cached_property
    def only_layer(self) -> BertLayer | None:
        """The tower's layer, if it has one alone and that is BERT's; looking takes half a ms.

        None, too, if what it learns is not within the layer's maps.
        """
        first, *others = blocks_of(self.layers)
        is_within = not others and self.tuning in WITHIN_LAYERS
        return first if is_within and isinstance(first, BertLayer) else None

    def features(self, types: Tensor, values: Tensor, gaps: Tensor) -> Tensor:
        """Compute the embeddings ``[..., d]`` of what acts say beside their items."""
        features: Tensor = self.of_type(types) + self.of_value(values) + self.of_gap(gaps)
        return features

    def embed(self, vectors: Tensor, features: Tensor) -> Tensor:
        """Compute what an encoder's first layer reads, ``[..., d]``, from item vectors and features."""
        acts: Tensor = torch.add(features, vectors, alpha=self._scale)
        embeddings: Any = self.layers.embeddings
        embedded: Tensor = embeddings(inputs_embeds=acts)
        return embedded

    def project(self, hidden: Tensor) -> Tensor:
        """Compute user vectors ``[n, d]`` from hidden states ``[n, d]``."""
        return hidden @ (self.projection.T / self._scale)

    @torch.no_grad()
    def _check_causal(self) -> None:
        """Reject layers that ignore the causal mask: they would see the future when scoring.

        Two sequences that differ only in their second act must agree in the first.

        Raises:
            InvalidSettings: the layers ignore the mask.
        """
        acts = self._scale * torch.eye(len(self.projection))[torch.tensor([[0, 1], [0, 2]])]
        causal = torch.ones(2, 1, 2, 2, dtype=torch.bool).tril()
        one, other = attend(self.layers, acts, causal, torch.arange(2).expand(2, 2))
        if not torch.allclose(one[0], other[0], atol=1e-5):
            raise InvalidSettings(
                f"model.backbone: {type(self.layers).__name__} ignores a causal mask; choose another model"
            )


def attend_only(layer: BertLayer, acts: Tensor, mask: Tensor) -> Tensor:
    """Attend among acts ``[r, t, d]`` under a boolean mask ``[r, 1, t, t]``: ``[r, t, d]``."""
    attended: Tensor = layer.attention.self(acts, attention_mask=additive(mask, acts.dtype))[0]
    return attended


def after_attention(layer: BertLayer, attended: Tensor, acts: Tensor) -> Tensor:
    """Compute what of a layer comes after its attention, for acts ``[m, d]`` that attended."""
    parts: Any = layer
    queried = parts.attention.output(attended, acts)
    found: Tensor = parts.output(parts.intermediate(queried), queried)
    return found


class _VectorInput(nn.Module):
    """Replaces the token embeddings of an encoder: passes vectors on, normalised like tokens.

    It adds no position or segment embeddings: the causal mask already encodes the order.
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
    """Return the last layers of a model, changed to take vectors; weights are shared.

    They are on the CPU, as all that is added to them before a learner moves them: the model may have been
    moved before, with the encoder of texts, and its weights are shared on a CPU alone.
    """
    truncated: Any = sharing_copy(model)
    blocks = blocks_of(truncated)
    family_of(model.config).keep_last(blocks, count)
    for number, block in enumerate(blocks):
        parts: list[Any] = [part for part in block.modules() if hasattr(part, "layer_idx")]
        for part in parts:
            part.layer_idx = number
    _configure(truncated.config, count)
    truncated.set_attn_implementation("eager")  # faster than fused attention on rows this short
    if hasattr(truncated, "embeddings"):
        truncated.embeddings = _VectorInput(truncated.embeddings)
    else:
        truncated.set_input_embeddings(nn.Embedding(1, truncated.config.hidden_size))
    if hasattr(truncated, "pooler"):
        truncated.pooler = None
    last_layers: PreTrainedModel = nn.Module.to(truncated, "cpu")
    return last_layers


def _configure(config: Any, count: int) -> None:
    """Let a configuration say that there are the last layers alone, each of the type that it has."""
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[-count:]
    config.num_hidden_layers = count
    config.use_cache = False


def _zero_embedding(count: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(count, width)
    nn.init.zeros_(embedding.weight)
    return embedding
