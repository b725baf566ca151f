"""The topics of one model: names, required settings, creation and checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog, TopicSpec
from pipeline.wording import counted

READABLE_COMPRESSION = frozenset({"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"})
"""The values of Kafka's `compression.type` that every reader of this version can read."""


class TopicFault(NamedTuple):
    """What is wrong with a topic, and what mends it."""

    text: str
    remedy: str


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
    def users(self) -> str:
        """What rules and the model may know of each user, compacted; the key is the user."""
        return f"{self.prefix}.users"

    @property
    def rules(self) -> str:
        """Business rules, compacted; the key is the rule's name."""
        return f"{self.prefix}.rules"

    @property
    def impressions(self) -> str:
        """Items shown to users; the key is the user."""
        return f"{self.prefix}.impressions"

    @property
    def outcomes(self) -> str:
        """What came of what was shown; the key is the impression's id."""
        return f"{self.prefix}.outcomes"

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
    def policies(self) -> str:
        """Changes of the policy that servers use, compacted; each has a key of its own, so all are kept."""
        return f"{self.prefix}.policies"

    @property
    def dead_letters(self) -> str:
        """Records that are not valid events, with the reason."""
        return f"{self.prefix}.dead-letters"

    @property
    def positions(self) -> str:
        """Where bridges are in the topics that they read, compacted; the key is bridge and topic."""
        return f"{self.prefix}.positions"

    @property
    def journal(self) -> str:
        """The batches that the learner learned, one entry per batch."""
        return f"{self.prefix}.journal"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics that every learner reads."""
        return self.items, self.interactions, self.impressions

    @property
    def read_by_learners(self) -> tuple[str, ...]:
        """The topics that a learner may read: users only if its model reads attributes of them."""
        return *self.inputs, self.users

    @property
    def not_in_snapshots(self) -> tuple[str, ...]:
        """Those of them whose records no snapshot covers: servers read users themselves, and need no
        impressions."""
        return self.impressions, self.users

    @property
    def served(self) -> tuple[str, ...]:
        """The topics that answers follow from, beside snapshots."""
        return self.interactions, self.items, self.users, self.rules

    def specs(self, partitions: int, retention_ms: int, compaction_lag_ms: int) -> list[TopicSpec]:
        """List the required settings of every topic.

        `partitions` can never change, because keys must stay in their partition. `retention_ms`
        must cover the windows that retraining and rebuilding read. `compaction_lag_ms` must cover
        the time within which a journal may be replayed, because a replay must find the item
        records that were read the first time; and the time within which a stored request is asked
        again, because its answer followed from the users and rules of its day. Histories need no lag: only
        the last is read.
        """
        return [
            TopicSpec(self.interactions, partitions, retention_ms=retention_ms),
            TopicSpec(self.impressions, partitions, retention_ms=retention_ms),
            TopicSpec(self.outcomes, partitions, retention_ms=retention_ms),
            TopicSpec(self.items, partitions, compacted=True, compaction_lag_ms=compaction_lag_ms),
            TopicSpec(self.users, partitions, compacted=True, compaction_lag_ms=compaction_lag_ms),
            TopicSpec(self.rules, 1, compacted=True, compaction_lag_ms=compaction_lag_ms),
            TopicSpec(self.histories, partitions, compacted=True),
            TopicSpec(self.snapshots, 1, compacted=True),
            TopicSpec(self.positions, 1, compacted=True),
            TopicSpec(self.policies, 1, compacted=True),
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
            TopicError: a topic does not match; lists every fault with the command that mends it.
        """
        faults = self.faults(log, partitions, retention_ms, compaction_lag_ms)
        if faults:
            raise TopicError("\n".join(f"{text}; {remedy}" for text, remedy in faults))

    def faults(
        self, log: EventLog, partitions: int, retention_ms: int, compaction_lag_ms: int
    ) -> list[TopicFault]:
        """List where the topics differ from their required settings; a longer retention is accepted."""
        present = log.describe_topics()
        specs = self.specs(partitions, retention_ms, compaction_lag_ms)
        # A topic that this login may not see is not described; asked for by its name, it is refused.
        log.topic_ids(spec.name for spec in specs if spec.name not in present)
        return [fault for spec in specs for fault in self._faults(log, spec, present.get(spec.name))]

    def alter(self, log: EventLog, partitions: int, retention_ms: int, compaction_lag_ms: int) -> list[str]:
        """Set what differs in the settings of existing topics, except the partitions; return the names."""
        present = log.describe_topics()
        altered = []
        for spec in self.specs(partitions, retention_ms, compaction_lag_ms):
            actual = present.get(spec.name)
            fields = [field for field, _ in _differences(spec, actual)] if actual else []
            if fields:
                log.alter_topic(spec, fields)
                altered.append(spec.name)
        return altered

    def _faults(self, log: EventLog, required: TopicSpec, actual: TopicSpec | None) -> Iterator[TopicFault]:
        name = required.name
        if actual is None:
            yield TopicFault(f"{name}: missing", "run `millstream topics create`")
            return
        if actual.partitions != required.partitions:
            yield self._other_partitions(name, required.partitions, actual.partitions)
        for field, fault in _differences(required, actual):
            yield TopicFault(f"{name}: {fault}", f"run `{log.alter_command(required, field)}`")

    def _other_partitions(self, name: str, required: int, actual: int) -> TopicFault:
        setting = f"write `partitions = {actual}` in [log], or " if required > 1 else ""
        return TopicFault(
            f"{name}: {counted(actual, 'partition')} instead of {required}",
            f"keys must stay in their partition: {setting}copy the events to new topics, `millstream topics"
            f" migrate --to {self.prefix}-{required} --partitions {required}`",
        )


def _differences(required: TopicSpec, actual: TopicSpec) -> Iterator[tuple[str, str]]:
    """Find the fields of a topic that must be altered, and say what is wrong with each."""
    if actual.compacted != required.compacted:
        policies = {True: "compacted", False: "not compacted"}
        yield "compacted", f"is {policies[actual.compacted]}, must be {policies[required.compacted]}"
    if _unlimited(actual.retention_ms) < _unlimited(required.retention_ms):
        needed = "for ever" if required.retention_ms is None else f"{required.retention_ms} ms"
        yield "retention_ms", f"keeps records {actual.retention_ms} ms, must keep them {needed}"
    if _unlimited(actual.retention_bytes) < _unlimited(required.retention_bytes):
        yield (
            "retention_bytes",
            f"deletes records beyond {actual.retention_bytes} bytes a partition, whatever their age",
        )
    if required.compacted and actual.compaction_lag_ms < required.compaction_lag_ms:
        yield (
            "compaction_lag_ms",
            f"superseded records stay {actual.compaction_lag_ms} ms,"
            f" must stay {required.compaction_lag_ms} ms",
        )
    if actual.log_append_time != required.log_append_time:
        yield (
            "log_append_time",
            "records carry the producer's time, must carry the log's: freshness and windows rest on it",
        )
    if actual.compression not in READABLE_COMPRESSION:
        yield "compression", f"is compressed by {actual.compression}, which cannot be read"
    if actual.max_batch_bytes < required.max_batch_bytes:
        yield (
            "max_batch_bytes",
            f"accepts batches up to {actual.max_batch_bytes} bytes, must accept {required.max_batch_bytes}",
        )


def _unlimited(limit: int | None) -> float:
    return float("inf") if limit is None else limit
