"""Codes: vectors of random signs that follow from a text, so that what has the same values has the same code.

A linear map of codes is an embedding of each value in as many numbers as the code has, whatever the number of
values (feature hashing, Weinberger et al. 2009): two codes are nearly at right angles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.config import CODE_WIDTH
from pipeline.events import Scalar


def code_of(attribute: str, values: Sequence[Scalar]) -> NDArray[np.float64]:
    """Sum the codes of an attribute's values, at least one: ``[CODE_WIDTH]``."""
    codes = np.stack([_signs(orjson.dumps([attribute, value])) for value in values])
    summed: NDArray[np.float64] = codes.sum(axis=0)
    return summed


@lru_cache(4_096)
def _signs(text: bytes) -> NDArray[np.float64]:
    bits = np.frombuffer(hashlib.shake_128(text).digest(CODE_WIDTH // 8), dtype=np.uint8)
    return 2 * np.unpackbits(bits).astype(np.float64) - 1
