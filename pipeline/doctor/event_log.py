"""The event log: its topics, whether it still holds what was not learned, and its clock."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import LogConfig
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.eventlog.port import NO_TOPIC_ID, EventLog
from pipeline.eventlog.topics import Topics
from pipeline.wording import counted

CLOCK_MS = 2_000
"""How far two clocks may differ before freshness and times mean nothing."""
HALF = 0.5
"""Share of the retention after which what is not learned is in danger."""


def check_topics(opened: EventLog, topics: Topics, config: LogConfig) -> Iterator[Finding]:
    """Compare the topics with their required settings: partitions, retention, compaction, times, sizes."""
    faults = topics.faults(opened, *config.topic_sizes)
    for one in faults:
        yield fault("topics", one.text, one.remedy)
    if NO_TOPIC_ID in opened.topic_ids([topics.interactions]).values():
        text = "the log gives its topics no ids: nobody notices that one was deleted and made again"
        yield warning("topics", text, "upgrade the brokers to Kafka 2.8 or later")
    if not faults:
        yield ok("topics", f"all are as the settings want them, {counted(config.partitions, 'partition')}")


def check_retention(opened: EventLog, topics: Topics) -> Iterator[Finding]:
    """Compare what the learner has reported with what the log still holds."""
    inputs = [topics.interactions, topics.items]
    reported = opened.reported(f"{topics.prefix}.learn", inputs)
    begin, end = opened.begin_offsets(inputs), opened.end_offsets(inputs)
    lost = sum(max(0, begin[source] - at) for source, at in reported.items() if source in begin)
    beyond = [source for source, at in reported.items() if at > end.get(source, at)]
    if beyond:
        text = f"{beyond[0]} ends before what the learner has learned: it is another log, or an old copy"
        yield fault("retention", text, "put the log back, or `millstream learn --accept-gap`")
    elif lost:
        text = f"the log has deleted {counted(lost, 'record')} before the learner has read as far"
        yield fault("retention", text, "restore them, or `millstream learn --accept-gap`")
    elif passed := _lost_impressions(opened, topics):
        text = f"the log has deleted {counted(passed, 'impression')} before it was seen what came after"
        yield warning("retention", text, "start `millstream learn`, or raise `log.retention_hours`")
    elif not reported:
        yield ok("retention", "nothing has been learned yet")
    else:
        yield ok("retention", "the log holds everything that is not learned yet")


def _lost_impressions(opened: EventLog, topics: Topics) -> int:
    reported = opened.reported(f"{topics.prefix}.learn", [topics.impressions])
    begin = opened.begin_offsets([topics.impressions])
    return sum(max(0, begin[source] - at) for source, at in reported.items() if source in begin)


def check_clock(opened: EventLog, topics: Topics, now_ms: int) -> Iterator[Finding]:
    """Look for records that were appended in the future: then this clock, or the log's, is wrong."""
    names = [topics.interactions, topics.items, topics.journal, topics.snapshots]
    end = opened.end_offsets(names)
    ahead = opened.offsets_at(names, now_ms + CLOCK_MS)
    later = sum(end[source] - ahead[source] for source in end)
    if later:
        text = f"{counted(later, 'record')} appended more than {CLOCK_MS // 1000} s ahead of this clock"
        remedy = "set the clocks of this machine and of the log's: `timedatectl set-ntp true` on both"
        yield fault("clock", text, remedy)
    else:
        yield ok("clock", "no record was appended later than now")


def check_backlog(opened: EventLog, topics: Topics, config: LogConfig, now_ms: int) -> Iterator[Finding]:
    """Warn when the oldest record that is not learned has passed half of the retention."""
    reported = opened.reported(f"{topics.prefix}.learn", [topics.interactions])
    limit = opened.offsets_at([topics.interactions], now_ms - int(HALF * config.topic_sizes[1]))
    late = sum(max(0, limit[source] - at) for source, at in reported.items() if source in limit)
    if late:
        text = f"{counted(late, 'record')} not learned yet, after half of log.retention_hours"
        yield warning("retention", text, "start `millstream learn`, or raise `log.retention_hours`")
