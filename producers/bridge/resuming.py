"""Where a bridge goes on: at its position, or behind what the source has lost since.

Retention deletes what was not read in time, a topic can be made again, a cluster restored from an old copy.
None of it is passed over in silence: the bridge stops and says what is lost; once that is accepted, it is
logged and counted.
"""

from __future__ import annotations

import logging

from pipeline import metrics
from pipeline.config import BridgeConfig
from pipeline.errors import RecordsLost, TopicError
from pipeline.eventlog.port import EventLog, Offsets
from pipeline.eventlog.replaced import renewed, replacements, wait_for_the_end
from pipeline.wording import counted
from producers.bridge.position import SourcePosition

PATIENCE_SECONDS = 10.0
"""For a topic that ends too early."""

log = logging.getLogger(__name__)


def resume(
    source: EventLog, topic: str, before: SourcePosition | None, config: BridgeConfig
) -> SourcePosition:
    """Return the position from which a topic of the source can be read.

    Args:
        source: the log that has the topic.
        topic: its name.
        before: the stored position; None for a topic that was not read before.
        config: of the bridge.

    Raises:
        TopicError: there is no such topic.
        RecordsLost: records after the position are gone, and that is not accepted.
    """
    topic_id = source.topic_ids([topic]).get(topic)
    if topic_id is None:
        raise TopicError(
            f"{topic}: the bridge's source has no such topic; see `url` and `topics` in [bridge]"
        )
    if before is not None and not renewed({topic: before.topic_id}, {topic: topic_id}):
        wait_for_the_end(source, before.by_partition, PATIENCE_SECONDS)
    begins, ends = source.begin_offsets([topic]), source.end_offsets([topic])
    if before is None:
        at = begins if config.start == "earliest" else ends
        return SourcePosition(topic=topic, topic_id=topic_id, identity=topic_id, offsets=_of_partitions(at))
    return _after_gaps(before, topic_id, begins, ends, config)


def _after_gaps(
    before: SourcePosition, topic_id: str, begins: Offsets, ends: Offsets, config: BridgeConfig
) -> SourcePosition:
    """Go on at the nearest offsets that the source holds; new partitions are read from their beginning."""
    ids, ids_now = {before.topic: before.topic_id}, {before.topic: topic_id}
    replaced = replacements(before.by_partition, ids, ends, ids_now)
    at = {} if renewed(ids, ids_now) else before.by_partition
    lost = {
        source: begins[source] - offset for source, offset in at.items() if begins.get(source, 0) > offset
    }
    faults = replaced + [
        f"{source} has lost {counted(count, 'record')}, {begins[source] - count} to {begins[source] - 1}"
        for source, count in sorted(lost.items())
    ]
    if faults:
        _accept(before.topic, sum(lost.values()), "; ".join(faults), config)
    held = {source: min(max(at.get(source, begin), begin), ends[source]) for source, begin in begins.items()}
    identity = f"{topic_id}~{sum(before.offsets.values())}" if replaced else before.identity
    return SourcePosition(
        topic=before.topic, topic_id=topic_id, identity=identity, offsets=_of_partitions(held)
    )


def _accept(topic: str, lost: int, faults: str, config: BridgeConfig) -> None:
    if not config.accept_gap:
        raise RecordsLost(f"not bridged: {faults}", "without these records", "bridge")
    log.warning("the bridge goes on without records that its source has lost: %s", faults)
    metrics.GAPS.labels(topic).inc()
    metrics.LOST_RECORDS.labels(topic).inc(lost)


def _of_partitions(offsets: Offsets) -> dict[int, int]:
    return {source.partition: offset for source, offset in offsets.items()}
