"""What a record of the source becomes."""

from __future__ import annotations

from collections.abc import Sequence
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


def together(decisions: Sequence[Decision]) -> Decision:
    """Return all records; of several refusals, or several reasons, the first."""
    return Decision(
        tuple(record for one in decisions for record in one.records),
        next((one.refusal for one in decisions if one.refusal is not None), None),
        next((one.dropped for one in decisions if one.dropped is not None), None),
    )
