"""The daemon bridges until a signal, says whether it is ready, and what is in the way at the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.config import BridgeConfig, BridgedTopic, Settings
from pipeline.datasets.mapping import Mapping
from pipeline.datasets.mapping import to_toml as mapping_toml
from pipeline.demo.processes import free_port
from pipeline.errors import DatasetError, InvalidSettings, RecordsLost, TopicError
from producers.bridge.daemon import run
from producers.bridge.dry_run import run as look
from producers.bridge.position import key_of, stored_positions
from tests.support.bridge_harness import ACTS, CLICK, CLICKS, TOPICS, BridgeHarness
from tests.support.commands import run as command
from tests.support.daemon_settings import daemon_settings
from tests.support.serve_tools import wait_until

BOT = {**CLICK, "actor": {"id": 2, "kind": "bot"}}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[BridgeHarness]:
    with BridgeHarness(tmp_path) as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path, harness: BridgeHarness, monkeypatch: pytest.MonkeyPatch) -> Settings:
    mapping = tmp_path / "clicks.toml"
    mapping.write_text(mapping_toml(Mapping.model_validate(ACTS)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    bridge = BridgeConfig(
        url=f"sqlite:///{tmp_path}/source.db",
        topics={CLICKS: BridgedTopic(mapping=str(mapping))},
        port=free_port(),
    )
    return daemon_settings(tmp_path, monkeypatch, bridge=bridge)


def get(settings: Settings, path: str) -> httpx.Response | None:
    try:
        return httpx.get(f"http://127.0.0.1:{settings.bridge.port}{path}")
    except httpx.HTTPError:
        return None


def test_bridges_until_a_signal(settings: Settings, harness: BridgeHarness) -> None:
    harness.send(CLICK, b"{", BOT)
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", "bridge"], env=os.environ)
    try:
        wait_until(lambda: len(harness.interactions()) == 1 or process.poll() is not None, 60)
        wait_until(lambda: (answer := get(settings, "/readyz")) is not None and answer.status_code == 200, 10)
        series = get(settings, "/metrics")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
    assert series is not None
    assert 'millstream_bridged_records_total{kind="interaction"} 1.0' in series.text
    assert 'millstream_dropped_records_total{reason="a bot"} 1.0' in series.text
    assert 'millstream_dead_letters_total{daemon="bridge",reason="not_json"} 1.0' in series.text
    assert 'millstream_lag_records{daemon="bridge"} 0.0' in series.text
    assert stored_positions(harness.log, TOPICS, "bridge")[CLICKS].offsets == {0: 3, 1: 0}


def test_what_it_cannot_go_on_from_ends_it(settings: Settings, harness: BridgeHarness) -> None:
    harness.run()
    position = stored_positions(harness.log, TOPICS, "bridge")[CLICKS]
    other = position.model_copy(update={"topic_id": "another"})
    with harness.log.writer() as writer:
        writer.append(TOPICS.positions, key_of("bridge", CLICKS), other.encode())
        writer.flush()
    with pytest.raises(RecordsLost, match="--accept-gap"):
        run(settings)


def changed(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"bridge": settings.bridge.replace(**changes)})


@pytest.mark.parametrize("start", [run, look])
def test_what_is_missing_is_named(settings: Settings, start: type, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"the bridge has no topic: name one, with its mapping"):
        start(changed(settings, topics={}))
    nowhere = {CLICKS: {"mapping": str(tmp_path / "none.toml")}}
    with pytest.raises(DatasetError, match=r"none\.toml cannot be read"):
        start(changed(settings, topics=nowhere))
    with pytest.raises(TopicError, match=r"web\.orders"):
        start(changed(settings, topics={"web.orders": settings.bridge.topics[CLICKS].model_dump()}))


def test_a_dry_run_shows_and_writes_nothing(settings: Settings, harness: BridgeHarness) -> None:
    harness.send(CLICK, b"{", BOT, {**CLICK, "verb": "sneezed"}, b"{")
    result = command("bridge", "--dry-run")
    assert result.exit_code == 0
    for line in (
        "5 records would become",
        "3 would be refused",
        "1 would be left out",
        "a bot",
        "verb is no type that [types] names",
        'web.clicks/0/0  {"v":2,"kind":"interaction"',
        "nothing was written",
    ):
        assert line in result.output
    assert not harness.interactions() and not harness.letters()
    assert not stored_positions(harness.log, TOPICS, "bridge")


def test_a_dry_run_looks_at_the_newest(
    settings: Settings, harness: BridgeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.bridge.dry_run.MOST_RECORDS", 4)
    harness.send(*[b"{"] * 10, *[CLICK] * 2)
    found = look(settings)
    assert (found.records, found.made["interaction"], found.refused.total()) == (2, 2, 0)
