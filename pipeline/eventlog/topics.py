"""The topics of one model: names, required settings, creation and checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog, TopicSpec


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics of one model: ``<prefix>.<name>``.

    >>> Topics("shop").dead_letters
    'shop.dead-letters'
    """

    prefix: str

    @property
    def interactions(self) -> str:
        """Acts of users; the key is the user."""
        return f"{self.prefix}.interactions"

    @property
    def items(self) -> str:
        """The catalogue, compacted; the key is the item."""
        return f"{self.prefix}.items"

    @property
    def impressions(self) -> str:
        """Items shown to users; the key is the user."""
        return f"{self.prefix}.impressions"

    @property
    def snapshots(self) -> str:
        """Announcements of published snapshots, compacted; the key is the version."""
        return f"{self.prefix}.snapshots"

    @property
    def histories(self) -> str:
        """The last acts of each user, compacted; the key is the user."""
        return f"{self.prefix}.histories"

    @property
    def control(self) -> str:
        """Drift alarms, retrain requests and promotions."""
        return f"{self.prefix}.control"

    @property
    def dead_letters(self) -> str:
        """Records that are not valid events, with the reason."""
        return f"{self.prefix}.dead-letters"

    @property
    def journal(self) -> str:
        """The batches that the learner learned, one entry per batch."""
        return f"{self.prefix}.journal"

    def specs(self, partitions: int, retention_ms: int, compaction_lag_ms: int) -> list[TopicSpec]:
        """List the required settings of every topic.

        `partitions` can never change, because keys must stay in their partition. `retention_ms`
        must cover the windows that retraining and rebuilding read. `compaction_lag_ms` must cover
        the time within which a journal may be replayed, because a replay must find the item
        records that were read the first time. Histories need no lag: only the last is read.
        """
        return [
            TopicSpec(self.interactions, partitions, retention_ms=retention_ms),
            TopicSpec(self.impressions, partitions, retention_ms=retention_ms),
            TopicSpec(self.items, partitions, compacted=True, compaction_lag_ms=compaction_lag_ms),
            TopicSpec(self.histories, partitions, compacted=True),
            TopicSpec(self.snapshots, 1, compacted=True),
            TopicSpec(self.control, 1, retention_ms=retention_ms),
            TopicSpec(self.dead_letters, 1, retention_ms=retention_ms),
            TopicSpec(self.journal, 1, retention_ms=retention_ms),
        ]

    def create(self, log: EventLog, partitions: int, retention_ms: int, compaction_lag_ms: int) -> list[str]:
        """Create the missing topics, leave the others unchanged, and return the names created."""
        return log.create_topics(self.specs(partitions, retention_ms, compaction_lag_ms))

    def check(self, log: EventLog, partitions: int, retention_ms: int, compaction_lag_ms: int) -> None:
        """Compare the topics with their required settings; a longer retention is accepted.

        Raises:
            TopicError: a topic does not match; lists every mismatch and its remedy.
        """
        present = log.describe_topics()
        specs = self.specs(partitions, retention_ms, compaction_lag_ms)
        faults = [fault for spec in specs for fault in _faults(spec, present.get(spec.name))]
        if faults:
            raise TopicError("\n".join(faults))


def _faults(required: TopicSpec, actual: TopicSpec | None) -> Iterator[str]:
    name = required.name
    if actual is None:
        yield f"{name}: missing; run `millstream topics create`"
        return
    if actual.partitions != required.partitions:
        yield (
            f"{name}: {actual.partitions} partitions instead of {required.partitions}; the number "
            "is fixed at creation: use another prefix, or the setting that the topic was created with"
        )
    if actual.compacted != required.compacted:
        policies = {True: "compacted", False: "not compacted"}
        yield f"{name}: is {policies[actual.compacted]}, must be {policies[required.compacted]}"
    if _forever(actual.retention_ms) < _forever(required.retention_ms):
        needed = "for ever" if required.retention_ms is None else f"{required.retention_ms} ms"
        yield f"{name}: keeps records {actual.retention_ms} ms, must keep them {needed}; raise retention.ms"
    if actual.compacted and actual.compaction_lag_ms < required.compaction_lag_ms:
        yield (
            f"{name}: superseded records stay {actual.compaction_lag_ms} ms, must stay "
            f"{required.compaction_lag_ms} ms; raise min.compaction.lag.ms"
        )


def _forever(retention_ms: int | None) -> float:
    return float("inf") if retention_ms is None else retention_ms
