"""Introduction: the vector of a user who has not acted yet, from attributes.

It is Σ g_a·B_a A_a x_a over the declared attributes, where x_a is the code of the attribute's values (see
`content.codes`): a hashed embedding of each value, zero at birth, with a learned gate that is shut for an
attribute which says nothing.

It stands before the first act, and only there. The tower does not read it as one more act: its first layer
divides what it reads by its length, so an embedding that is nearly zero would be as loud as one that has
learned something. Nor is it added to the vectors after acts, which know more: in the simulated shop that cost
.007 of HR@20 of all other acts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.config import CODE_WIDTH
from pipeline.model.content.codes import code_of
from pipeline.model.fusion import Fusion, ModalityFigures
from pipeline.state.profiles import MOST_CACHED, read_attributes

PREFIX = "user's "
"""Begins the name of an attribute of users in figures: one of items may have the same name."""


class Introduction(nn.Module):
    """The maps of the declared attributes of users; without any, it has no parameters and costs nothing."""

    def __init__(self, width: int, names: Sequence[str]) -> None:
        super().__init__()
        self._width, self._names = width, tuple(names)
        self.codes = Fusion(width, CODE_WIDTH, dict.fromkeys(names, CODE_WIDTH))

    def vectors(self, attributes: Sequence[bytes], device: torch.device) -> Tensor:
        """Compute the vectors ``[m, d]`` of users by stored attributes; ``[0, d]`` without any."""
        if not any(attributes):
            return torch.zeros(0, self._width, device=device)
        codes = np.stack([codes_of(stored, self._names) for stored in attributes])
        vectors: Tensor = self.codes(torch.from_numpy(codes).to(device))
        return vectors

    def figures(self) -> Mapping[str, ModalityFigures]:
        """Say how much each attribute says, by name."""
        return {f"{PREFIX}{name}": found for name, found in self.codes.figures().items()}


@lru_cache(MOST_CACHED)
def codes_of(stored: bytes, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the directions of the codes of some stored attributes, one after another; zeros without one."""
    attributes = read_attributes(stored)
    codes = np.zeros((len(names), CODE_WIDTH), dtype=np.float32)
    for row, name in enumerate(names):
        value = attributes.get(name, ())
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if values:
            code = code_of(name, values)
            codes[row] = code / (np.linalg.norm(code) or 1.0)
    return codes.flatten()
