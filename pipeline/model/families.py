"""What families of language models do each in their own way; everything else is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel

Blocks = nn.ModuleList


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a boolean mask to what is added to the scores of attention."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)


def _additive(mask: Tensor, positions: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    return {"attention_mask": additive(mask, dtype), "position_ids": positions}


def _permutation(mask: Tensor, positions: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """XLNet's mask of whom a position does not attend to; its positions are relative."""
    return {"perm_mask": (~mask).squeeze(1).to(dtype), "use_mems": False}


def _keep_last(blocks: Blocks, count: int) -> None:
    del blocks[:-count]


def _keep_last_with_bias(blocks: Blocks, count: int) -> None:
    """T5's first layer holds the bias by distance of them all."""
    first: Any = blocks[0]
    del blocks[:-count]
    holder, kept = first.layer[0].SelfAttention, blocks[0].layer[0].SelfAttention  # type: ignore[union-attr,index]
    if not kept.has_relative_attention_bias:
        kept.has_relative_attention_bias = True
        kept.relative_attention_bias = holder.relative_attention_bias


@dataclass(frozen=True)
class Family:
    """How the models of a family are loaded, run and cut.

    Attributes:
        auto_class: loads the model without its head; of an encoder and a decoder, the encoder.
        masked: makes the arguments that mask attention from a boolean mask ``[r, 1, t, t]``, positions
            ``[r, t]`` and the type of the numbers.
        keep_last: deletes all layers but the last ones.
        scaled: names of the maps that (IA)³ scales; None where peft knows them.
        scaled_inputs: those of them that have their input scaled, not their output.
    """

    auto_class: type[Any] = AutoModel
    masked: Callable[[Tensor, Tensor, torch.dtype], dict[str, Any]] = _additive
    keep_last: Callable[[Blocks, int], None] = _keep_last
    scaled: list[str] | None = None
    scaled_inputs: list[str] | None = None


_T5 = Family(auto_class=AutoModelForTextEncoding, keep_last=_keep_last_with_bias)
_FAMILIES = {
    "distilbert": Family(scaled=["k_lin", "v_lin", "lin2"], scaled_inputs=["lin2"]),
    "mpnet": Family(scaled=["attn.k", "attn.v", "output.dense"], scaled_inputs=["output.dense"]),
    "mt5": _T5,
    "t5": _T5,
    "umt5": _T5,
    # Keys and values of XLNet are no modules that could be scaled.
    "xlnet": Family(masked=_permutation, scaled=["layer_2"], scaled_inputs=["layer_2"]),
}


def family_of(config: PreTrainedConfig) -> Family:
    """Return the family of models with a configuration; most need nothing of their own."""
    return _FAMILIES.get(config.model_type, Family())


def blocks_of(model: nn.Module) -> Blocks:
    """Return the stack of layers of a model: its longest list of modules that is part of no other one."""
    return max(_lists(model), key=len)


def _lists(model: nn.Module) -> list[Blocks]:
    found: list[Blocks] = []
    for part in model.children():
        found += [part] if isinstance(part, nn.ModuleList) else _lists(part)
    return found


def attend(layers: PreTrainedModel, acts: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Compute hidden states ``[r, t, d]`` of acts ``[r, t, d]`` under a boolean mask ``[r, 1, t, t]``."""
    masked = family_of(layers.config).masked(mask, positions, acts.dtype)
    hidden: Tensor = layers(inputs_embeds=acts, **masked).last_hidden_state
    return hidden


def run_on_two_acts(layers: PreTrainedModel) -> Tensor:
    """Compute hidden states ``[1, 2, d]`` of two acts that are always the same, to see what layers do."""
    acts = torch.linspace(-1, 1, 2 * layers.config.hidden_size).view(1, 2, -1)
    causal = torch.ones(1, 1, 2, 2, dtype=torch.bool).tril()
    return attend(layers, acts, causal, torch.arange(2).expand(1, 2))
