"""A gap in the log is refused by name until it is accepted; then it is in the journal, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from pipeline.errors import RecordsLost
from pipeline.eventlog import replaced
from pipeline.eventlog.port import TopicPartition
from pipeline.eventlog.sqlite.log import SqliteLog
from pipeline.journal import gap
from pipeline.journal.entry import Verb, read_journal
from pipeline.journal.gap import Skip, resume
from pipeline.journal.position import Position
from pipeline.wording import counted
from tests.support.model_harness import ModelHarness, tiny_settings

HOUR_MS = 3_600_000
INPUTS = ("impressions", "interactions", "items")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with ModelHarness(tiny_settings(tmp_path, backbone_folder)) as harness:
        yield harness


def learned(harness: ModelHarness) -> Position:
    """Learn a little, and checkpoint it; then more comes."""
    with harness.busy(batches=2) as learning:
        learning.catch_up()
        learning.checkpoint()
        harness.shop(20)
        return learning.position


def expired(harness: ModelHarness, folder: Path) -> SqliteLog:
    """The log at a time when retention has taken all of it."""
    later = max(record.append_time for topic in harness.topics.inputs for record in harness.records(topic))
    log = SqliteLog(
        folder / "log.db", lambda: later + int(harness.settings.log.retention_hours * HOUR_MS) + 1
    )
    log.upkeep()
    return log


def resumed(harness: ModelHarness, log: SqliteLog, start: Position, *, accepts: bool = True) -> Position:
    with log.fenced_writer(harness.topics.journal, owner="test") as journal:
        return resume(log, harness.topics, journal, start, "print", accepts=accepts)


def skips(harness: ModelHarness, log: SqliteLog) -> list[str]:
    entries = [entry for entry, _ in read_journal(log, harness.topics.journal)]
    return [entry.version for entry in entries if entry.verb is Verb.SKIP]


def test_without_a_gap_the_learner_goes_on_where_it_stands(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    with SqliteLog(tmp_path / "log.db") as log:
        assert resumed(harness, log, start, accepts=False) == start
        assert not skips(harness, log)


def test_what_retention_took_unlearned_is_named_and_refused(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    with expired(harness, tmp_path) as log:
        with pytest.raises(RecordsLost, match=r"--accept-gap") as caught:
            resumed(harness, log, start, accepts=False)
        assert not skips(harness, log)
        ends = log.end_offsets([harness.topics.interactions])
    for source, end in ends.items():
        lost = end - start.offsets[source]
        if lost:
            assert f"{source} has lost {counted(lost, 'record')}," in str(caught.value)


def test_an_accepted_gap_is_journalled_once_and_counted(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    with expired(harness, tmp_path) as log:
        position = resumed(harness, log, start)
        assert position.version == f"{start.generation + 1}-{start.step + 1}"
        assert skips(harness, log) == [position.version]
        assert sum(Skip(position, start).lost.values()) == 20
        assert Skip(position, start).topics == {harness.topics.interactions}
        assert "mill.interactions/0 has lost" in Skip(position, start).reason
        assert not Skip(position, start).goes_back
        assert resumed(harness, log, start, accepts=False) == position, "a crash before the next checkpoint"
        assert resumed(harness, log, position, accepts=False) == position
        assert skips(harness, log) == [position.version]


def test_a_log_made_again_is_read_from_its_begin(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    for file in tmp_path.glob("log.db*"):
        file.rename(file.with_name(f"old-{file.name}"))
    with ModelHarness(harness.settings) as again, SqliteLog(tmp_path / "log.db") as log:
        again.shop(200)  # offsets of before are there once more, and mean other records
        with pytest.raises(RecordsLost, match=r"mill\.interactions was deleted and made again"):
            resumed(again, log, start, accepts=False)
        position = resumed(again, log, start)
        assert position.generation == start.generation + 1
        assert set(position.offsets.values()) == {0}
        skip = Skip(position, start)
        assert skip.goes_back and not skip.lost, "what the old topic had is not known"
        assert skip.topics == set(again.topics.inputs)
        again_made = [f"mill.{topic} was deleted and made again" for topic in INPUTS]
        assert skip.reason == "; ".join(again_made)
        assert resumed(again, log, position, accepts=False) == position


def test_a_log_that_ends_too_early_is_no_log_to_go_on_with(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    source = TopicPartition(harness.topics.interactions, 0)
    ahead = replace(start, offsets=start.offsets | {source: 10_000})
    with SqliteLog(tmp_path / "log.db") as log:
        end = log.end_offsets([harness.topics.interactions])[source]
        with pytest.raises(RecordsLost, match=rf"mill\.interactions/0 ends at {end}, before 10000"):
            resumed(harness, log, ahead, accepts=False)
        position = resumed(harness, log, ahead)
    assert position.offsets == start.offsets | {source: end}
    assert Skip(position, ahead).goes_back


def test_a_broker_that_has_just_come_back_may_say_less_at_first(
    harness: ModelHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = learned(harness)
    monkeypatch.setattr(gap, "PATIENCE_SECONDS", 10.0)
    monkeypatch.setattr(replaced, "POLL_SECONDS", 0.0)
    with SqliteLog(tmp_path / "log.db") as log:
        ends, answers = log.end_offsets, repeat(0, 3)

        def early(topics: Iterable[str]) -> dict[TopicPartition, int]:
            """The end of an empty log, three times."""
            return {source: next(answers, end) for source, end in ends(topics).items()}

        monkeypatch.setattr(log, "end_offsets", early)
        assert resumed(harness, log, start, accepts=False) == start
        assert next(answers, None) is None


def test_lost_impressions_are_passed_over_without_being_asked(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    for number in range(3):
        harness.show("ann", "red-cup", name=f"i{number}")
    lost = harness.log.end_offsets([harness.topics.impressions])
    with expired(harness, tmp_path) as log:
        ends = log.end_offsets([harness.topics.interactions])
        start = replace(start, offsets={**start.offsets, **ends})  # learned in time
        position = resumed(harness, log, start, accepts=False)
        skip = Skip(position, start)
        assert skip.topics == {harness.topics.impressions}
        assert sum(skip.lost.values()) == 3
        assert not skip.goes_back
        assert {source: position.offsets[source] for source in lost} == lost
        assert resumed(harness, log, position, accepts=False) == position


def test_lost_impressions_hide_no_lost_interactions(harness: ModelHarness, tmp_path: Path) -> None:
    start = learned(harness)
    harness.show("ann", "red-cup", name="i")
    with expired(harness, tmp_path) as log:
        with pytest.raises(RecordsLost, match=r"mill\.impressions/. has lost 1 record,"):
            resumed(harness, log, start, accepts=False)
        assert Skip(resumed(harness, log, start), start).topics == {
            harness.topics.interactions,
            harness.topics.impressions,
        }


def test_impressions_made_again_begin_at_their_begin(harness: ModelHarness, tmp_path: Path) -> None:
    start = replace(learned(harness), fold_to={TopicPartition(harness.topics.interactions, 0): 7})
    older = replace(start, topic_ids={**start.topic_ids, harness.topics.impressions: "another"})
    with SqliteLog(tmp_path / "log.db") as log:
        position = resumed(harness, log, older, accepts=False)
    assert position.generation == start.generation + 1
    assert position.topic_ids == log_ids(harness)
    assert position.fold_to == start.fold_to, "what is to be folded is not learned because of impressions"


def log_ids(harness: ModelHarness) -> dict[str, str]:
    return harness.log.topic_ids(harness.topics.inputs)
