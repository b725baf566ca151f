"""The content of items: the vector of the text, and beside it what else the settings declare.

One row is ``[t; x_1; x_2; …]``: vectors that items bring in the order of their names, the codes of their
attributes, and the mean text of related items. Each has length 1 and is rounded to 16 bits a number like the
text; zeros stand for what an item does not have.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import CODE_WIDTH, ModelSizes
from pipeline.events import Item
from pipeline.model.content.codes import code_of
from pipeline.model.content.text import TextEncoder
from pipeline.state.relations import related_items, values_of
from pipeline.wording import counted

SHORTEST, LONGEST = 1e-9, 1e9
"""Lengths beyond which a vector is taken for a mistake of its producer."""

log = logging.getLogger(__name__)
RowVector = tuple[int, NDArray[np.floating[Any]]]
"""A row, and its vector of length 1."""


def content_read(sizes: ModelSizes) -> tuple[object, ...]:
    """Return what is read of items beside their texts; content of the same is the same."""
    return sizes.vectors, sizes.attributes, sizes.relations


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
        sizes: what is declared.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        self.sizes = sizes
        self._unread = Counter[UnreadVector]()
        self._logged = set[UnreadVector]()

    def encode(
        self, items: Sequence[Item | None], encoder: TextEncoder, text_of: Callable[[str], str]
    ) -> NDArray[np.float32]:
        """Encode items ``[n]`` to ``[n, d + Σk]``.

        Args:
            items: None for one that only acts name.
            encoder: of texts.
            text_of: returns the text of a related item by its id, empty if it has none.
        """
        for item in items:
            if item is not None and item.vectors:
                self._count_undeclared(item)
        texts = encoder.encode([item.text if item else "" for item in items])
        columns = [texts]
        for name, width in self.sizes.vectors.items():
            columns.append(_column(len(items), width, self._vectors(name, items)))
        for name in self.sizes.attributes:
            columns.append(_column(len(items), CODE_WIDTH, _codes(name, items)))
        if self.sizes.relations:
            related = self._related(items, encoder, text_of)
            columns.append(_column(len(items), encoder.width, related))
        return np.concatenate(columns, axis=1)

    def take_unread(self) -> Counter[UnreadVector]:
        """Return how many vectors were left out since this was last taken."""
        unread, self._unread = self._unread, Counter()
        return unread

    def _related(
        self, items: Sequence[Item | None], encoder: TextEncoder, text_of: Callable[[str], str]
    ) -> Iterator[RowVector]:
        """Yield the direction of the summed texts of the related items that have one."""
        for row, item in enumerate(items):
            texts = [text_of(other) for other in related_items(item, self.sizes.relations)] if item else []
            if any(texts):
                yield row, _direction(encoder.encode(texts).sum(axis=0))

    def _vectors(self, name: str, items: Sequence[Item | None]) -> Iterator[RowVector]:
        """Yield the vectors of a name that can be read, with their rows."""
        width = self.sizes.vectors[name]
        for row, item in enumerate(items):
            numbers = item.vectors.get(name) if item else None
            if numbers is None:
                continue
            if len(numbers) != width:
                self._count(UnreadVector.WIDTH, f"{name} has {counted(len(numbers), 'number')}, not {width}")
            elif not SHORTEST <= (length := math.hypot(*numbers)) <= LONGEST:
                self._count(UnreadVector.LENGTH, f"{name} has the length {length:g}")
            else:
                yield row, np.array(numbers) / length

    def _count_undeclared(self, item: Item) -> None:
        for name in item.vectors:
            if name not in self.sizes.vectors:
                self._count(UnreadVector.UNDECLARED, f"{name!r} is not in learn.sizes.vectors")

    def _count(self, reason: UnreadVector, found: str) -> None:
        self._unread[reason] += 1
        if reason not in self._logged:
            self._logged.add(reason)
            log.warning("items are read without some of their vectors (%s): the first %s", reason, found)


def _codes(attribute: str, items: Sequence[Item | None]) -> Iterator[RowVector]:
    """Yield the direction of the code of the attribute's values for each item that has it."""
    for row, item in enumerate(items):
        values = values_of(item, attribute) if item is not None else ()
        if values:
            yield row, _direction(code_of(attribute, values))


def _direction(vector: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return a vector of length 1; zeros for one of zeros, as opposite ones sum to."""
    return vector / (np.linalg.norm(vector) or 1.0)


def _column(size: int, width: int, vectors: Iterable[RowVector]) -> NDArray[np.float32]:
    """Return vectors in their rows ``[size, width]``, rounded to 16 bits a number; zeros elsewhere."""
    column = np.zeros((size, width), dtype=np.float16)
    for row, vector in vectors:
        column[row] = vector
    return column.astype(np.float32)
