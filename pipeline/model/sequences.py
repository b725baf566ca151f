"""Pack Segments into rows of equal width, with several segments in one row where they fit.

Padding costs as much as data. A causal mask that also separates the segments of a row lets short
segments share it: on Online Retail half the positions of one-segment rows were padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.device import recurring
from pipeline.state.counts import spans
from pipeline.state.segments import Segment


@dataclass(frozen=True)
class Packed:
    """Segments as rows ``[r, t]``; every tensor is on one device.

    Attributes:
        items, types, values, gaps: as in Segment; zero in the padding.
        positions: position of each act within its segment.
        mask: ``[r, 1, t, t]``, true where a position may attend: the past of its own segment.
        indices: ``[acts]``, flat index into ``[r * t]`` of each act, in the order of the segments; given to a
            tower, of those alone that it computes vectors after.
    """

    items: Tensor
    types: Tensor
    values: Tensor
    gaps: Tensor
    positions: Tensor
    mask: Tensor
    indices: Tensor


def pack(segments: Sequence[Segment], device: torch.device) -> Packed:
    """Pack segments by first-fit decreasing: longest first, each into the first row with room."""
    lengths = [len(segment) for segment in segments]
    width = _width(lengths)
    starts, used = _first_fit(lengths, width)
    rows = recurring(used)
    positions = spans(np.zeros(len(lengths), dtype=np.int64), np.array(lengths, dtype=np.int64))
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    indices = np.array(starts, dtype=np.int64)[numbers] + positions

    def laid_out(values: NDArray[np.int64], padding: int = 0) -> Tensor:
        flat = np.full(rows * width, padding, dtype=np.int64)
        flat[indices] = values
        return torch.from_numpy(flat).view(rows, width).to(device)

    def column(name: str) -> Tensor:
        return laid_out(np.concatenate([getattr(segment, name) for segment in segments]))

    segment_numbers = laid_out(numbers, padding=-1)
    # Padding has number -1 and attends to padding, so that no position has an empty mask (NaN).
    same = segment_numbers.unsqueeze(2) == segment_numbers.unsqueeze(1)
    causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    return Packed(
        items=column("items"),
        types=column("types"),
        values=column("values"),
        gaps=column("gaps"),
        positions=laid_out(positions),
        mask=(same & causal).unsqueeze(1),
        indices=torch.from_numpy(indices).to(device),
    )


def _width(lengths: Sequence[int]) -> int:
    """Width of the rows: a power of two, so that few shapes occur, or less if one row holds everything."""
    longest = max(1, *lengths)  # a segment of a user who has not acted yet has no acts
    return min(recurring(max(1, sum(lengths))), 1 << (longest - 1).bit_length())


def _first_fit(lengths: Sequence[int], width: int) -> tuple[list[int], int]:
    """Return the flat start of each length, and the number of rows of `width` used."""
    used: list[int] = []
    starts = [0] * len(lengths)
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        fits = (row for row, taken in enumerate(used) if taken + lengths[number] <= width)
        row = next(fits, len(used))
        if row == len(used):
            used.append(0)
        starts[number] = row * width + used[row]
        used[row] += lengths[number]
    return starts, len(used)
