"""The daemon makes vectors until a signal, goes on after a kill, and says at its start what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.media.daemon import check
from pipeline.config import MediaConfig, MetricsConfig, Settings
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidSettings
from pipeline.media.encoder import LAST_DIGIT
from pipeline.media.encoders import load_encoder
from pipeline.metrics import scrape, value_of
from tests.support.daemon_settings import daemon_settings
from tests.support.media_files import picture
from tests.support.media_harness import MediaHarness, vectors_of
from tests.support.media_host import MediaHost
from tests.support.serve_tools import wait_until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MediaHarness]:
    with MediaHost() as host, MediaHarness(tmp_path, host) as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path, harness: MediaHarness, monkeypatch: pytest.MonkeyPatch) -> Settings:
    metrics = MetricsConfig(media=free_port())
    return daemon_settings(tmp_path, monkeypatch, media=harness.config, metrics=metrics)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "pipeline.cli", "media"], env=os.environ)


def _has_vector(harness: MediaHarness, item: str) -> bool:
    found = harness.item(item)
    return found is not None and bool(found.vectors)


def test_it_goes_on_after_a_kill_until_a_signal(settings: Settings, harness: MediaHarness) -> None:
    harness.send("red", title="Red", media={"photo": harness.host.put("/red.png", picture("red"))})
    first = _start()
    try:
        wait_until(lambda: _has_vector(harness, "red") or first.poll() is not None, 60)
    finally:
        first.kill()
        first.wait()
    harness.send("blue", title="Blue", media={"photo": harness.host.put("/blue.png", picture("blue"))})
    second = _start()
    try:
        wait_until(lambda: _has_vector(harness, "blue") or second.poll() is not None, 60)
        series = scrape(f"http://127.0.0.1:{settings.metrics.media}/metrics")
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=30) == 0
    finally:
        second.kill()
        second.wait()
    encoder = load_encoder(settings.media.encoders["photo"], settings.media)
    for colour in ("red", "blue"):
        encoded = pytest.approx(encoder.encode(picture(colour)), abs=LAST_DIGIT)
        assert vectors_of(harness.item(colour)) == {"photo": encoded}
    assert harness.host.requests == ["/red.png", "/blue.png"]
    assert harness.records == 4
    assert value_of(series, "millstream_media_records_total", kind="vectors") == 1
    assert value_of(series, "millstream_pending_media") == 0


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (MediaConfig(hosts=("example.com",)), r"no medium has an encoder.*\[media\.encoders\]"),
        (MediaConfig(encoders={"photo": "efficientnet-lite0"}), r"nothing may be fetched.*\[media\]"),
    ],
)
def test_what_is_missing_is_named(config: MediaConfig, missing: str) -> None:
    with pytest.raises(InvalidSettings, match=missing):
        check(config)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'millstream\[media\]'"):
        check(MediaConfig(encoders={"photo": "efficientnet-lite0"}, hosts=("example.com",)))


@pytest.mark.parametrize("host", ["https://example.com", "example.com/a", ":80", "example.com:http", ""])
def test_what_is_no_host_is_refused(host: str) -> None:
    said = r"hosts(.|\n)*must be a host without scheme and path, such as example.com"
    with pytest.raises(ValueError, match=said):
        MediaConfig(hosts=(host,))
