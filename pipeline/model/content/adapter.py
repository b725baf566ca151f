"""The adapter of the text encoder: LoRA on the whole backbone, trained by a retrain, as named tensors.

With an empty adapter the backbone encodes as pretrained. An adapter is small enough (1.3 MB for the
default backbone) to be part of every checkpoint and snapshot.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.model.backbone import sharing_copy
from pipeline.model.lora import add_lora

RANK, ALPHA = 8, 16

Adapter = Mapping[str, Tensor]
"""Parameters ``[r, n]`` and ``[m, r]`` by name, float32, on the CPU."""
NO_ADAPTER: Adapter = {}


def adapter_digest(adapter: Adapter) -> str:
    """Return a digest of names and values; empty for an empty adapter."""
    if not adapter:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(adapter.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def with_adapter(model: PreTrainedModel, adapter: Adapter = NO_ADAPTER) -> PreTrainedModel:
    """Return a model that shares the weights of another and has an adapter; untrained if that is empty.

    Raises:
        ValueError: the adapter belongs to another model.
    """
    adapted: Any = sharing_copy(model)
    if hasattr(adapted, "pooler"):
        adapted.pooler = None  # unused here, and would get LoRA too
    add_lora(adapted, RANK, ALPHA)
    if adapter:
        _load(adapted, adapter)
    model_with_adapter: PreTrainedModel = adapted
    return model_with_adapter


def adapter_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of a model's adapter."""
    return {name: part.detach().to("cpu", copy=True) for name, part in _parameters(model).items()}


def fits(model: PreTrainedModel, adapter: Adapter) -> bool:
    """Return whether an adapter fits a model."""
    return not adapter or _shapes_of(model) == _shapes(adapter)


@torch.no_grad()
def _load(model: PreTrainedModel, adapter: Adapter) -> None:
    parameters = _parameters(model)
    if _shapes(parameters) != _shapes(adapter):
        raise ValueError("the text encoder's adapter belongs to another backbone")
    for name, part in parameters.items():
        part.copy_(adapter[name])


@functools.cache
def _shapes_of(model: PreTrainedModel) -> dict[str, torch.Size]:
    """Return the shapes of an adapter that fits a model; builds one."""
    return _shapes(_parameters(with_adapter(model)))


def _parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: part for name, part in model.named_parameters() if "lora_" in name}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
