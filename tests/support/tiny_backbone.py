"""A language model small enough to be made in milliseconds, for tests that need any at all."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizer

SEED = 0
WIDTH = 32
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
# Whole words too, so that texts which share one are alike even to random weights.
WORDS = (
    "red",
    "blue",
    "green",
    "cup",
    "plate",
    "lamp",
    "candle",
    "bag",
    "clock",
    "holder",
    "the",
    "of",
    "set",
)


def tiny_backbone(folder: Path) -> Path:
    """Save a random BERT (two layers, d = 32) with its tokenizer; the same bits each time.

    Returns:
        The folder, for `pipeline.model.backbone.load_backbone`.
    """
    tokens = tiny_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        _model(tokens).save_pretrained(folder)
    return folder


def tiny_tokenizer(folder: Path, **options: Any) -> int:
    """Save a tokenizer; return how many tokens it knows."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [*SPECIAL, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *WORDS]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(pieces) + "\n")
    BertTokenizer(vocab=str(vocabulary), **options).save_pretrained(folder)
    return len(pieces)


def _model(vocabulary: int) -> BertModel:
    return BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * WIDTH,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
