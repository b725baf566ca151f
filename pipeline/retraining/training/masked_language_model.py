"""A backbone as a masked language model (Devlin et al. 2019): its head, its masks and its loss."""

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

Tokens = dict[str, list[int]]
Masked = dict[str, Tensor]


class MaskedLanguageModel(NamedTuple):
    """A masked language model, the part of it under the adapter, and what may learn."""

    model: PreTrainedModel
    body: PreTrainedModel
    head: list[torch.nn.Parameter]
    lora: list[torch.nn.Parameter]


def masked_language_model(backbone: Backbone, adapter: Adapter) -> MaskedLanguageModel:
    """The backbone under an adapter, and a head that shares its embeddings, random otherwise."""
    config = copy.deepcopy(backbone.model.config)
    config.tie_word_embeddings = True
    try:
        if backbone.tokenizer.mask_token is None:
            raise ValueError("its tokenizer has no mask")
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InvalidSettings(
            f"retrain.language_epochs: {type(backbone.model).__name__} is no masked language model: "
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
    """transformers' own collator; it is asked again when it has masked nothing."""

    def __init__(self, tokenizer: Any, share: float, seed: int) -> None:
        self._collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=share, seed=seed)

    def __call__(self, texts: list[Tokens]) -> Masked:
        """A minibatch with at least one token to guess."""
        while True:
            # The collator takes the mask of special tokens out of what it is given.
            masked: Masked = dict(self._collator([dict(text) for text in texts]))
            if (masked["labels"] >= 0).any():
                return masked


@torch.no_grad()
def masked_loss(model: PreTrainedModel, trials: Sequence[Masked]) -> float:
    """Nats a masked token."""
    model.train(False)
    total, tokens = 0.0, 0
    for trial in trials:
        on_device = {name: tensor.to(model.device) for name, tensor in trial.items()}
        masked = int((trial["labels"] >= 0).sum())
        total += masked * float(model(**on_device).loss)
        tokens += masked
    model.train(True)
    return total / tokens
