"""What a record of the source becomes."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import InvalidEvent


class BridgedRecord(NamedTuple):
    """A record to append; `kind` is for metrics."""

    topic: str
    key: str
    value: bytes | None
    kind: str


class Decision(NamedTuple):
    """Records to append, a refusal, a reason to leave something out; more than one if it has several acts."""

    records: tuple[BridgedRecord, ...] = ()
    refusal: InvalidEvent | None = None
    dropped: str | None = None

    def with_others(self, others: Decision) -> Decision:
        """Return both; of two refusals, or two reasons, the first."""
        return Decision(
            self.records + others.records, self.refusal or others.refusal, self.dropped or others.dropped
        )
