"""Dead letters are sent once more after a fix; twice is once, and what is refused again stays."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.config import BridgeConfig, Settings, to_toml
from pipeline.config.bridge import BridgedTopic
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import dead_letter, interaction_of, item_of
from pipeline.eventlog.port import Record
from pipeline.events import MAX_TIME_AHEAD_MS, Interaction
from pipeline.reports.dead_letters import read_letters
from producers.bridge.event_ids import of_place
from tests.support.commands import run
from tests.support.model_harness import ModelHarness

VIEW = {
    "v": 2,
    "kind": "interaction",
    "event_id": "e1",
    "user": "ann",
    "item": "mug",
    "type": "view",
    "time": 5,
}
MAPPING = """
[interactions]
user = "customer.id"
item = "sku"
type = { default = "view" }
time = "at"

[time]
format = "ms"
"""


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "millstream.toml").write_text(to_toml(settings))
    (tmp_path / "mapping.toml").write_text(MAPPING)
    monkeypatch.chdir(tmp_path)


def letter(harness: ModelHarness, value: object, topic: str | None = None, offset: int = 7) -> str:
    """Write a dead letter of a record that was refused, whatever it holds; return its place."""
    wire = value if isinstance(value, bytes) else orjson.dumps(value)
    record = Record(topic or harness.topics.interactions, 1, offset, 1_700_000_000_000, "ann", wire)
    try:
        (item_of if topic == harness.topics.items else interaction_of)(record)
        error = InvalidEvent("event", "refused by an older version")
    except InvalidEvent as found:
        error = found
    key, wire = dead_letter(record, error)
    harness.writer.append(harness.topics.dead_letters, key, wire)
    harness.writer.flush()
    return key


def learned(harness: ModelHarness) -> list[Interaction]:
    """What a learner takes from the topic: each event once."""
    with harness.learning() as learning:
        learning.catch_up()
        return [event for batch in learning.learned for event in batch.micro.interactions]


def test_what_is_valid_by_now_is_sent_once_more_and_leaves_the_list(harness: ModelHarness) -> None:
    place = letter(harness, VIEW)
    letter(harness, b"not JSON", offset=8)
    output = run("dead-letters", "replay").output
    assert "1 sent once more; 1 refused again: not_json 1" in output
    (event,) = learned(harness)
    assert (event.event_id, event.user, event.item) == ("e1", "ann", "mug")
    assert place not in [one["place"] for one in read_letters(harness.log, harness.topics)]
    assert "0 sent once more; 1 refused again" in run("dead-letters", "replay").output


def test_a_dry_run_sends_nothing(harness: ModelHarness) -> None:
    letter(harness, VIEW)
    assert "1 would be accepted; 0 refused again" in run("dead-letters", "replay", "--dry-run").output
    assert harness.records(harness.topics.interactions) == []
    assert len(read_letters(harness.log, harness.topics)) == 1


def test_what_is_sent_twice_counts_once(harness: ModelHarness) -> None:
    """As after a crash between the event and the end of its letter; without an id it gets its place's."""
    nameless = {name: value for name, value in VIEW.items() if name != "event_id"}
    for _ in range(2):
        letter(harness, nameless)
        run("dead-letters", "replay")
    assert len(harness.records(harness.topics.interactions)) == 2
    (event,) = learned(harness)
    assert event.event_id.startswith("letter-")


def test_letters_are_chosen_by_place_reason_and_topic(harness: ModelHarness) -> None:
    first = letter(harness, VIEW)
    letter(harness, {**VIEW, "event_id": "e2"}, offset=8)
    letter(harness, {"v": 2, "kind": "item", "item": "ann", "title": "Mug"}, harness.topics.items)
    assert "0 sent once more" in run("dead-letters", "replay", "--reason", "too_large").output
    assert "1 sent once more" in run("dead-letters", "replay", "--topic", harness.topics.items).output
    assert "1 sent once more" in run("dead-letters", "replay", first).output
    (left,) = read_letters(harness.log, harness.topics)
    assert left["offset"] == 8
    assert f"no dead letter has topic {harness.topics.items}; there are: {harness.topics.interactions} 1" in (
        run("dead-letters", "list", "--topic", harness.topics.items).output
    )


def test_an_event_that_was_ahead_of_its_time_is_accepted_later(harness: ModelHarness) -> None:
    ahead = {**VIEW, "time": 1_700_000_000_000 + 2 * MAX_TIME_AHEAD_MS}
    letter(harness, ahead)
    assert read_letters(harness.log, harness.topics)[0]["code"] == "time_ahead"
    assert "1 sent once more" in run("dead-letters", "replay").output


def test_records_of_a_foreign_topic_become_events_by_a_mapping(harness: ModelHarness) -> None:
    letter(harness, {"customer": {"id": "ann"}, "sku": "mug", "at": 1_690_000_000_000}, "clicks")
    letter(harness, {"customer": {"id": "bob"}, "sku": "cup", "at": "yesterday"}, "clicks", offset=8)
    assert "schema 2" in run("dead-letters", "replay", "--dry-run").output, "without one, they stay refused"
    output = run("dead-letters", "replay", "--topic", "clicks", "--mapping", "mapping.toml").output
    assert "1 sent once more; 1 refused again: time_unit 1" in output and "clicks/1/8" in output
    (event,) = learned(harness)
    assert (event.user, event.item, event.time) == ("ann", "mug", 1_690_000_000_000)
    assert event.event_id == of_place("clicks", "", 1, 7), "the bridge reads it again as the same event"


def test_the_topics_of_the_bridge_have_its_mappings(harness: ModelHarness, tmp_path: Path) -> None:
    letter(harness, {"customer": {"id": "ann"}, "sku": "mug", "at": 1_690_000_000_000}, "clicks")
    bridge = BridgeConfig(topics={"clicks": BridgedTopic(mapping="mapping.toml")})
    changed = harness.settings.model_copy(update={"bridge": bridge})
    (tmp_path / "millstream.toml").write_text(to_toml(changed))
    assert "1 sent once more" in run("dead-letters", "replay").output


def test_letters_of_the_bridge_become_its_events_by_its_mapping(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = {
        "clicks": {"mapping": "mapping.toml"},
        "sales": {"mapping": "mapping.toml", "format": "debezium"},
    }
    monkeypatch.setenv("MILLSTREAM_BRIDGE__TOPICS", orjson.dumps(topics).decode())
    click = {"customer": {"id": "ann"}, "sku": "mug", "at": 1_690_000_000_000}
    for topic, value in (("clicks", click), ("sales", {"op": "c", "after": {**click, "sku": "cup"}})):
        record = Record(topic, 1, 7, 1_700_000_000_000, "ann", orjson.dumps(value))
        wrong = InvalidEvent("sku", "by an older mapping")
        harness.writer.append(harness.topics.dead_letters, *dead_letter(record, wrong, f"bridge-{topic}-1-7"))
    harness.writer.flush()
    assert "2 sent once more; 0 refused again" in run("dead-letters", "replay").output
    found = {(event.event_id, event.item) for event in learned(harness)}
    assert found == {("bridge-clicks-1-7", "mug"), ("bridge-sales-1-7", "cup")}


def test_what_cannot_be_sent_again_says_why(harness: ModelHarness) -> None:
    letter(harness, b" " * 70_000)
    output = run("dead-letters", "replay").output
    assert "holds only the first 65536 of 70000 bytes" in " ".join(output.replace("│", " ").split())
