"""The text encoder's adapter: LoRA beside the whole backbone, learned by a retrain, as named tensors.

An empty one is none: the backbone encodes as it came. It is small enough (1.3 MB for the
default backbone) to be part of every checkpoint and snapshot.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.model.lora import add_lora

RANK, ALPHA = 8, 16

Adapter = Mapping[str, Tensor]
"""Parameters ``[r, n]`` and ``[m, r]`` by name, float32, on the CPU."""
NO_ADAPTER: Adapter = {}


def adapter_digest(adapter: Adapter) -> str:
    """A digest of names and values; empty for none."""
    if not adapter:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(adapter.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def with_adapter(model: PreTrainedModel, adapter: Adapter = NO_ADAPTER) -> PreTrainedModel:
    """A copy of a model under an adapter; without one, under one that is the identity.

    Raises:
        ValueError: the adapter is one of another model.
    """
    adapted: Any = copy.deepcopy(model)
    if hasattr(adapted, "pooler"):
        adapted.pooler = None  # takes no part, and would get LoRA of its own
    add_lora(adapted, RANK, ALPHA)
    if adapter:
        _load(adapted, adapter)
    under: PreTrainedModel = adapted
    return under


def adapter_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """A copy of the adapter that a model is under."""
    return {name: part.detach().to("cpu", copy=True) for name, part in _parameters(model).items()}


def fits(model: PreTrainedModel, adapter: Adapter) -> bool:
    """Whether a model can be under an adapter."""
    return not adapter or _shapes_of(model) == _shapes(adapter)


@torch.no_grad()
def _load(model: PreTrainedModel, adapter: Adapter) -> None:
    parameters = _parameters(model)
    if _shapes(parameters) != _shapes(adapter):
        raise ValueError("the text encoder's adapter is one of another backbone")
    for name, part in parameters.items():
        part.copy_(adapter[name])


@functools.cache
def _shapes_of(model: PreTrainedModel) -> dict[str, torch.Size]:
    """Of any adapter that a model can be under; costs a copy of the model."""
    return _shapes(_parameters(with_adapter(model)))


def _parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: part for name, part in model.named_parameters() if "lora_" in name}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
