"""Fusion: what the vectors of other modalities add to an item vector, beside its text.

Each modality has a linear low-rank map of its own, g·BA, with A random and B zero at birth: one that is new
changes nothing until it has learned to help. Related items' texts are in the space of texts already, so that
a share of them is added as it is, beside such a map. A server folds the maps into the query, as it does with
the adapter of the text, so that text and vectors are one row that never changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

GATE_SPEED = 120.0
"""A gate is 2·sigmoid of its parameter times this, because AdamW moves a parameter by no more than its rate.
After 47 batches at 1e-3, a gate that was itself the parameter was .95 for noise and 1.01 for a signal, and
this one .30 and 1.22. Its gradient on new acts is honest, because the map has not learned them yet: it finds
noise out."""

SHARE_SPEED = 30.0
"""The share of related items' texts is its parameter times this, because AdamW moves a parameter by no more
than its rate."""
RELATED = "related items"
"""The name of what is read of related items; no vector and no attribute can have it."""


class ModalityFigures(NamedTuple):
    """How much a modality says.

    Attributes:
        gate: its learned gate, from 0 to 2; 1 at birth, near 0 for noise.
        length: of what a vector of length 1 adds to an item vector, the root mean square over all directions;
            0 at birth. The vector of a text has length 1.
    """

    gate: float
    length: float


class GatedMap(nn.Module):
    """A linear map g·BA of low rank from k numbers to d, zero at birth, with a learned gate g.

    A makes vectors equally long whatever their number of numbers, so that all modalities learn as fast.
    """

    def __init__(self, width: int, rank: int, numbers: int) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.randn(rank, numbers) * math.sqrt(2 / rank))
        self.wide = nn.Parameter(torch.zeros(width, rank))
        self.opening = nn.Parameter(torch.zeros(()))

    @property
    def gate(self) -> Tensor:
        """The gate g."""
        return 2 * torch.sigmoid(GATE_SPEED * self.opening)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors ``[n, k]`` to what they add to item vectors, ``[n, d]``."""
        return self.gate * ((vectors @ self.narrow.T) @ self.wide.T)

    def folded(self, users: Tensor) -> Tensor:
        """Map users ``[m, d]`` to what they multiply vectors with, ``[m, k]``."""
        return self.gate * ((users @ self.wide) @ self.narrow)

    @torch.no_grad()
    def figures(self) -> ModalityFigures:
        """Say how much it says."""
        squares = (self.wide.T @ self.wide) * (self.narrow @ self.narrow.T)
        length = self.gate * (squares.sum().clamp_min(0) / self.narrow.shape[1]).sqrt()
        return ModalityFigures(float(self.gate), float(length))


class Smoothing(nn.Module):
    """A map s·I + g·BA from d numbers to d, zero at birth: a share s of the same, and a gated map beside it.

    Both, because each alone gains less (docs/benchmarks.md): the share helps at once, the map learns more.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.map = GatedMap(width, rank, width)
        self.part = nn.Parameter(torch.zeros(()))

    @property
    def share(self) -> Tensor:
        """The share s."""
        return SHARE_SPEED * self.part

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors ``[n, d]`` to what they add to item vectors, ``[n, d]``."""
        added: Tensor = self.map(vectors)
        return added + self.share * vectors

    def folded(self, users: Tensor) -> Tensor:
        """Map users ``[m, d]`` to what they multiply vectors with, ``[m, d]``."""
        return self.map.folded(users) + self.share * users

    @torch.no_grad()
    def figures(self) -> ModalityFigures:
        """Say how much it says."""
        whole = self.folded(torch.eye(len(self.map.wide), device=self.part.device))
        return ModalityFigures(float(self.map.gate), float(whole.square().sum(dim=1).mean().sqrt()))


class Fusion(nn.Module):
    """The maps of all modalities, in the order of their columns; without any, it has no parameters."""

    def __init__(self, width: int, rank: int, modalities: Mapping[str, int], smooths: bool = False) -> None:
        """Make the maps to `width` numbers from modalities by name, each of so many numbers.

        The last `width` columns are of related items if it `smooths`.
        """
        super().__init__()
        self._columns = {**modalities, **({RELATED: width} if smooths else {})}
        # Under names that are not torch's own, such as `values`.
        maps: dict[str, nn.Module] = {
            f"of_{name}": GatedMap(width, rank, numbers) for name, numbers in modalities.items()
        }
        if smooths:
            maps[f"of_{RELATED}"] = Smoothing(width, rank)
        self.maps = nn.ModuleDict(maps)

    def __len__(self) -> int:
        return len(self._columns)

    def forward(self, vectors: Tensor) -> Tensor:
        """Sum what the vectors ``[n, Σk]`` of one modality after another add to item vectors, ``[n, d]``."""
        parts = torch.split(vectors, list(self._columns.values()), dim=1)
        return torch.stack([each(part) for each, part in zip(self._maps, parts, strict=True)]).sum(dim=0)

    def folded(self, users: Tensor) -> Tensor:
        """Map users ``[m, d]`` to what they multiply all vectors with, ``[m, Σk]``."""
        return torch.cat([each.folded(users) for each in self._maps], dim=1)

    def figures(self) -> dict[str, ModalityFigures]:
        """Say how much each modality says, by name."""
        return {name: each.figures() for name, each in zip(self._columns, self._maps, strict=True)}

    @property
    def _maps(self) -> list[GatedMap | Smoothing]:
        return [each for each in self.maps.values() if isinstance(each, GatedMap | Smoothing)]
