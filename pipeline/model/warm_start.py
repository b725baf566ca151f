"""Growth: a recommender of larger rank or with more layers that begins as a smaller one was.

A larger LoRA or item adapter has the smaller one in its leading rows and columns, and zeros
where it would change anything, so that it computes the same. More layers cannot: what lies
below the old ones is the backbone's, as it was pretrained.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from pipeline.config import ModelSizes
from pipeline.model.recommender import Recommender

LAYER = re.compile(r"\.(\d+)\.")
TO_OUTPUT = "lora_B"
"""The factor of a LoRA that is zero at birth."""


@torch.no_grad()
def warm_start(grown: Recommender, sizes: ModelSizes, small: Recommender, small_sizes: ModelSizes) -> None:
    """Put what a recommender has learned into a newborn one that is at least as large.

    Raises:
        ValueError: it is smaller.
    """
    deeper = sizes.layers - small_sizes.layers
    rescaled = _scale(small_sizes) / _scale(sizes)
    parameters = grown.learned()
    for name, learned in small.learned().items():
        place = parameters[_layer_above(name, deeper)]
        if any(new < old for new, old in zip(place.shape, learned.shape, strict=True)):
            raise ValueError(f"{name} does not fit into a smaller model")
        _leading(place, learned).copy_(learned * rescaled if TO_OUTPUT in name else learned)


def _scale(sizes: ModelSizes) -> float:
    """What peft multiplies a LoRA's product with."""
    return sizes.lora_alpha / sizes.lora_rank


def _leading(place: Tensor, learned: Tensor) -> Tensor:
    return place[tuple(slice(size) for size in learned.shape)]


def _layer_above(name: str, deeper: int) -> str:
    """The name of the same parameter where there are so many more layers below."""
    return LAYER.sub(lambda found: f".{int(found[1]) + deeper}.", name, count=1)
