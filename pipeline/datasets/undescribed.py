"""Acts on items that the catalogue does not describe: often ids that are written in two ways."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.events import CatalogueRecord, Interaction

MOST_UNDESCRIBED = 0.5
"""Up to this share of the acts, items may have left the catalogue; beyond it, something is wrong."""


class UndescribedActs:
    """Counts the acts on items that no record of the catalogue is about."""

    def __init__(self) -> None:
        self._described = set[str]()
        self._example = self._unknown = ""
        self._n = self._undescribed = 0

    def add(self, items: Iterable[CatalogueRecord], acts: Iterable[Interaction]) -> None:
        """Add records of the catalogue, and the acts that followed."""
        for record in items:
            item = record if isinstance(record, str) else record.item
            self._described.add(item)
            self._example = self._example or item
        for act in acts:
            self._n += 1
            if act.item not in self._described:
                self._undescribed += 1
                self._unknown = self._unknown or act.item

    def warning(self) -> str | None:
        """Say that most acts are on unknown items; None if they are not, or there is no catalogue."""
        if not self._described or self._undescribed <= MOST_UNDESCRIBED * self._n:
            return None
        return (
            f"{self._undescribed:,} of {self._n:,} acts are on items that the catalogue does not describe, "
            f"such as {self._unknown!r}, so their texts are not known. The catalogue has items such as "
            f"{self._example!r}: are ids written in the same way in both?"
        )
