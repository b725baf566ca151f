"""Settings of the language model, and the sizes of what is learned beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from pipeline.config.base import Config, Layers, NamedPath, Rank, Text, Threads, listed


class ModelConfig(Config):
    """[model] The pretrained language model and where it runs. Another one needs another log.prefix."""

    backbone: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """A folder with a transformers model or one GGUF file, or a name on the hub; the default comes with the
    installation."""
    max_tokens: Annotated[int, Field(ge=1, le=8_192)] = 24
    """Tokens of an item's text that are read; the rest is cut off. Another number needs another
    log.prefix."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto` takes CUDA where there is a GPU; servers always compute on the CPU."""
    threads: Threads = 1
    """Threads of each daemon for products, of torch and of NumPy; more than there are free cores makes it
    many times slower."""
    cache: NamedPath = Path(".cache/content")
    """Folder of content vectors by digest, and of converted language models; shared by all processes of the
    machine."""


KEEPS_SIZES = (
    "a model keeps its sizes: set them back, begin another model with another log.prefix, or let a retrain "
    "make it larger (retrain.sizes) or read new vectors"
)
KEEPS_TEXTS = "a model keeps how it reads texts: set it back, or begin another model with another log.prefix"
Tuning = Literal["lora", "dora", "ia3", "prefix", "bottleneck", "last_layers"]
VECTOR_NAME = r"^[a-z][a-z0-9_]{0,63}$"
VectorName = Annotated[str, Field(pattern=VECTOR_NAME)]
VectorWidth = Annotated[int, Field(ge=1, le=1_024)]
VectorWidths = Annotated[
    dict[VectorName, VectorWidth],
    Field(max_length=8),
    AfterValidator(lambda widths: dict(sorted(widths.items()))),
]
CODE_WIDTH = 64
"""Numbers of the code that stands for the values of an attribute."""
AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_ -]{0,62}[A-Za-z0-9_-])?$")]
AttributeNames = Annotated[
    tuple[AttributeName, ...],
    NoDecode,
    BeforeValidator(listed),
    Field(max_length=8),
    AfterValidator(lambda names: tuple(sorted(set(names)))),
]


def differing_texts(stored: Mapping[str, object], backbone: str, max_tokens: int) -> list[str]:
    """Name how the texts of a stored model are read otherwise than by the settings.

    Args:
        stored: by name; what is missing or None is not known, and does not differ.
        backbone, max_tokens: digest of the language model of the settings, and how much it reads.
    """
    differing = []
    if stored.get("backbone") not in (None, backbone):
        ours, theirs = backbone[:12], str(stored["backbone"])[:12]
        differing.append(f"model.backbone is sha256 {ours}… in the settings and {theirs}… in it")
    if stored.get("max_tokens") not in (None, max_tokens):
        differing.append(f"model.max_tokens is {max_tokens} in the settings and {stored['max_tokens']} in it")
    return differing


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
    """Rank of the linear adapter between content vectors and item vectors, and of the maps of `vectors`,
    `attributes` and `relations`."""
    vectors: VectorWidths = {}
    """Vectors of items that the model reads beside their texts, by name: how many numbers each has, such as
    {image = 512}. An item without one, or with one of another width, is read without it. A retrain adds new
    ones; none can be taken away or get another width, so give it another name."""

    attributes: AttributeNames = ()
    """Attributes of items that the model reads, such as ["brand", "category"]: what it learns of an item goes
    to the others with the same value, new ones, too. Texts and lists of texts; a number is no scale, only the
    same or another. A retrain adds new ones; none can be taken away."""
    relations: AttributeNames = ()
    """Attributes that name related items by their ids, such as ["accessory_of", "series"]: the model reads
    the mean text of these items beside an item's own. A retrain adds them; they cannot be taken away."""

    user_attributes: AttributeNames = ()
    """Attributes of users that the model reads before their first act, such as ["country", "plan"]: so it has
    something to go by for a user who has not acted yet. Texts and lists of texts; a number is no scale, so
    send bands of ages. A retrain adds new ones; none can be taken away. Whatever users have sent is kept in
    checkpoints then, and none of it in snapshots."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in {*self.attributes} & {*self.vectors}:
            raise ValueError(f"{name!r} is both a vector and an attribute: give the vector another name")
        return self

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
    def modalities(self) -> dict[str, int]:
        """What an item's content has beside texts, by name in the order of columns: how many numbers each."""
        return {**self.vectors, **dict.fromkeys(self.attributes, CODE_WIDTH)}

    def columns(self, width: int) -> int:
        """Return how many numbers an item's content has, of which `width` are those of its text."""
        return width + sum(self.modalities.values()) + (width if self.relations else 0)
