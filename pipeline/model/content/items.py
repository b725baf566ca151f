"""The content of items: the vector of the text, and beside it those that items bring from other modalities.

One row is ``[t; x_1; x_2; …]`` with the vectors x in the order of their names, each of length 1 and rounded
to 16 bits a number like the text; zeros stand for what an item does not have.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Item
from pipeline.model.content.text import TextEncoder

SHORTEST, LONGEST = 1e-9, 1e9
"""Lengths beyond which a vector is taken for a mistake of its producer."""

log = logging.getLogger(__name__)


class UnreadVector(StrEnum):
    """Why an item's vector is left out; the item has the rest of its content."""

    UNDECLARED = "undeclared"
    """The settings do not declare its name."""
    WIDTH = "width"
    """It has another number of numbers than the settings declare."""
    LENGTH = "length"
    """Its length is zero, or beyond all reason, so that it has no direction."""


class ItemEncoder:
    """Encodes items to rows of content; counts vectors that it leaves out, and logs the first of each reason.

    Attributes:
        vectors: width of each declared vector by name, in the order of columns.
    """

    def __init__(self, vectors: Mapping[str, int]) -> None:
        self.vectors = vectors
        self._unread = Counter[UnreadVector]()
        self._logged = set[UnreadVector]()

    def encode(self, items: Sequence[Item | None], encoder: TextEncoder) -> NDArray[np.float32]:
        """Encode items ``[n]``, None for one that only acts name, to ``[n, d + Σk]``."""
        texts = encoder.encode([item.text if item else "" for item in items])
        for item in items:
            if item is not None and item.vectors:
                self._count_undeclared(item)
        if not self.vectors:
            return texts
        return np.concatenate([texts, *(self._column(name, items) for name in self.vectors)], axis=1)

    def take_unread(self) -> Counter[UnreadVector]:
        """Return how many vectors were left out since this was last taken."""
        unread, self._unread = self._unread, Counter()
        return unread

    def _column(self, name: str, items: Sequence[Item | None]) -> NDArray[np.float32]:
        """Read the vectors of a name, ``[n, k]``."""
        column = np.zeros((len(items), self.vectors[name]), dtype=np.float16)
        for row, vector in self._vectors(name, items):
            column[row] = vector
        return column.astype(np.float32)

    def _vectors(self, name: str, items: Sequence[Item | None]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the vectors of a name that can be read, with their rows."""
        for row, item in enumerate(items):
            numbers = item.vectors.get(name) if item else None
            if numbers is None:
                continue
            if len(numbers) != self.vectors[name]:
                self._count(
                    UnreadVector.WIDTH, f"{name} has {len(numbers)} numbers, not {self.vectors[name]}"
                )
                continue
            length = math.hypot(*numbers)
            if SHORTEST <= length <= LONGEST:
                yield row, np.array(numbers) / length
            else:
                self._count(UnreadVector.LENGTH, f"{name} has the length {length:g}")

    def _count_undeclared(self, item: Item) -> None:
        for name in item.vectors:
            if name not in self.vectors:
                self._count(UnreadVector.UNDECLARED, f"{name!r} is not in learn.sizes.vectors")

    def _count(self, reason: UnreadVector, found: str) -> None:
        self._unread[reason] += 1
        if reason not in self._logged:
            self._logged.add(reason)
            log.warning("items are read without some of their vectors (%s): the first %s", reason, found)
