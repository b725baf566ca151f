"""Settings of the language model, and the sizes of what is learned beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.base import Config, Layers, Rank, Text, Threads


class ModelConfig(Config):
    """[model] The pretrained language model and where it runs. Another one needs another log.prefix."""

    backbone: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """A folder with a transformers model or one GGUF file, or a name on the hub; the default comes with the
    installation."""
    max_tokens: Annotated[int, Field(ge=1, le=8_192)] = 24
    """Tokens of an item's text that are read; the rest is cut off."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto` takes CUDA where there is a GPU; servers always compute on the CPU."""
    threads: Threads = 1
    """Torch threads of each daemon; more than there are free cores makes it many times slower."""
    cache: Path = Path(".cache/content")
    """Folder of content vectors by digest, and of converted language models; shared by all processes of the
    machine."""


KEEPS_SIZES = (
    "a model keeps its sizes: set them back, begin another model with another log.prefix, or let a retrain "
    "make it larger (retrain.sizes) or read new vectors"
)
Tuning = Literal["lora", "dora", "ia3", "prefix", "bottleneck", "last_layers"]
VectorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
VectorWidth = Annotated[int, Field(ge=1, le=1_024)]
VectorWidths = Annotated[
    dict[VectorName, VectorWidth],
    Field(max_length=8),
    AfterValidator(lambda widths: dict(sorted(widths.items()))),
]


class ModelSizes(Config):
    """[learn.sizes] What a checkpoint, a snapshot and their readers must agree on; what goes on from a
    checkpoint keeps what that has."""

    tuning: Tuning = "lora"
    """How the layers that read a user's history learn; see docs/tuning.md."""

    layers: Layers = 1
    """Last layers of the backbone that read a user's history."""
    lora_rank: Rank = 8
    """Rank of the LoRA or DoRA beside each linear map of these layers; or length of a prefix, or width of a
    bottleneck."""
    lora_alpha: Rank = 16
    """Scale of the LoRA: its product is multiplied by lora_alpha / lora_rank."""
    adapter_rank: Rank = 64
    """Rank of the linear adapter between content vectors and item vectors, and of the maps of `vectors`."""
    vectors: VectorWidths = {}
    """Vectors of items that the model reads beside their texts, by name: how many numbers each has, such as
    {image = 512}. An item without one, or with one of another width, is read without it. A retrain adds new
    ones; none can be taken away or get another width, so give it another name."""

    def differing(self, stored: Mapping[str, object]) -> list[str]:
        """Name the sizes that differ from those of a stored model, each with both values.

        Args:
            stored: sizes by name.
        """
        wanted = self.model_dump(mode="json")
        return [
            f"learn.sizes.{name} is {wanted[name]!r} in the settings and {stored[name]!r} in it"
            for name in wanted
            if name in stored and wanted[name] != stored[name]
        ]

    @property
    def vector_columns(self) -> int:
        """Σk, numbers of all vectors together."""
        return sum(self.vectors.values())
