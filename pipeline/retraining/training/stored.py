"""Files of a retrain under way: tensors with a status, under a sha256, written whole or not at all.

A damaged file costs the work that it holds, never the retrainer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import orjson
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline.atomic_files import replace_durably
from pipeline.bounded import fault_of

T = TypeVar("T")

STATUS = "status"
DIGEST_BYTES = 32
HEADER_LENGTH_BYTES = 8
"""Length of a safetensors header, before the header itself."""

log = logging.getLogger(__name__)


def write_stored(path: Path, tensors: Mapping[str, Tensor], status: str) -> None:
    """Replace a file durably."""
    content = save(dict(tensors), {STATUS: status})
    replace_durably(path, hashlib.sha256(content).digest() + content)


def read_stored(path: Path, parse: Callable[[str], T]) -> tuple[T, dict[str, Tensor]] | None:
    """Read status and tensors; None if there is no file, or a damaged one or that of another version."""
    try:
        content = _verified(path.read_bytes())
        return parse(_status(content)), load(content)
    except FileNotFoundError:
        return None
    except (OSError, LookupError, SafetensorError, TypeError, ValueError) as error:
        log.error("%s is damaged, so its work is done again: %s", path, fault_of(error))
        return None


def _verified(stored: bytes) -> bytes:
    content = stored[DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != stored[:DIGEST_BYTES]:
        raise ValueError("its digest differs")
    return content


def _status(content: bytes) -> str:
    length = int.from_bytes(content[:HEADER_LENGTH_BYTES], "little")
    header = orjson.loads(content[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    status: str = header["__metadata__"][STATUS]
    return status
