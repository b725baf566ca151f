"""Vectors in 8 or 16 bits a number, which become float32 where they are read.

The largest of a vector's numbers sets its scale (symmetric quantisation, one scale a row): none is off by
more than half of the 127th part of it, and zeros stay zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_CODE = 127


@dataclass(frozen=True)
class EncodedVectors:
    """Vectors ``[n, d]`` as float16, or as codes of 8 bits with scales ``[n]``.

    It has of a tensor what gathers rows from one.
    """

    codes: Tensor
    scales: Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> tuple[int, ...]:
        """As a tensor's."""
        return tuple(self.codes.shape)

    @property
    def device(self) -> torch.device:
        """As a tensor's."""
        return self.codes.device

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Gather rows ``[m]`` of the first dimension as float32."""
        assert dim == 0
        return self[rows]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Gather rows ``[...]`` as float32."""
        flat = rows.reshape(-1)
        found = self.codes.index_select(0, flat).float()
        if self.scales is not None:
            found *= self.scales.index_select(0, flat).unsqueeze(1)
        return found.view(*rows.shape, self.codes.shape[1])

    def float(self) -> Tensor:
        """Return all rows as float32."""
        found = self.codes.float()
        return found if self.scales is None else found.mul_(self.scales.unsqueeze(1))

    def new_zeros(self, *shape: int) -> Tensor:
        """Return zeros of float32, as all that is gathered."""
        return torch.zeros(*shape)


def int8_codes(vectors: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Encode vectors ``[n, d]``: return codes ``[n, d]`` and scales ``[n]``.

    The scale of a vector that is not finite is not finite either.
    """
    numbers = vectors.astype(np.float32)
    scales = np.abs(numbers).max(axis=1, initial=0) / np.float32(LARGEST_CODE)
    is_usable = np.isfinite(scales) & (scales > 0)
    divisors = np.where(is_usable, scales, np.float32(np.inf))[:, None]
    codes = np.rint(np.nan_to_num(numbers, posinf=0, neginf=0) / divisors)
    return codes.clip(-LARGEST_CODE, LARGEST_CODE).astype(np.int8), scales
