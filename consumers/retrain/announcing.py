"""Announcing: a decision on the control topic, and the promotion that follows from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.control.records import ControlRecord, GateDecision, Promotion
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.retraining.candidates import Candidates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcer:
    """Publishes decisions."""

    event_log: EventLog
    topics: Topics

    def announce(self, decision: GateDecision) -> None:
        """Publish a decision, and order the promotion if that is what was decided."""
        with self.event_log.writer() as writer:
            for record in _records_of(decision):
                writer.append(self.topics.control, record.key, record.encode())
            writer.flush()
        found = {"candidate": decision.candidate, "outcome": decision.outcome}
        log.warning("%s is %s: %s", *found.values(), "; ".join(decision.reasons), extra=found)

    def publish_pending(self, candidates: Candidates) -> None:
        """Publish the decisions that an earlier process made and could not publish."""
        published = {record.key for record in read(self.event_log, self.topics.control)}
        for candidate in candidates.all():
            decision = candidate.decision()
            if decision is not None and any(r.key not in published for r in _records_of(decision)):
                self.announce(decision)


def _records_of(decision: GateDecision) -> list[ControlRecord]:
    """The decision, and the order that follows from it."""
    if decision.outcome != "promoted":
        return [decision]
    order = Promotion(
        candidate=decision.candidate,
        generation=decision.generation,
        ordered_at=0,
        reason="the Gate promotes it",
    )
    return [decision, order]
