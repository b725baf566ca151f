"""Load the pretrained language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from pipeline.model.backbone_files import DEFAULT, locate, weights_digest


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


def load_backbone(name: str = DEFAULT) -> Backbone:
    """Load a backbone by path or name.

    Raises:
        BackboneNotFound: the model was not found, or the package's weights are not the pinned ones.
    """
    folder = locate(name)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    return Backbone(model, AutoTokenizer.from_pretrained(folder), weights_digest(folder))
