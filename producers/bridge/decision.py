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
    """Records to append; or a refusal; or a reason why the record is left out."""

    records: tuple[BridgedRecord, ...] = ()
    refusal: InvalidEvent | None = None
    dropped: str | None = None
