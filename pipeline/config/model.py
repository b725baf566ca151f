"""Settings of the language model, and the sizes of what is learned beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.config.base import Config, Layers, Rank, Text, Threads


class ModelConfig(Config):
    """[model] The pretrained language model and where it runs. Another one needs another log.prefix."""

    backbone: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """A folder, or a name on the hub; the default comes with the installation."""
    max_tokens: Annotated[int, Field(ge=1, le=8_192)] = 24
    """Tokens of an item's text that are read; the rest is cut off."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto` takes CUDA where there is a GPU; servers always compute on the CPU."""
    threads: Threads = 1
    """Torch threads of each daemon; more than there are free cores makes it many times slower."""
    cache: Path = Path(".cache/content")
    """Folder of content vectors by digest, shared by all processes of the machine."""


class ModelSizes(Config):
    """[learn.sizes] Sizes that a checkpoint, a snapshot and their readers must agree on."""

    layers: Layers = 1
    """Last layers of the backbone that read a user's history."""
    lora_rank: Rank = 8
    """Rank of the LoRA beside each linear map of these layers."""
    lora_alpha: Rank = 16
    """Scale of the LoRA: its product is multiplied by lora_alpha / lora_rank."""
    adapter_rank: Rank = 64
    """Rank of the linear adapter between content vectors and item vectors."""
