"""Checks of arrays that were read: of states from checkpoints, and of models from snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.value.port import Arrays

LARGEST_WEIGHT = 1e6
"""Of what is published; the products of larger numbers leave float32's range."""


def read_array(arrays: Arrays, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return a copy of an array.

    Args:
        shape: its shape; -1 stands for any length.

    Raises:
        ValueError: it is missing, of another form, or has a number that is not finite.
    """
    found = arrays.get(name)
    if found is None:
        raise ValueError(f"{name} is missing")
    fits = len(found.shape) == len(shape) and all(
        wanted in (-1, size) for size, wanted in zip(found.shape, shape, strict=True)
    )
    if found.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{name} is {found.dtype} {list(found.shape)}, not {np.dtype(dtype)} {list(shape)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")
    return found.copy()


def read_weights(arrays: Arrays, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a copy of an array of a model.

    Raises:
        ValueError: as by `read_array`, or a number is too large.
    """
    found = read_array(arrays, name, shape, np.float32)
    if found.size and np.abs(found).max() > LARGEST_WEIGHT:
        raise ValueError(f"{name} is out of range")
    return found


def check_names(arrays: Arrays, names: set[str]) -> None:
    """Check that arrays have these names and no others.

    Raises:
        ValueError: names those that are too many or missing.
    """
    if arrays.keys() != names:
        wrong = sorted(arrays.keys() ^ names)[:4]
        raise ValueError(f"these arrays are missing, or belong to something else: {', '.join(wrong)}")


def joined(parts: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of all parts, as ``<part>.<array>``."""
    return {f"{part}.{name}": array for part, of in parts.items() for name, array in of.items()}


def divided(arrays: Arrays) -> dict[str, dict[str, NDArray[np.generic]]]:
    """Return the arrays of each part, as `joined` took them."""
    parts: dict[str, dict[str, NDArray[np.generic]]] = {}
    for dotted, array in arrays.items():
        part, _, name = dotted.partition(".")
        parts.setdefault(part, {})[name] = array
    return parts
