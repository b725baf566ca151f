"""The topics of one model, created and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicSpec
from pipeline.eventlog.topics import Topics

TOPICS = Topics("shop")
HOUR = 3_600_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path}/log.db") as log:
        yield log


def test_names_carry_the_prefix() -> None:
    assert [spec.name for spec in TOPICS.specs(4, HOUR, HOUR)] == [
        *["shop.interactions", "shop.impressions", "shop.items", "shop.histories"],
        *["shop.snapshots", "shop.control", "shop.dead-letters", "shop.journal"],
    ]


def test_what_is_created_passes_the_check(log: EventLog) -> None:
    assert len(TOPICS.create(log, 4, 24 * HOUR, HOUR)) == 8
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
            ("shop.items", "must stay 3600000 ms"),
            ("shop.histories", "is not compacted, must be compacted"),
            ("shop.snapshots", "must keep them for ever"),
            ("shop.dead-letters", "missing"),
        ],
        strict=True,
    ):
        assert fault.startswith(f"{name}: ")
        assert words in fault
