"""How many items have each modality: when they have doubled, its map is drawn again."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.model.fusion import FEWEST, MOST_READ, Fusion
from pipeline.model.item_table import ItemTable


class ModalityCounts:
    """Counts of the rows of a table with a vector of each modality, from the first change of content.

    They follow from the table, so that no checkpoint holds them. Maps are drawn when a count reaches 64, 128,
    256 and so on: at the same batch whenever the journal is learned.
    """

    def __init__(self) -> None:
        self._counts: list[int] | None = None

    def set_content(self, fusion: Fusion, table: ItemTable, rows: Tensor, content: Tensor) -> None:
        """Set the content ``[n, d + Σk]`` of rows ``[n]``, and draw the maps of modalities that are due."""
        if not len(fusion) or not len(rows):
            table.set_content(rows, content)
            return
        before = _counts(fusion, table) if self._counts is None else self._counts
        lost = _counts(fusion, table, rows)
        table.set_content(rows, content)
        won = _counts(fusion, table, rows)
        self._counts = [sum(parts) - less for *parts, less in zip(before, won, lost, strict=True)]
        for number, (old, new) in enumerate(zip(before, self._counts, strict=True)):
            if new >= FEWEST and new.bit_length() > old.bit_length():
                fusion.spread(number, _vectors(fusion, table, number))


def _brought(table: ItemTable) -> Tensor:
    """Return what stands beside the texts, ``[n, Σk]``."""
    found = table.all()
    return found.content[:, found.residual.shape[1] :]


def _counts(fusion: Fusion, table: ItemTable, rows: Tensor | None = None) -> list[int]:
    """Count the given rows, or all, that have each modality."""
    brought = _brought(table) if rows is None else _brought(table)[rows]
    return [int(part.any(dim=1).sum()) for part in fusion.parts(brought)]


def _vectors(fusion: Fusion, table: ItemTable, number: int) -> Tensor:
    """Return what stands beside the texts of rows that have a modality, evenly among all."""
    brought = _brought(table)
    rows = fusion.parts(brought)[number].any(dim=1).nonzero().squeeze(1)
    chosen = torch.arange(min(len(rows), MOST_READ), device=rows.device) * len(rows) // MOST_READ
    return brought[rows[chosen] if len(rows) > MOST_READ else rows].float()
