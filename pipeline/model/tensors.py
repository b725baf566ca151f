"""Conversion of sparse matrices to named tensors and back, and selection of tensors by prefix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

PARTS = ("data", "indices", "indptr")


def of_matrix(name: str, matrix: sp.csr_array) -> dict[str, Tensor]:
    """Convert a sparse matrix to the tensors ``<name>.data``, ``.indices`` and ``.indptr``."""
    return {f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(matrix, part))) for part in PARTS}


def to_matrix(name: str, tensors: Mapping[str, Tensor], size: int) -> sp.csr_array:
    """Convert the result of `of_matrix` back to a matrix ``[size, size]``."""
    parts = tuple(tensors[f"{name}.{part}"].numpy() for part in PARTS)
    return sp.csr_array(parts, shape=(size, size))


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with a prefix, and remove the prefix."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
