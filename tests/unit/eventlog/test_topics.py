"""The topics of one model, created and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicSpec, read
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.eventlog.topics import Topics

TOPICS = Topics("shop")
HOUR = 3_600_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path}/log.db") as log:
        yield log


def test_names_carry_the_prefix() -> None:
    assert [spec.name for spec in TOPICS.specs(4, HOUR, HOUR)] == [
        *["shop.interactions", "shop.impressions", "shop.outcomes", "shop.items", "shop.users", "shop.rules"],
        *["shop.histories", "shop.snapshots", "shop.positions", "shop.policies"],
        *["shop.control", "shop.dead-letters", "shop.journal"],
    ]


def test_what_is_created_passes_the_check(log: EventLog) -> None:
    assert len(TOPICS.create(log, 4, 24 * HOUR, HOUR)) == 13
    assert TOPICS.create(log, 4, 24 * HOUR, HOUR) == []
    TOPICS.check(log, 4, 24 * HOUR, HOUR)
    TOPICS.check(log, 4, HOUR, 0)


def test_every_mismatch_is_listed(log: EventLog) -> None:
    log.create_topics(
        [
            TopicSpec(TOPICS.interactions, 2, retention_ms=24 * HOUR),
            TopicSpec(TOPICS.impressions, 4, retention_ms=HOUR),
            TopicSpec(TOPICS.items, 4, compacted=True),
            TopicSpec(TOPICS.histories, 4),
            TopicSpec(TOPICS.snapshots, 1, compacted=True, retention_ms=HOUR),
            TopicSpec(TOPICS.control, 1),
            TopicSpec(TOPICS.journal, 1, retention_ms=24 * HOUR),
        ]
    )
    with pytest.raises(TopicError) as caught:
        TOPICS.check(log, 4, 24 * HOUR, HOUR)
    faults = str(caught.value).splitlines()
    for fault, (name, words) in zip(
        faults,
        [
            ("shop.interactions", "2 partitions instead of 4"),
            ("shop.impressions", "must keep them 86400000 ms"),
            ("shop.outcomes", "missing"),
            ("shop.items", "must stay 3600000 ms"),
            ("shop.users", "missing; run `millstream topics create`"),
            ("shop.rules", "missing; run `millstream topics create`"),
            ("shop.histories", "is not compacted, must be compacted"),
            ("shop.snapshots", "must keep them for ever"),
            ("shop.positions", "missing"),
            ("shop.policies", "missing"),
            ("shop.dead-letters", "missing"),
        ],
        strict=True,
    ):
        assert fault.startswith(f"{name}: ")
        assert words in fault


def test_each_fault_names_what_mends_it(log: EventLog) -> None:
    log.create_topics(
        [
            TopicSpec(TOPICS.interactions, 2, retention_ms=24 * HOUR),
            TopicSpec(TOPICS.control, 2, retention_ms=HOUR),
        ]
    )
    with pytest.raises(TopicError) as caught:
        TOPICS.check(log, 4, 24 * HOUR, HOUR)
    faults = str(caught.value).splitlines()
    migrate = "`millstream topics migrate --to shop-4 --partitions 4`"
    assert faults[0].endswith(migrate)
    assert "`partitions = 2` in [log]" in faults[0]
    assert faults[1] == "shop.impressions: missing; run `millstream topics create`"
    (short,) = (fault for fault in faults if "control: keeps records" in fault)
    assert short.endswith("run `millstream topics alter`")
    (split,) = (fault for fault in faults if "control: 2 partitions" in fault)
    assert "in [log]" not in split


def test_alter_sets_everything_but_the_partitions(log: EventLog) -> None:
    TOPICS.create(log, 4, HOUR, 0)
    assert TOPICS.alter(log, 4, HOUR, 0) == []
    names = [TOPICS.interactions, TOPICS.impressions, TOPICS.outcomes, TOPICS.items, TOPICS.users]
    names += [TOPICS.rules, TOPICS.control, TOPICS.dead_letters, TOPICS.journal]
    assert TOPICS.alter(log, 4, 24 * HOUR, HOUR) == names
    TOPICS.check(log, 4, 24 * HOUR, HOUR)
    assert TOPICS.alter(log, 8, HOUR, 0) == []


def test_a_topic_that_becomes_compacted_drops_records_without_a_key(tmp_path: Path) -> None:
    now = [1_000]
    with SqliteLog(tmp_path / "log.db", lambda: now[0]) as log:
        log.create_topics([TopicSpec("t", 1)])
        with log.writer() as writer:
            for key in (None, "a", None, "a"):
                writer.append("t", key, b"value")
        log.alter_topic(TopicSpec("t", 1, compacted=True), ["compacted"])
        now[0] += 1
        log.upkeep()
        assert [record.offset for record in read(log, "t")] == [3]
