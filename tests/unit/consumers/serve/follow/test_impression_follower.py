"""A server knows what other servers show, and outlasts a log that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from consumers.serve.follow import beside
from consumers.serve.follow.impression_follower import ImpressionFollower
from consumers.serve.state.shown import ShownItems
from pipeline.clock import now_ms
from pipeline.errors import LogUnavailable
from pipeline.events import Impression, encode
from tests.support import serve_tools
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

HOUR = 3_600_000


def show(world: World, impression: str, user: str, *items: str) -> None:
    shown = Impression(
        impression_id=impression,
        user=user,
        snapshot="1-1",
        time=now_ms(),
        items=items,
        scores=(1 / len(items),) * len(items),
        offsets={},
    )
    append(world, user, encode(shown))


def append(world: World, key: str, value: bytes) -> None:
    with world.log.writer() as writer:
        writer.append(world.topics.impressions, key, value)
        writer.flush()


@contextmanager
def following(world: World, shown: ShownItems | None = None) -> Iterator[ShownItems]:
    shown = shown or ShownItems()
    follower = ImpressionFollower(world.log, world.topics.impressions, shown, HOUR, poll_seconds=0.01)
    with serve_tools.following(follower.run):
        yield shown


def test_earlier_and_later_impressions_are_known(world: World) -> None:
    show(world, "1", "ann", "red-cup", "blue-cup")
    append(world, "ann", b"{")
    with following(world) as shown:
        wait_until(lambda: shown.since("ann", 0).digests.size == 2)
        show(world, "2", "ann", "red-lamp")
        wait_until(lambda: shown.since("ann", 0).digests.size == 3)
        assert shown.since("bob", 0).digests.size == 0


def test_what_is_known_already_stays_as_it_is(world: World) -> None:
    known = ShownItems()
    known.add("1", "ann", ["red-cup"], now_ms())
    show(world, "1", "ann", "red-cup", "blue-cup")
    show(world, "2", "bob", "red-lamp")
    with following(world, known) as shown:
        wait_until(lambda: shown.since("bob", 0).digests.size == 1)
    assert shown.since("ann", 0).digests.size == 1


def test_a_log_that_is_away_for_a_while_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "RETRY_SECONDS", 0.01)
    show(world, "1", "ann", "red-cup")
    failing = world.reader_fails_once(monkeypatch, LogUnavailable("away"))
    with following(world) as shown:
        wait_until(lambda: shown.since("ann", 0).digests.size == 1)
    assert not failing
