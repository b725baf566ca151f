"""Warm start: initialise a recommender of larger rank or with more layers from a smaller one.

A larger LoRA or item adapter contains the smaller one in its leading rows and columns, and zeros
where the rest would change the result, so that it computes the same; so do the maps of vectors, and
those of vectors that the smaller one does not read are zero. With more layers that is impossible: the
layers below the old ones are those of the pretrained backbone.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from pipeline.config import ModelSizes
from pipeline.model.recommender import Recommender

LAYER = re.compile(r"\.(\d+)\.")
TO_OUTPUT = "lora_B"
"""Name of the LoRA factor that is initially zero."""


@torch.no_grad()
def warm_start(grown: Recommender, sizes: ModelSizes, small: Recommender, small_sizes: ModelSizes) -> None:
    """Copy the parameters of a recommender into an untrained one that is at least as large.

    Raises:
        ValueError: the untrained recommender is smaller.
    """
    deeper = sizes.layers - small_sizes.layers
    rescaled = _scale(small_sizes) / _scale(sizes)
    parameters = grown.learned()
    for name, learned in small.learned().items():
        target = parameters.get(_layer_above(name, deeper))
        if target is None or any(new < old for new, old in zip(target.shape, learned.shape, strict=True)):
            raise ValueError(f"{name} does not fit into a smaller model")
        _leading(target, learned).copy_(learned * rescaled if TO_OUTPUT in name else learned)


def _scale(sizes: ModelSizes) -> float:
    """Return the factor by which peft multiplies the product of a LoRA."""
    return sizes.lora_alpha / sizes.lora_rank


def _leading(target: Tensor, learned: Tensor) -> Tensor:
    return target[tuple(slice(size) for size in learned.shape)]


def _layer_above(name: str, deeper: int) -> str:
    """Return the name of the same parameter in a model with `deeper` more layers below."""
    return LAYER.sub(lambda match: f".{int(match[1]) + deeper}.", name, count=1)
