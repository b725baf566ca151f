"""The rebuild command learns the journal again and compares."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from pipeline import assembly
from pipeline.config import Settings
from pipeline.snapshots.version import Version
from tests.support.commands import fails, misused, run
from tests.support.model_harness import ModelHarness

SHOP = "shop:events=60,users=10,items=90,arrivals=0"


def test_played_events_can_be_rebuilt(settings: Settings) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "20")
    run("simulate", "--events", "5")
    with ModelHarness(settings) as harness:
        assert len(harness.records(harness.topics.interactions)) == 25
        with harness.learning() as learning:
            learning.catch_up()
            digest = learning.checkpoint()
            version = Version(learning.position.generation, learning.position.step)
    agreed = run("rebuild")
    assert (agreed.exit_code, " ".join(agreed.stdout.split())) == (
        0,
        f"{version} {digest}: checkpoint agrees, snapshot is not there",
    )
    manifest = settings.checkpoints.folder / "mill" / str(version) / "manifest.json"
    content = orjson.loads(manifest.read_bytes())
    manifest.write_bytes(orjson.dumps({**content, "digest": "other"}))
    assert run("rebuild").exit_code == 1


def test_an_earlier_version_is_rebuilt_by_name_and_by_time(settings: Settings) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "60")
    with ModelHarness(settings) as harness, harness.learning() as learning:
        learning.new(2)
        manifest = learning.publish(harness.publisher())
        learning.new()
        assert learning.position.step > 2
        digest = harness.rebuilt(until="1-2").digest
    expected = f"1-2 {digest}: checkpoint is not there, snapshot agrees"
    named = run("rebuild", "--at", "1-2")
    assert (named.exit_code, " ".join(named.stdout.split())) == (0, expected)
    with ModelHarness(settings) as harness:
        appended = harness.records(harness.topics.journal)[2].append_time
    moment = datetime.fromtimestamp((appended + 1) / 1000, UTC).isoformat(timespec="milliseconds")
    output = run("rebuild", "--at", moment).stdout
    assert output.split()[0] in {"1-2", "1-3"}, "the next entry may have the same millisecond"
    file = Path(settings.snapshots.store, "mill", "1-2", "manifest.json")
    file.write_bytes(orjson.dumps({**orjson.loads(file.read_bytes()), "digest": manifest.version}))
    differing = run("rebuild", "--at", "1-2")
    assert differing.exit_code == 1
    assert "snapshot DIFFERS" in differing.stdout


def test_a_rebuild_begins_at_a_checkpoint_when_asked(settings: Settings) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "60")
    with ModelHarness(settings) as harness, harness.learning() as learning:
        learning.new(2)
        learning.checkpoint()
        begin = learning.position.version
        learning.new()
        digest = learning.checkpoint()
        expected = f"{learning.position.version} {digest}: checkpoint agrees, snapshot is not there"
    rebuilt = run("rebuild", "--from", begin)
    assert (rebuilt.exit_code, " ".join(rebuilt.stdout.split())) == (0, expected)
    assert "the start is not a version such as 3-120" in misused("rebuild", "--from", "the start")
    assert "exclude each other" in run("rebuild", "--from", begin, "--at", begin).output


def test_a_time_before_the_first_entry_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelHarness(settings) as harness, harness.learning():
        pass
    assert "TopicError" in fails(monkeypatch, capsys, "rebuild", "--at", "1999-12-31")


@pytest.mark.parametrize("command", [["rebuild"], ["audit"]])
def test_a_store_that_cannot_be_opened_is_refused_at_once(
    command: list[str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ModelHarness(settings) as harness, harness.learning() as learning:
        harness.shop(20)
        learning.new()
    monkeypatch.setattr(assembly, "make_learner", pytest.fail)
    monkeypatch.setenv("MILLSTREAM_SNAPSHOTS__STORE", "foo://x")
    line = fails(monkeypatch, capsys, *command).splitlines()[-1]
    assert line.startswith("InvalidSettings: snapshots.store: foo://")


def test_what_cannot_be_rebuilt_is_refused_before_the_model_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelHarness(settings) as harness, harness.busy():
        pass
    monkeypatch.setattr(assembly, "make_learner", pytest.fail)
    assert "VersionUnknown: version 9-9 " in fails(monkeypatch, capsys, "rebuild", "--at", "9-9")


@pytest.mark.parametrize("moment", ["", "@now", "yesterday", "12345678901234567890-1"])
def test_a_moment_in_another_form_is_refused(settings: Settings, moment: str) -> None:
    with ModelHarness(settings) as harness, harness.learning():
        pass
    assert f"{moment} is no version such as 3-120, time such as" in misused("rebuild", "--at", moment)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[::1", "http://host:99999"]
)
def test_a_server_is_named_by_its_url(url: str) -> None:
    assert f"{url}: write http://host:port" in misused("audit", "--server", url)
