"""Media become vectors; nothing that others say of an item is lost, whatever comes in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from consumers.media.remedies import REMEDIES
from consumers.media.store import FILE, MediaStore
from pipeline.errors import MediaReason, Occupied
from pipeline.events import Item, ItemChange
from pipeline.metrics import Series, value_of
from tests.support.media_harness import Killed, MediaHarness, vectors_of
from tests.support.media_host import MediaHost


@pytest.fixture
def host() -> Iterator[MediaHost]:
    with MediaHost() as made:
        yield made


@pytest.fixture
def harness(tmp_path: Path, host: MediaHost) -> Iterator[MediaHarness]:
    with MediaHarness(tmp_path, host) as made:
        yield made


def vector(content: bytes) -> dict[str, tuple[float, ...]]:
    return {"photo": (float(len(content)), 0.5)}


def test_an_item_gets_the_vector_of_its_picture(harness: MediaHarness) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", description="White", media={"photo": url, "other": url})
    harness.send("cup", title="A cup")
    harness.settle()
    expected = Item(item="mug", title="A mug", description="White", media={"photo": url, "other": url})
    assert harness.item("mug") == expected.model_copy(update={"vectors": vector(b"four")})
    assert harness.last("mug") == harness.item("mug"), "compaction keeps the whole item"
    assert harness.records == 3


def test_a_second_start_does_nothing(harness: MediaHarness) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/mug.png", b"four")})
    harness.settle()
    harness.settle()
    assert harness.records == 2
    assert harness.host.requests == ["/mug.png"]


def test_without_its_folder_it_leaves_what_is_there(harness: MediaHarness) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/mug.png", b"four")})
    harness.settle()
    (harness.config.folder / FILE).unlink()
    harness.settle()
    assert harness.records == 2
    harness.send("mug", title="A new mug", media={"photo": harness.host.url("/mug.png")})
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"four")


def test_a_whole_item_that_leaves_the_vector_out_gets_it_again(harness: MediaHarness) -> None:
    url = harness.host.put("/mug.png", b"four")
    for title in ("A mug", "A better mug"):
        harness.send("mug", title=title, media={"photo": url})
        harness.settle()
    assert harness.last("mug") == Item(
        item="mug", title="A better mug", media={"photo": url}, vectors=vector(b"four")
    )
    assert harness.host.requests == ["/mug.png"]


def test_a_change_does_not_cost_the_title(harness: MediaHarness) -> None:
    harness.send("mug", title="A mug", attributes={"price": 7.5})
    harness.settle()
    harness.send("mug", media={"photo": harness.host.put("/mug.png", b"four")}, available=False)
    harness.settle()
    last = harness.last("mug")
    assert isinstance(last, Item)
    assert (last.title, last.attributes, last.available) == ("A mug", {"price": 7.5}, False)
    assert last.vectors == vector(b"four")


def test_an_item_of_changes_alone_stays_one(harness: MediaHarness) -> None:
    """Its title is known to others; a whole item without one would take it from them."""
    harness.send("mug", category="mugs")
    harness.send("mug", media={"photo": harness.host.put("/mug.png", b"four")})
    harness.settle()
    last = harness.last("mug")
    assert isinstance(last, ItemChange)
    assert (last.category, last.vectors) == ("mugs", vector(b"four"))
    harness.send("mug", media={})
    harness.settle()
    assert vectors_of(harness.item("mug")) == {}
    assert harness.records == 5


def test_an_item_that_changes_leave_no_time_of_sale_gets_its_vector_once_it_has_some(
    harness: MediaHarness,
) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", media={"photo": url}, published=2)
    harness.send("mug", expires=1)
    harness.settle()
    assert harness.records == 2
    harness.send("mug", expires=3)
    harness.settle()
    assert harness.last("mug") == Item(
        item="mug", title="A mug", media={"photo": url}, published=2, expires=3, vectors=vector(b"four")
    )


def test_another_url_is_another_picture(harness: MediaHarness) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/1.png", b"four")})
    harness.settle()
    harness.send("mug", media={"photo": harness.host.put("/2.png", b"seven 7")})
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"seven 7")
    harness.send("mug", media={})
    harness.settle()
    assert vectors_of(harness.item("mug")) == {}


def test_a_sender_s_own_vector_stays(harness: MediaHarness) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", media={"photo": url}, vectors={"photo": [1.0], "bought": [2.0]})
    harness.settle()
    assert harness.records == 1
    harness.send("mug", vectors={"bought": [3.0]})
    harness.settle()
    assert vectors_of(harness.item("mug")) == {"bought": (3.0,), **vector(b"four")}


def test_what_a_sender_repeats_of_ours_is_not_its_own(harness: MediaHarness) -> None:
    """Who reads an item, gives it another picture and sends it back, means the new one."""
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/1.png", b"four")})
    harness.settle()
    seen = harness.item("mug")
    assert seen is not None
    fields = {**seen.model_dump(exclude={"item"}), "media": {"photo": harness.host.put("/2.png", b"seven 7")}}
    harness.send("mug", **fields)
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"seven 7")


def test_equal_files_are_encoded_once(harness: MediaHarness) -> None:
    one, other = harness.host.put("/1.png", b"four"), harness.host.put("/2.png", b"four")
    for item, url in {"a": one, "b": one, "c": other}.items():
        harness.send(item, title=item, media={"photo": url})
    harness.settle()
    assert harness.encoder.encoded == [b"four"]
    assert all(vectors_of(harness.item(item)) == vector(b"four") for item in "abc")


def test_another_encoder_makes_all_vectors_again(
    harness: MediaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/mug.png", b"four")})
    harness.settle()
    harness.host.put("/mug.png", b"seven 7")
    harness.config = harness.config.replace(encoders={"photo": "speech-embedding"})
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"seven 7")


def test_a_removed_item_stays_removed(harness: MediaHarness) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", media={"photo": url})
    harness.send("mug")
    harness.send("mug", media={"photo": url})
    harness.settle()
    assert harness.records == 3
    assert not harness.host.requests


Fields = dict[str, object]
NEWER: dict[str, Callable[[str], Fields]] = {
    "a whole item": lambda url: {"title": "A better mug", "category": "mugs", "media": {"photo": url}},
    "a whole item without a picture": lambda url: {"title": "A better mug", "category": "mugs"},
    "a change": lambda url: {"available": False},
    "a removal": lambda url: {},
}


def _after(harness: MediaHarness, fields: Fields) -> None:
    """Check that an item is what its newest record by others says."""
    found = harness.item("mug")
    assert found is not None
    if not fields:
        assert (found.title, found.available) == ("", False)
        assert harness.last("mug") is None
        return
    assert {name: getattr(found, name) for name in fields} == fields
    assert harness.last("mug") == found
    assert found.vectors == (vector(b"four") if found.media else {})


@pytest.mark.parametrize("newer", NEWER)
def test_a_newer_record_that_comes_in_between_is_not_undone(harness: MediaHarness, newer: str) -> None:
    """Our record was decided on before it and is appended after it."""
    url = harness.host.put("/mug.png", b"four")
    fields = NEWER[newer](url)
    harness.send("mug", title="A mug", media={"photo": url})
    coming = [fields]

    def send_once() -> None:
        for one in coming[:]:
            coming.remove(one)
            harness.send("mug", **one)

    harness.settle(before=send_once)
    _after(harness, fields)


@pytest.mark.parametrize("newer", NEWER)
def test_nor_if_the_daemon_is_killed_before_it_could_see_it(harness: MediaHarness, newer: str) -> None:
    url = harness.host.put("/mug.png", b"four")
    fields = NEWER[newer](url)
    harness.send("mug", title="A mug", media={"photo": url})
    with pytest.raises(Killed):
        harness.settle(before=lambda: harness.send("mug", **fields), after=_kill)
    harness.settle()
    _after(harness, fields)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_daemon_that_is_killed_around_an_append_goes_on(harness: MediaHarness, moment: str) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/mug.png", b"four")})
    with pytest.raises(Killed):
        harness.settle(**{moment: _kill})
    harness.settle()
    assert vectors_of(harness.last("mug")) == vector(b"four")
    assert harness.records == 2
    assert harness.host.requests == ["/mug.png"]


def _kill() -> None:
    raise Killed


def test_a_refused_picture_is_logged_and_counted_once(
    harness: MediaHarness, caplog: pytest.LogCaptureFixture, exposed: Callable[[], Series]
) -> None:
    before = value_of(exposed(), "millstream_refused_media_total", reason="damaged")
    url = harness.host.put("/mug.png", b"bad")
    with caplog.at_level(logging.WARNING):
        for title in ("A mug", "A better mug"):
            harness.send("mug", title=title, media={"photo": url})
            harness.settle()
    assert value_of(exposed(), "millstream_refused_media_total", reason="damaged") == before + 1
    assert [line.getMessage() for line in caplog.records] == [
        f"item 'mug' is served without its 'photo': damaged: bad; {REMEDIES[MediaReason.DAMAGED]}"
    ]
    assert harness.item("mug") == Item(item="mug", title="A better mug", media={"photo": url})


def test_it_says_when_it_has_caught_up(harness: MediaHarness, caplog: pytest.LogCaptureFixture) -> None:
    harness.send("mug", title="A mug")
    with caplog.at_level(logging.INFO, "consumers.media"):
        harness.settle()
    assert [line.getMessage() for line in caplog.records] == [
        "caught up with the items; 0 media wait to be fetched"
    ]


def test_a_picture_of_an_earlier_url_goes_with_it(harness: MediaHarness) -> None:
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/1.png", b"four")})
    harness.settle()
    harness.send("mug", media={"photo": harness.host.put("/2.png", b"bad")})
    harness.settle()
    assert vectors_of(harness.item("mug")) == {}


def test_what_may_pass_is_tried_again_later_and_not_for_ever(harness: MediaHarness) -> None:
    harness.config = harness.config.replace(attempts=3, retry_seconds=10)
    harness.send("mug", title="A mug", media={"photo": harness.host.url("/mug.png")})
    for wait, requests in ((0, 1), (9, 1), (1, 2), (19, 2), (1, 3), (10_000, 3)):
        harness.now += wait
        harness.settle()
        assert len(harness.host.requests) == requests
    with MediaStore(harness.config.folder) as store:
        assert store.retry(harness.now) == 1
    harness.host.put("/mug.png", b"four")
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"four")


def test_a_vector_that_does_not_fit_into_the_item_is_left_out(harness: MediaHarness) -> None:
    url = harness.host.put("/mug.png", b"four")
    own = {f"own {number}": [0.0] for number in range(8)}
    harness.send("mug", title="A mug", media={"photo": url}, vectors=own)
    harness.settle()
    assert vectors_of(harness.item("mug")).keys() == own.keys()
    assert harness.records == 1


def test_a_record_that_is_no_item_is_passed_over(harness: MediaHarness) -> None:
    harness.append("mug", b"{")
    harness.append("mug", orjson.dumps({"v": 2, "kind": "item", "item": "cup", "title": "Another key"}))
    harness.send("mug", title="A mug", media={"photo": harness.host.put("/mug.png", b"four")})
    harness.settle()
    assert vectors_of(harness.item("mug")) == vector(b"four")


def test_a_topic_that_was_made_again_is_read_again(harness: MediaHarness, tmp_path: Path) -> None:
    url = harness.host.put("/mug.png", b"four")
    harness.send("mug", title="A mug", media={"photo": url})
    harness.settle()
    (tmp_path / "another").mkdir()
    with MediaHarness(tmp_path / "another", harness.host) as other:
        other.config = harness.config
        other.send("cup", title="A cup", media={"photo": url})
        other.settle()
        assert not other.encoder.encoded, "vectors are true of any topic"
        assert vectors_of(other.item("cup")) == vector(b"four")


def test_two_daemons_do_not_share_a_folder(harness: MediaHarness) -> None:
    with MediaStore(harness.config.folder), pytest.raises(Occupied, match="stop it first"):
        MediaStore(harness.config.folder)
