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
LEAST = torch.finfo(torch.float32).tiny
"""Scale of a vector of zeros."""


@dataclass(frozen=True)
class EncodedVectors:
    """Vectors ``[n, d]`` as float32 or float16, or as codes of 8 bits with scales ``[n]``.

    It has of a tensor what gathers rows from one. The codes of the rows lie in their order, or at the rows'
    slots ``[n]``.
    """

    codes: Tensor
    scales: Tensor | None = None
    slots: Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes if self.slots is None else self.slots)

    @property
    def shape(self) -> tuple[int, ...]:
        """As a tensor's."""
        return len(self), *self.codes.shape[1:]

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
        at = flat if self.slots is None else self.slots.index_select(0, flat)
        found = self.codes.index_select(0, at).float()
        if self.scales is not None:
            found *= self.scales.index_select(0, flat).unsqueeze(1)
        return found.view(*rows.shape, self.codes.shape[1])

    def float(self) -> Tensor:
        """Return all rows as float32."""
        found = (self.codes if self.slots is None else self.codes.index_select(0, self.slots)).float()
        return found if self.scales is None else found.mul_(self.scales.unsqueeze(1))

    def new_zeros(self, *shape: int) -> Tensor:
        """Return zeros of float32, as all that is gathered."""
        return torch.zeros(*shape)


def int8_codes(vectors: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Encode vectors ``[n, d]``: return codes ``[n, d]`` and scales ``[n]``.

    The scale of a vector that is not finite is not finite either.
    """
    numbers = torch.from_numpy(vectors.astype(np.float32))
    is_finite = numbers.isfinite().all(dim=1)
    codes, scales = rounded(numbers.where(is_finite.unsqueeze(1), 0.0))
    scales = scales.squeeze(1).where(codes.any(dim=1), 0.0).where(is_finite, torch.inf)
    return codes.numpy(), scales.numpy()


def rounded(vectors: Tensor, largest: int = LARGEST_CODE) -> tuple[Tensor, Tensor]:
    """Round finite vectors ``[n, d]`` to 8 bits: return codes ``[n, d]`` and scales ``[n, 1]`` above 0.

    No code is above the `largest`.
    """
    near, scales = nearest_codes(vectors, largest)
    return near.to(torch.int8), scales


def nearest_codes(vectors: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Divide finite vectors ``[n, d]`` by scales, and round: return whole numbers ``[n, d]``, as float32, and
    the scales ``[n, 1]``, above 0.

    No number is above the `largest`.
    """
    near = vectors.abs()
    scales = near.amax(dim=1, keepdim=True).div_(largest).clamp_min_(LEAST)
    return torch.div(vectors, scales, out=near).round_(), scales
