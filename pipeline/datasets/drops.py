"""Rows that a reader leaves out: counted by reason, with the place of the first."""

from __future__ import annotations

from collections import Counter

from pipeline.datasets.mapping import Mapping
from pipeline.datasets.records import refuse_line
from pipeline.datasets.row_reader import InvalidField
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.wording import counted


class Drops:
    """Counts of dropped rows by reason.

    A row that cannot be read is refused, unless a mapping wants such rows dropped.

    Attributes:
        counts: rows by reason.
        first: the place of the first of them.
        invalid: rows that cannot be read and were dropped.
    """

    def __init__(self, mapping: Mapping | None = None) -> None:
        """Count nothing yet; without a mapping, each line is an event."""
        self._mapping = mapping
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.invalid = 0

    def add(self, reason: str, place: str) -> None:
        """Count a row; `place` is its ``path:line``."""
        self.counts[reason] += 1
        self.first.setdefault(reason, place)

    def refuse(self, place: str, error: InvalidEvent | InvalidField) -> None:
        """Refuse a row for what is wrong with a field, or drop it.

        Raises:
            DatasetError: it is refused; names the place and the fault.
        """
        reason = error.reason if isinstance(error, InvalidField) else str(error)
        self._refuse(place, reason, str(error))

    def refuse_row(self, place: str, fault: str, details: str) -> None:
        """Refuse a row without cells, or drop it; see `pipeline.datasets.records.Refuse`.

        Raises:
            DatasetError: it is refused.
        """
        if self._mapping is None:
            refuse_line(place, fault, details)
        self._refuse(place, fault, fault + details)

    def _refuse(self, place: str, reason: str, detail: str) -> None:
        if self._mapping is None or self._mapping.invalid == "refuse":
            raise DatasetError(f"{place}: {detail}") from None
        self.invalid += 1
        self.add(reason, place)

    def lines(self) -> list[str]:
        """Describe each reason in one line, the most frequent first."""
        return [
            f"dropped {counted(count, 'row')}: {reason} (the first at {self.first[reason]})"
            for reason, count in self.counts.most_common()
        ]
