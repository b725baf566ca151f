"""Every record becomes events or a dead letter once by id, whatever happens between its steps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.config import RefusalsConfig
from pipeline.errors import DeliveryError, LogUnavailable, RecordsLost, TopicError
from pipeline.eventlog.port import TopicPartition
from producers.bridge import resuming
from producers.bridge.position import SourcePosition, key_of, stored_positions
from tests.support.bridge_harness import CLICK, CLICKS, PRODUCTS, TOPICS, BridgeHarness, StopsAtTheEnd, mapper
from tests.support.serve_tools import wait_until


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BridgeHarness]:
    monkeypatch.setattr(resuming, "PATIENCE_SECONDS", 0.0)
    with BridgeHarness(tmp_path) as made:
        yield made


def click(number: int) -> dict[str, object]:
    return {**CLICK, "target": {"sku": f"i{number}"}}


def items(harness: BridgeHarness) -> list[str]:
    return sorted(act.item for act in harness.interactions())


def position(harness: BridgeHarness) -> SourcePosition:
    return stored_positions(harness.log, TOPICS, "bridge")[CLICKS]


def test_bridges_acts_and_letters_and_goes_on_where_it_was(harness: BridgeHarness) -> None:
    harness.send(click(1), b"no json", click(2))
    harness.send(click(3), partition=1)
    harness.run()
    assert items(harness) == ["i1", "i2", "i3"]
    (letter,) = harness.letters()
    assert (letter["topic"], letter["partition"], letter["offset"]) == (CLICKS, 0, 1)
    assert (letter["field"], letter["code"]) == ("event", "not_json")
    assert letter["event_id"].endswith("-0-1"), "that of its event, should it be sent once more"
    assert position(harness).offsets == {0: 3, 1: 1}
    harness.send(click(4))
    harness.run()
    assert items(harness) == ["i1", "i2", "i3", "i4"]
    assert len({act.event_id for act in harness.interactions()}) == 4


def test_topics_have_mappings_of_their_own(harness: BridgeHarness) -> None:
    harness.create("web.products")
    harness.send(click(1))
    harness.send({"id": "i1", "name": "Mug"}, topic="web.products")
    harness.run(**{CLICKS: mapper(), "web.products": mapper(PRODUCTS)})
    assert items(harness) == ["i1"] and len(harness.catalogue()) == 1
    assert set(stored_positions(harness.log, TOPICS, "bridge")) == {CLICKS, "web.products"}


def test_what_is_read_again_has_the_same_ids(harness: BridgeHarness) -> None:
    harness.send(*map(click, range(5)))
    harness.run()
    before = position(harness)
    with harness.log.writer() as writer:  # as if it had been killed before its position was stored
        back = before.at({0: 2, 1: 0})
        writer.append(TOPICS.positions, key_of("bridge", CLICKS), back.encode())
        writer.flush()
    harness.run()
    found = harness.interactions()
    assert len(found) == 8
    assert len({act.event_id for act in found}) == len({(act.event_id, act.item) for act in found}) == 5


def test_a_position_is_stored_before_the_first_record(harness: BridgeHarness) -> None:
    """Else a bridge that starts at the end, killed at once, would start at a later end."""
    harness.config = harness.config.replace(start="latest")
    harness.send(click(1))
    harness.run()
    harness.send(click(2))
    harness.run()
    assert items(harness) == ["i2"]


def test_bridges_have_positions_by_name(harness: BridgeHarness) -> None:
    harness.send(click(1))
    harness.run()
    harness.config = harness.config.replace(name="again")
    harness.run()
    assert len(harness.interactions()) == 2
    assert len({act.event_id for act in harness.interactions()}) == 1


class Failing:
    """A log that stores everything, and does not say so at some of the flushes, by number."""

    def __init__(self, log: Any, failures: set[int]) -> None:
        self._log, self.failures, self.flushes = log, failures, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def writer(self, **options: Any) -> Any:
        return _Writer(self._log.writer(**options), self)


class _Writer:
    def __init__(self, writer: Any, log: Failing) -> None:
        self._writer, self._log = writer, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def flush(self) -> None:
        self._writer.flush()
        self._log.flushes += 1
        if self._log.flushes in self._log.failures:
            raise DeliveryError("not acknowledged")


def test_waits_for_a_log_that_does_not_acknowledge(harness: BridgeHarness) -> None:
    harness.send(*map(click, range(3)))
    log, harness.log = harness.log, Failing(harness.log, failures={2, 3})
    harness.run()
    harness.log = log
    found = harness.interactions()
    assert len(found) == 9 and len({act.event_id for act in found}) == 3


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


class Mortal:
    """A log whose writer is killed at its n-th step; what was not flushed is lost, or it is kept."""

    def __init__(self, log: Any, steps: int, keeps: bool) -> None:
        self._log, self._steps, self._keeps = log, steps, keeps
        self._waiting: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def writer(self, **options: Any) -> Any:
        return self

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        self._waiting.append((topic, key, value))
        self._step()

    def flush(self) -> None:
        self._step()
        self._store()
        self._step()

    def close(self) -> None: ...

    def _step(self) -> None:
        self._steps -= 1
        if self._steps == 0:
            if self._keeps:
                self._store()
            raise Killed

    def _store(self) -> None:
        with self._log.writer() as writer:
            for topic, key, value in self._waiting:
                writer.append(topic, key, value)
            writer.flush()
        self._waiting.clear()


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_killed_at_any_step_it_loses_and_doubles_nothing(tmp_path: Path, keeps: bool, start: str) -> None:
    steps, killed = 0, True
    while killed:
        steps += 1
        (folder := tmp_path / f"{steps}").mkdir()
        with BridgeHarness(folder, batch_records=2, start=start) as harness:
            if start == "latest":
                harness.run()  # its position is durable, so what is sent from now on must be there
            harness.send(click(1), b"{", click(2), click(3))
            harness.send(click(4), click(5), partition=1)
            killed = is_killed(harness, steps, keeps)
            harness.run()
            events = {act.event_id: act.item for act in harness.interactions()}
            assert sorted(events.values()) == ["i1", "i2", "i3", "i4", "i5"], steps
            assert {letter["offset"] for letter in harness.letters()} == {1}
    assert steps > 15


def is_killed(harness: BridgeHarness, steps: int, keeps: bool) -> bool:
    """Run a bridge that is killed after so many steps, unless it needs fewer."""
    log, harness.log = harness.log, Mortal(harness.log, steps, keeps)
    try:
        harness.run()
    except Killed:
        return True
    finally:
        harness.log = log
    return False


class Leaving(StopsAtTheEnd):
    """A source that does not answer once it has been asked a number of times."""

    def __init__(self, harness: BridgeHarness, answers: int) -> None:
        super().__init__(harness)
        self.answers = answers

    def topic_ids(self, topics: Any) -> dict[str, str]:
        self.answers -= 1
        if self.answers == 0:
            raise LogUnavailable("away")
        ids: dict[str, str] = self._harness.source.topic_ids(topics)
        return ids


@pytest.mark.parametrize("answers", [1, 2, 3])
def test_waits_for_a_source_that_is_away(
    harness: BridgeHarness, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.bridge.bridge.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("producers.bridge.source_watch.SECONDS", 0.0)
    harness.send(click(1), click(2))
    bridge = harness.bridge(Leaving(harness, answers))
    assert not bridge.is_ready
    bridge.run()
    assert bridge.is_ready
    assert {act.item for act in harness.interactions()} == {"i1", "i2"}


class Renewed(Leaving):
    """A source whose topic is made again just before its first record is read."""

    def topic_ids(self, topics: Any) -> dict[str, str]:
        self.answers -= 1
        return self._harness.source.topic_ids(topics) if self.answers >= 0 else {CLICKS: "another"}


def test_records_of_a_topic_that_was_made_again_are_not_taken_for_those_of_the_old_one(
    harness: BridgeHarness,
) -> None:
    harness.send(click(1), click(2))
    with pytest.raises(RecordsLost, match="web.clicks was deleted and made again"):
        harness.bridge(Renewed(harness, 2)).run()
    assert not items(harness)
    harness.config = harness.config.replace(accept_gap=True)
    harness.bridge(Renewed(harness, 0)).run()
    assert items(harness) == ["i1", "i2"]


def lose(harness: BridgeHarness, offsets: dict[int, int], topic_id: str | None = None) -> None:
    """Store a position that the source does not fit any more."""
    at = position(harness)
    changed = at.model_copy(update={"offsets": offsets, "topic_id": topic_id or at.topic_id})
    with harness.log.writer() as writer:
        writer.append(TOPICS.positions, key_of("bridge", CLICKS), changed.encode())
        writer.flush()


@pytest.mark.parametrize(
    ("offsets", "topic_id", "reason"),
    [
        ({0: 9, 1: 0}, None, r"web\.clicks/0 ends at 2, before 9"),
        ({0: 1, 1: 0}, "another", r"web\.clicks was deleted and made again"),
    ],
)
def test_a_source_that_is_another_one_stops_the_bridge_until_that_is_accepted(
    harness: BridgeHarness, offsets: dict[int, int], topic_id: str | None, reason: str
) -> None:
    harness.send(click(1), click(2))
    harness.run()
    ids = {act.event_id for act in harness.interactions()}
    lose(harness, offsets, topic_id)
    with pytest.raises(
        RecordsLost, match=rf"{reason}.*without these records: `millstream bridge --accept-gap`"
    ):
        harness.run()
    harness.config = harness.config.replace(accept_gap=True)
    harness.run()
    harness.send(click(3))
    harness.run()
    new = [act for act in harness.interactions() if act.event_id not in ids]
    assert [act.item for act in new][-1] == "i3"
    assert len({act.event_id for act in new}) == len(new)


class Expired(StopsAtTheEnd):
    """A source that retention has emptied up to an offset of partition 0."""

    begin = 2

    def begin_offsets(self, topics: Any) -> dict[TopicPartition, int]:
        return {**self._harness.source.begin_offsets(topics), TopicPartition(CLICKS, 0): self.begin}


def test_expired_records_are_named(harness: BridgeHarness, caplog: pytest.LogCaptureFixture) -> None:
    harness.run()
    harness.send(*map(click, range(4)))
    with pytest.raises(RecordsLost, match="web.clicks/0 has lost 2 records, 0 to 1"):
        harness.bridge(Expired(harness)).run()
    harness.config = harness.config.replace(accept_gap=True)
    harness.bridge(Expired(harness)).run()
    assert items(harness) == ["i2", "i3"]
    assert "has lost 2 records, 0 to 1" in caplog.text


def test_a_topic_that_is_missing_is_named(harness: BridgeHarness) -> None:
    with pytest.raises(TopicError, match="web.orders: the bridge's source has no such topic"):
        harness.run(**{"web.orders": mapper()})


def test_a_position_that_cannot_be_read_is_named(harness: BridgeHarness) -> None:
    with harness.log.writer() as writer:
        writer.append(TOPICS.positions, key_of("bridge", CLICKS), orjson.dumps({"topic": CLICKS}))
        writer.flush()
    with pytest.raises(
        TopicError, match="shop.positions/0/0: the position of bridge/web.clicks cannot be read"
    ):
        harness.run()


def test_partitions_that_are_added_are_read_from_their_beginning(harness: BridgeHarness) -> None:
    harness.config = harness.config.replace(start="latest")
    harness.send(click(1))
    harness.run()
    lose(harness, {0: 1})  # as if partition 1 had not been there
    harness.send(click(2), partition=1)
    harness.run()
    assert items(harness) == ["i2"]


def test_a_flood_of_refusals_is_dead_lettered_in_batches(harness: BridgeHarness) -> None:
    harness.config = harness.config.replace(batch_records=50)
    harness.send(*[b"{"] * 1_000, click(1))
    harness.run()
    assert len(harness.letters()) == 1_000 and items(harness) == ["i1"]


def test_stops_reading_when_nearly_all_is_refused(
    harness: BridgeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.config = harness.config.replace(batch_records=50)
    harness.refusals = RefusalsConfig(most_share=0.5, window_records=100)
    harness.send(click(1), *[b"{"] * 1_000)
    bridge = harness.bridge()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(bridge.run)
        try:
            wait_until(lambda: "bridge reads nothing more" in caplog.text)
        finally:
            harness.stop.set()
        running.result(timeout=10)
    assert not bridge.is_ready
    assert len(harness.letters()) == 99 and items(harness) == ["i1"]
    assert position(harness).offsets == {0: 100, 1: 0}
