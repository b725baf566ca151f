"""Learner and server with a store at a real S3 server: it works, and names a key that is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from pipeline.errors import StoreAway
from pipeline.snapshots.store import SnapshotStore
from tests.support.commands import run
from tests.support.http_client import card
from tests.support.s3_server import BUCKET, s3_server
from tests.support.tiny_backbone import tiny_backbone

WRONG = "a-secret-that-is-wrong"
PATIENCE_SECONDS = 90.0
KEEP = 2


@pytest.fixture
def log_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def environment(environment: dict[str, str], s3: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return environment | {
        **s3,
        "MILLSTREAM_SNAPSHOTS__STORE": f"s3://{BUCKET}/snapshots",
        "MILLSTREAM_SNAPSHOTS__KEEP": str(KEEP),
        "MILLSTREAM_SNAPSHOTS__SECONDS": "0.5",
        "MILLSTREAM_MODEL__BACKBONE": str(tiny_backbone(tmp_path / "backbone")),
    }


def wait_for(done: Callable[[], object], daemons: Daemons, *commands: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        daemons.check(*commands)
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.3)


def test_a_store_at_s3(
    settings: Settings,
    daemons: Daemons,
    s3: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert run("topics", "create").exit_code == 0
    daemons.start("learn")
    daemons.start("serve")
    daemons.start("play", "shop:seed=3,events=2000", "--rate", "400")
    wait_for(lambda: daemons.ended("play") and card(settings).get("version"), daemons, "learn", "serve")

    def opened() -> SnapshotStore:
        s3fs.S3FileSystem.clear_instance_cache()
        return SnapshotStore.of(settings.snapshots, settings.log.prefix)

    daemons.stop("learn")  # which would publish between two looks at the store
    wait_for(lambda: card(settings)["version"] == str(opened().versions()[-1]), daemons, "serve")
    store = opened()
    store.prune(KEEP)
    versions = store.versions()
    assert 1 <= len(versions) <= KEEP
    assert store.load(versions[-1]).manifest.rows > 0

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    refused = opened()
    with pytest.raises(StoreAway, match="refuses this login .*AWS_SECRET_ACCESS_KEY") as error:
        refused.versions()
    doctor = run("doctor").output
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreAway, match="does not answer .*AWS_ENDPOINT_URL"):
        opened().versions()
    s3fs.S3FileSystem.clear_instance_cache()

    assert "refuses this login" in doctor
    logs = [file.read_text(errors="replace") for file in tmp_path.glob("*.log")]
    texts = [doctor, str(error.value), run("config").output, *logs]
    assert len(logs) == 3
    assert not any(secret in text for text in texts for secret in (WRONG, s3["AWS_SECRET_ACCESS_KEY"]))
