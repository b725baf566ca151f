"""Rows that a reader leaves out: counted by reason, with the place of the first."""

from __future__ import annotations

from collections import Counter

from pipeline.datasets.mapping import Mapping
from pipeline.datasets.row_reader import InvalidField
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.wording import counted


class Drops:
    """Counts of dropped rows by reason.

    Attributes:
        counts: rows by reason.
        first: the place of the first of them.
        invalid: rows that cannot be read, which end the reading unless a mapping says otherwise.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.invalid = 0

    def add(self, reason: str, place: str) -> None:
        """Count a row; `place` is its ``path:line``."""
        self.counts[reason] += 1
        self.first.setdefault(reason, place)

    def refuse(self, place: str, error: InvalidEvent | InvalidField, mapping: Mapping | None) -> None:
        """Refuse a row, or count it where its mapping wants invalid rows dropped.

        Raises:
            DatasetError: it is refused; names the place and the fault.
        """
        detail = error.detail if isinstance(error, InvalidField) else str(error)
        self.refuse_row(place, error.reason, detail, mapping)

    def refuse_row(self, place: str, reason: str, detail: str, mapping: Mapping | None) -> None:
        """Refuse a row for a reason that is no single field's, or count it, as `refuse` does."""
        if mapping is None or mapping.invalid == "refuse":
            raise DatasetError(f"{place}: {detail}") from None
        self.invalid += 1
        self.add(reason, place)

    def lines(self) -> list[str]:
        """Describe each reason in one line, the most frequent first."""
        return [
            f"dropped {counted(count, 'row')}: {reason} (the first at {self.first[reason]})"
            for reason, count in self.counts.most_common()
        ]
