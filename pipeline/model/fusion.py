"""Fusion: what the vectors of other modalities add to an item vector, beside its text.

Each modality has a linear low-rank map of its own, g·BA, with A random and B zero at birth: one that is new
changes nothing until it has learned to help. Related items' texts are in the space of texts already, so that
a share of them is added as it is, beside such a map. A server folds the maps into the query, as it does with
the adapter of the text, so that text and vectors are one row that never changes.

What encoders make of pictures or sounds lies mostly along a few directions, the first of which all of them
share. A random A hears these alone, and what tells items apart in others is learned too late. So A is drawn
from the vectors that items have (`GatedMap.spread`), again whenever twice as many have one
(`ModalityCounts`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


FEWEST = 64
"""Vectors of which a map is drawn, at least; before that, A is random."""
MOST_READ = 4_096
"""Vectors that are read for it, at most, evenly among all: .8 s of a CPU's core for 1,024 numbers each."""
FLOOR = 0.1
"""What is added to each variance, of the largest: directions of less are mostly noise. From .03 to .3, it
makes .004 of HR@20 on cold items, of pictures of the simulated shop."""
ALIKE = 1e-6
"""Variance, beside the mean square, of vectors that are all the same but for rounding."""


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
    def spread(self, vectors: Tensor) -> None:
        """Draw A from vectors ``[n, k]``, so that it hears all that they differ in; B is such that BA stays.

        Its rows mix the principal directions of the vectors, about zero, each divided by the root of its
        variance and the floor (partial whitening, as in Mu and Viswanath 2018 and Kessy et al. 2018; drawn
        from data as in Krähenbühl et al. 2016). Of more directions than the rank, the last are left out, also
        of BA. Nothing happens if all vectors are the same.
        """
        seen, most = vectors.double().cpu(), min(self.narrow.shape)
        largest = torch.linalg.eigvalsh(torch.cov(seen.T, correction=0).reshape(2 * [seen.shape[1]]))[-1]
        variances, directions = torch.linalg.eigh(seen.T @ seen / len(seen))
        if largest <= ALIKE * variances.sum():
            return
        variances, directions = variances[-most:].clamp_min(0), directions[:, -most:]
        scale = (variances + FLOOR * largest).rsqrt()
        scale *= math.sqrt(2) / (scale.square() * variances).sum().sqrt()
        narrow, wide = self.narrow.double().cpu(), self.wide.double().cpu()
        mixed = torch.linalg.qr(narrow[:, :most]).Q
        self.wide.copy_(wide @ (narrow @ directions) / scale @ mixed.T)
        self.narrow.copy_(mixed * scale @ directions.T)

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

    def spread(self, vectors: Tensor) -> None:
        """See `GatedMap.spread`; the share stays."""
        self.map.spread(vectors)

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
        parts = zip(self._maps, self.parts(vectors), strict=True)
        return torch.stack([each(part) for each, part in parts]).sum(dim=0)

    def parts(self, vectors: Tensor) -> Sequence[Tensor]:
        """Divide the vectors ``[n, Σk]`` of all modalities, ``[n, k]`` each."""
        return torch.split(vectors, list(self._columns.values()), dim=1)

    def spread(self, number: int, vectors: Tensor) -> None:
        """Draw the map of a modality, by its number, from the vectors ``[n, Σk]`` of items that have it."""
        self._maps[number].spread(self.parts(vectors)[number])

    def folded(self, users: Tensor) -> Tensor:
        """Map users ``[m, d]`` to what they multiply all vectors with, ``[m, Σk]``."""
        return torch.cat([each.folded(users) for each in self._maps], dim=1)

    def figures(self) -> dict[str, ModalityFigures]:
        """Say how much each modality says, by name."""
        return {name: each.figures() for name, each in zip(self._columns, self._maps, strict=True)}

    @property
    def _maps(self) -> list[GatedMap | Smoothing]:
        return [each for each in self.maps.values() if isinstance(each, GatedMap | Smoothing)]
