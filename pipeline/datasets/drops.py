"""Rows that a reader leaves out: counted by reason, with the place of the first."""

from __future__ import annotations

from collections import Counter

from pipeline.wording import counted


class Drops:
    """Counts of dropped rows by reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, place: str) -> None:
        """Count a row; `place` is its ``path:line``."""
        self.counts[reason] += 1
        self.first.setdefault(reason, place)

    def lines(self) -> list[str]:
        """Describe each reason in one line, the most frequent first."""
        return [
            f"dropped {counted(count, 'row')}: {reason} (the first at {self.first[reason]})"
            for reason, count in self.counts.most_common()
        ]
