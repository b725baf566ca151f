"""A server uses the policy that was promoted, and returns from it, without being started again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from prometheus_client import REGISTRY

from consumers.serve.follow import beside
from consumers.serve.follow.policy_follower import PolicyFollower
from pipeline.config import PolicyParameters
from pipeline.errors import LogUnavailable
from pipeline.policy.changes import PolicyChange
from tests.support import serve_tools
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until


def change(world: World, verb: Literal["promotion", "rollback"], policy: str) -> None:
    record = PolicyChange(verb=verb, policy=policy, parameters=PolicyParameters(), reason="why", changed_at=0)
    append(world, record.key, record.encode())


def append(world: World, key: str, value: bytes) -> None:
    with world.log.writer() as writer:
        writer.append(world.topics.policies, key, value)
        writer.flush()


@contextmanager
def following(world: World) -> Iterator[list[str | None]]:
    """The names of the policies that were to be used, in their order; None for that of the settings."""
    used = list[str | None]()

    def use(promotion: PolicyChange | None) -> None:
        used.append(promotion.policy if promotion else None)

    follower = PolicyFollower(world.log, world.topics.policies, use, poll_seconds=0.01)
    with serve_tools.following(follower.run):
        yield used


def test_earlier_and_later_changes_are_followed(world: World) -> None:
    change(world, "promotion", "one")
    change(world, "promotion", "two")
    with following(world) as used:
        wait_until(lambda: used == ["two"])
        change(world, "rollback", "two")
        wait_until(lambda: used == ["two", "one"])
        change(world, "rollback", "one")
        wait_until(lambda: used == ["two", "one", None])


def test_that_nothing_was_promoted_is_said_once(world: World) -> None:
    with following(world) as used:
        wait_until(lambda: used == [None])
        change(world, "rollback", "two")  # which is not in use, so nothing changes
        change(world, "promotion", "one")
        wait_until(lambda: used == [None, "one"])


def test_a_log_that_is_away_for_a_while_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "RETRY_SECONDS", 0.01)
    change(world, "promotion", "one")
    failing = world.reader_fails_once(monkeypatch, LogUnavailable("away"))
    with following(world) as used:
        wait_until(lambda: used == ["one"])
    assert not failing


def test_a_damaged_promotion_is_counted_and_logged_once_and_the_last_good_one_stays(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def refused() -> float:
        name, labels = "millstream_dead_letters_total", {"daemon": "serve", "reason": "invalid"}
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = refused()
    change(world, "promotion", "one")
    damaged = PolicyChange(
        verb="promotion", policy="two", parameters=PolicyParameters(), reason="why", changed_at=1
    )
    append(world, damaged.key, damaged.encode().replace(b"two", b"owt"))
    append(world, "noise", b"{")
    with following(world) as used:
        wait_until(lambda: used == ["one"])
        change(world, "rollback", "two")
        append(world, "noise", b"{")
        wait_until(lambda: refused() == before + 3)
        change(world, "rollback", "one")
        wait_until(lambda: used == ["one", None])
    (line,) = [record.getMessage() for record in caplog.records if "refusal" in record.getMessage()]
    assert "/1," in line and "the policy of the last good promotion stays in use" in line
