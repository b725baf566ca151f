"""Malformed inputs in a short form: `python -m benchmarks.malformed` sends 100,000 to running daemons."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient

from benchmarks.malformed.doors import Doors
from benchmarks.malformed.inputs import (
    ANY_FAULTS,
    FOREIGN_FAULTS,
    FOREIGN_MAPPING,
    FOREIGN_TOPIC,
    INTERACTION_FAULTS,
    ITEM_FAULTS,
    ITEMS,
    ROW_FAULTS,
    TOPIC_FAULTS,
    Door,
    foreign_of,
    input_of,
    row_of,
)
from pipeline.clock import now_ms
from pipeline.config import BridgeConfig, GatewayConfig, RefusalsConfig
from pipeline.datasets.mapping import load_mapping
from pipeline.eventlog.port import TopicSpec
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.events import ItemChange
from pipeline.reports.dead_letters import read_letters
from producers.bridge.bridge import Bridge
from producers.bridge.position import stored_positions
from producers.bridge.record_mapper import RecordMapper
from producers.gateway.app import create_app
from producers.gateway.group_writer import GroupWriter
from tests.support.model_harness import ModelHarness
from tests.support.serve_tools import wait_until

SEED, INPUTS = 5, 400
RECORD_FAULTS = {"no value", "no key", "other key"}


@contextmanager
def gateway(harness: ModelHarness) -> Iterator[TestClient]:
    writer = GroupWriter(harness.log)
    thread = Thread(target=writer.run)
    thread.start()
    try:
        yield TestClient(create_app(writer, harness.topics, GatewayConfig()))
    finally:
        writer.close()
        thread.join()


def bridge(harness: ModelHarness, folder: Path, number: int) -> None:
    """Bridge so many records of the foreign topic."""
    (folder / "mapping.toml").write_text(FOREIGN_MAPPING)
    mapper = RecordMapper(load_mapping(folder / "mapping.toml"), "json", harness.topics)
    stop, mappers = Event(), {FOREIGN_TOPIC: mapper}
    config, limit = BridgeConfig(), RefusalLimit("bridge", RefusalsConfig(), "mend it")
    made = Bridge(harness.log, harness.log, harness.topics, config, mappers, limit, stop)
    thread = Thread(target=made.run)
    thread.start()

    def read() -> int:
        positions = stored_positions(harness.log, harness.topics, config.name)
        return sum(positions[FOREIGN_TOPIC].offsets.values()) if positions else 0

    try:
        wait_until(lambda: read() == number, 60)
    finally:
        stop.set()
        thread.join()


def test_what_is_malformed_is_refused_by_name_and_the_rest_is_learned(
    harness: ModelHarness, tmp_path: Path
) -> None:
    with gateway(harness) as client:

        def post(path: str, body: bytes, kind: str) -> tuple[int, bytes]:
            answer = client.post(path, content=body, headers={"Content-Type": kind})
            return answer.status_code, answer.content

        doors = Doors(post, harness.log, harness.topics, tmp_path, SEED)
        doors.stock(ITEMS)
        harness.log.create_topics([TopicSpec(FOREIGN_TOPIC, 2)])
        for first in range(0, INPUTS, 100):
            for door in (doors.gateway, doors.files, doors.topics, doors.bridge):
                door(first, 100, now_ms())
        bridge(harness, tmp_path, INPUTS)
    with harness.learning() as learning:
        learning.catch_up()
        micro = [batch.micro for batch in learning.learned]
        for batch in learning.learned:
            for letter in batch.refused:
                harness.writer.append(harness.topics.dead_letters, *letter)
    harness.writer.flush()
    letters = read_letters(harness.log, harness.topics)
    doors.check_letters(letters, [base64.b64decode(one["value"]) for one in letters])
    assert doors.sent.findings == []
    learned = Counter(event.event_id for batch in micro for event in batch.interactions)
    assert learned == Counter(doors.sent.events)
    items = {item.item for batch in micro for item in batch.items if not isinstance(item, str | ItemChange)}
    changed = {item.item for batch in micro for item in batch.items if isinstance(item, ItemChange)}
    assert items | changed == doors.sent.items
    assert doors.sent.malformed > 2 * INPUTS


def test_every_kind_of_fault_comes_up() -> None:
    doors: tuple[Door, ...] = ("gateway", "topics")
    found = {input_of(0, door, number, now_ms()).fault for door in doors for number in range(3_000)}
    assert found == {*ANY_FAULTS, *INTERACTION_FAULTS, *ITEM_FAULTS, *TOPIC_FAULTS, *RECORD_FAULTS, ""}
    assert {row_of(0, number, now_ms())[1] for number in range(200)} == {*ROW_FAULTS, ""}
    assert {foreign_of(0, number, now_ms()).fault for number in range(400)} == {*FOREIGN_FAULTS, ""}


@pytest.mark.parametrize("number", range(20))
def test_inputs_are_the_same_each_time(number: int) -> None:
    assert input_of(3, "topics", number, 10**12) == input_of(3, "topics", number, 10**12)
    assert row_of(3, number, 10**12) == row_of(3, number, 10**12)


def test_an_input_that_should_not_be_accepted_would_be_found(harness: ModelHarness, tmp_path: Path) -> None:
    def post(path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        return 202, b'{"accepted": 50, "refused": []}'

    doors = Doors(post, harness.log, harness.topics, tmp_path, SEED)
    doors.gateway(0, 50, now_ms())
    malformed = sum(number for (_, fault), number in doors.sent.counts.items() if fault)
    assert len(doors.sent.findings) == malformed
    doors.topics(0, 50, now_ms())
    doors.sent.findings.clear()
    doors.check_letters([], [])
    assert doors.sent.findings
