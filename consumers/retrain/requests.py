"""Requests for a retrain: from an alarm, or from a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from pipeline.control.alarms import RetrainRequest
from pipeline.control.reading import records_of
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.retraining.candidates import Candidates


@dataclass(frozen=True)
class ManualRequest:
    """A request by a person.

    Attributes:
        key: also the name of the candidate.
        since: where the window to train on begins; None for the size in the settings.
    """

    key: str
    since: datetime | None

    @classmethod
    def now(cls, since: datetime | None) -> Self:
        """Make a request with a key of this second."""
        return cls(f"by-hand-{datetime.now(UTC):%Y%m%dT%H%M%S}", since)


def open_request(event_log: EventLog, topics: Topics, candidates: Candidates) -> RetrainRequest | None:
    """Return the newest request of an alarm, unless it is answered; older ones count as answered with it."""
    *_, newest = None, *records_of(event_log, topics, RetrainRequest.decode)
    if newest is None or candidates.named(newest.key).decision() is not None:
        return None
    return newest
