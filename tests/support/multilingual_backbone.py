"""A tiny language model that reads every script: its tokens are bytes, and no text is unknown to it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from tests.support.families import model_of

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}


def multilingual_backbone(folder: Path) -> Path:
    """Save a random BERT with a tokenizer of bytes; return the folder, for `load_backbone`."""
    tokens = [*SPECIAL.values(), *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
    made.save_pretrained(folder)
    model_of("bert", tokens=len(tokens)).save_pretrained(folder)
    return folder
