"""A backbone as a masked language model (Devlin et al. 2019): head, masks and loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling, PreTrainedModel

from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import Adapter, with_adapter

TokenizedText = dict[str, list[int]]
MaskedBatch = dict[str, Tensor]


class MaskedLanguageModel(NamedTuple):
    """A masked language model, its body with the adapter, and the parameters that may learn."""

    model: PreTrainedModel
    body: PreTrainedModel
    head: list[torch.nn.Parameter]
    lora: list[torch.nn.Parameter]


def masked_language_model(backbone: Backbone, adapter: Adapter) -> MaskedLanguageModel:
    """Combine the backbone, an adapter, and a head that shares the embeddings and is otherwise random.

    Raises:
        InvalidSettings: the backbone is not a masked language model.
    """
    config = copy.deepcopy(backbone.model.config)
    config.tie_word_embeddings = True
    try:
        if backbone.tokenizer.mask_token is None:
            raise ValueError("its tokenizer has no mask")
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InvalidSettings(
            f"retrain.language.epochs: {type(backbone.model).__name__} is not a masked language model: "
            "set it to 0, or choose another model.backbone"
        ) from error
    body = with_adapter(backbone.model, adapter)
    setattr(model, model.base_model_prefix, body)
    model.tie_weights()
    lora = [part for part in body.parameters() if part.requires_grad]
    kept = {id(part) for part in body.parameters()}
    head = [part for part in model.parameters() if id(part) not in kept]
    return MaskedLanguageModel(model, body, head, lora)


class Masker:
    """transformers' own collator, called again when it has masked nothing."""

    def __init__(self, tokenizer: Any, share: float, seed: int) -> None:
        self._collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=share, seed=seed)

    def __call__(self, texts: list[TokenizedText]) -> MaskedBatch:
        """Mask a minibatch so that at least one token must be predicted."""
        while True:
            # Copies, because the collator removes the mask of special tokens from its input.
            masked: MaskedBatch = dict(self._collator([dict(text) for text in texts]))
            if (masked["labels"] >= 0).any():
                return masked


@torch.no_grad()
def masked_loss(model: PreTrainedModel, batches: Sequence[MaskedBatch]) -> float:
    """Return the mean loss in nats per masked token."""
    model.train(False)
    total, tokens = 0.0, 0
    for batch in batches:
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        masked = int((batch["labels"] >= 0).sum())
        total += masked * float(model(**on_device).loss)
        tokens += masked
    model.train(True)
    return total / tokens
