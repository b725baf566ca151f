"""The feed benchmark in short: what it appends, and the longest time without a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.feed import MIB, Feed, Progress
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Item

TOPICS = Topics("shop")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with closing(open_log(f"sqlite:///{tmp_path}/log.db")) as opened:
        TOPICS.create(opened, 2, 1_000_000, 0)
        yield opened


def series_of(items: int, resident_mib: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a learner exposes."""
    return {
        ("millstream_items", frozenset({("daemon", "learn")})): items,
        ("process_resident_memory_bytes", frozenset()): resident_mib * MIB,
    }


def test_the_longest_gap_is_that_between_two_steps_and_lasts_until_now() -> None:
    now = 0.0
    progress, longest = Progress(lambda: now), list[float]()
    for now, step in ((1.0, 1), (2.0, 1), (4.0, 2), (5.0, 3), (9.5, 3)):
        progress.see(series_of(items=int(now), resident_mib=int(10 - now)), "learn", step)
        longest.append(progress.longest)
    assert longest == [1, 1, 3, 3, 4.5]
    assert (progress.items, progress.resident) == (9, 9)


def test_items_share_titles_and_are_all_appended(log: EventLog) -> None:
    Feed(log, TOPICS, "", titles=3).add_items(10, 20)
    items = [item_of(record) for record in read(log, TOPICS.items)]
    assert {item.item for item in items if isinstance(item, Item)} == {f"i{n}" for n in range(10, 20)}
    assert len({item.text for item in items if isinstance(item, Item)}) == 3


def test_acts_and_requests_end_when_it_is_stopped(log: EventLog) -> None:
    stopped = Feed(log, TOPICS, "http://127.0.0.1:9", titles=3)
    stopped.stop.set()
    assert stopped.act(rate=1_000) == 0
    assert stopped.ask() == []
    assert not [interaction_of(record) for record in read(log, TOPICS.interactions)]
