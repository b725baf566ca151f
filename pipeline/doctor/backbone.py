"""The language model: whether it is there, whole, and the one that is expected; it is not loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok
from pipeline.errors import BackboneNotFound
from pipeline.model.backbone_files import WEIGHTS, gguf_in, locate

REMEDY = "set `model.backbone` to a folder with a transformers model and tokenizer"
TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer.model", "vocab.json", "spiece.model")
MAGIC = b"GGUF"
LENGTH_BYTES = 8
"""A file of safetensors begins with the length of its header, which is JSON."""


def check(settings: Settings) -> Iterator[Finding]:
    """Find the language model without a network, and look at its files."""
    name = settings.model.backbone
    try:
        folder, digest = locate(name, download=False)
    except BackboneNotFound as error:
        yield fault("backbone", str(error), REMEDY)
        return
    faults = list(_faults(folder))
    for text in faults:
        yield fault("backbone", text, f"copy the folder again, or {REMEDY}")
    if not faults:
        yield ok("backbone", f"{name}, sha256 {digest[:12]}…, in {folder}")


def _faults(folder: Path) -> Iterator[str]:
    if quantised := gguf_in(folder):  # it holds configuration and tokenizer, too
        with quantised.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                yield f"{quantised} is no GGUF file"
        return
    try:
        json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        yield f"{folder}/config.json cannot be read: {error}"
    if not any((folder / tokenizer).is_file() for tokenizer in TOKENIZERS):
        yield f"{folder} holds no tokenizer"
    for weights in sorted(folder.glob(WEIGHTS)):
        if not _is_whole(weights):
            yield f"{weights} is cut off or damaged"


def _is_whole(weights: Path) -> bool:
    """Whether the header can be read and the file is as long as it says."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if LENGTH_BYTES + length > size:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
    return LENGTH_BYTES + length + max(ends, default=0) == size
