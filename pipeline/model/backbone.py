"""Load the pretrained language model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from pipeline.config import ModelConfig
from pipeline.model.backbone_files import DEFAULT, gguf_in, locate
from pipeline.model.dequantised import dequantised
from pipeline.model.families import family_of

CACHE = ModelConfig().cache
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Backbone:
    """A pretrained language model, frozen, in evaluation mode, loaded on the CPU.

    Attributes:
        model: the model without its head; its `hidden_size` is d.
        tokenizer: the tokenizer of the model.
        digest: sha256 of the weight files.
    """

    model: PreTrainedModel
    tokenizer: Any
    digest: str

    @property
    def width(self) -> int:
        """d, the size of its hidden states."""
        return int(self.model.config.hidden_size)


def load_backbone(name: str = DEFAULT, cache: Path = CACHE) -> Backbone:
    """Load a backbone by path or name; its weights are a map of their file, which processes share.

    A GGUF file is converted under `cache` first, unless it was.

    Raises:
        BackboneNotFound: the model was not found or cannot be read, or the package's weights are not the
            pinned ones.
    """
    folder, digest = locate(name)
    quantised = gguf_in(folder)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if quantised:
        folder = dequantised(quantised, digest, cache)
    auto_class = family_of(AutoConfig.from_pretrained(folder)).auto_class
    model = auto_class.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    return Backbone(model, AutoTokenizer.from_pretrained(folder), digest)


def sharing_copy(module: Module) -> Module:
    """Copy a module; what is frozen (parameters without gradient, and buffers) keeps its memory.

    Parameters of the copy are its own objects, so that moving it to a device does not move the original.
    """
    frozen = [part for part in module.parameters() if not part.requires_grad]
    shared: dict[int, Any] = {id(part): nn.Parameter(part.detach(), requires_grad=False) for part in frozen}
    return copy.deepcopy(module, shared | {id(buffer): buffer for buffer in module.buffers()})
