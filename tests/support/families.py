"""A random model of each family of language models, small enough to be made in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    XLNetConfig,
    XLNetModel,
)

from tests.support.tiny_backbone import WIDTH, tiny_tokenizer

HEADS = 2
POSITIONS = 64

Making = Callable[[int, int], PreTrainedModel]
"""Makes a model of so many layers and tokens; its weights are drawn from torch's global generator."""


def _sizes(layers: int, tokens: int) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
        "vocab_size": tokens,
        "pad_token_id": 0,
    }


def _distilbert(layers: int, tokens: int) -> PreTrainedModel:
    sizes: dict[str, Any] = {"dim": WIDTH, "hidden_dim": 2 * WIDTH, "n_layers": layers, "n_heads": HEADS}
    return DistilBertModel(
        DistilBertConfig(vocab_size=tokens, max_position_embeddings=POSITIONS, pad_token_id=0, **sizes)
    )


def _gpt2(layers: int, tokens: int) -> PreTrainedModel:
    sizes: dict[str, Any] = {"n_embd": WIDTH, "n_layer": layers, "n_head": HEADS, "n_positions": POSITIONS}
    return GPT2Model(GPT2Config(vocab_size=tokens, **sizes))


def _xlnet(layers: int, tokens: int) -> PreTrainedModel:
    sizes: dict[str, Any] = {"d_model": WIDTH, "n_layer": layers, "n_head": HEADS, "d_inner": 2 * WIDTH}
    return XLNetModel(XLNetConfig(vocab_size=tokens, **sizes))


def _t5(layers: int, tokens: int) -> PreTrainedModel:
    sizes: dict[str, Any] = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 2 * WIDTH, "num_heads": HEADS}
    return T5EncoderModel(T5Config(vocab_size=tokens, num_layers=layers, **sizes))


FAMILIES: dict[str, Making] = {
    "bert": lambda layers, tokens: BertModel(BertConfig(**_sizes(layers, tokens))),
    "roberta": lambda layers, tokens: RobertaModel(RobertaConfig(**_sizes(layers, tokens))),
    "distilbert": _distilbert,
    "mpnet": lambda layers, tokens: MPNetModel(MPNetConfig(**_sizes(layers, tokens))),
    "xlnet": _xlnet,
    "gpt2": _gpt2,
    "llama": lambda layers, tokens: LlamaModel(LlamaConfig(num_key_value_heads=1, **_sizes(layers, tokens))),
    "qwen2": lambda layers, tokens: Qwen2Model(Qwen2Config(num_key_value_heads=1, **_sizes(layers, tokens))),
    "t5": _t5,
}


def model_of(family: str, layers: int = 2, tokens: int = 9) -> PreTrainedModel:
    """Make a model as `load_backbone` returns it: frozen, without dropout; the same bits each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return frozen(FAMILIES[family](layers, tokens))


def frozen(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze a model and leave out its dropout."""
    torch.nn.Module.eval(model)
    model.requires_grad_(False)
    return model


def backbone_of(family: str, folder: Path) -> Path:
    """Save a model of a family with a tokenizer; return the folder, for `load_backbone`."""
    tokens = tiny_tokenizer(folder, model_input_names=["input_ids", "attention_mask"])
    model_of(family, tokens=tokens).save_pretrained(folder)
    return folder
