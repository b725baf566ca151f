"""The media daemon on a real broker: a newer record that comes in between is put back, also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media_harness import Killed, MediaHarness, vectors_of
from tests.support.media_host import MediaHost


@pytest.fixture
def harness(tmp_path: Path, kafka_url: str, prefix: str) -> Iterator[MediaHarness]:
    with MediaHost() as host, MediaHarness(tmp_path, host, url=kafka_url, prefix=prefix) as made:
        yield made


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_newer_record_is_not_undone(harness: MediaHarness, is_killed: bool) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", media={"photo": url})
    newer = [{"available": False}]

    def send_newer() -> None:
        for fields in newer[:]:
            newer.remove(fields)
            harness.send("mug", **fields)

    def kill() -> None:
        raise Killed

    if is_killed:
        with pytest.raises(Killed):
            harness.settle(before=send_newer, after=kill)
    harness.settle(before=send_newer)
    last = harness.last("mug")
    assert vectors_of(last) == {"photo": (4.0, 0.5)}
    assert last == harness.item("mug")
    assert last is not None and (last.available, last.media) == (False, {"photo": url})
    before = harness.records
    harness.settle()
    assert harness.records == before
