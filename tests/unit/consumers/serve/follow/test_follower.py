"""The follower swaps snapshots under load, refuses bad ones, and raises its failures."""

from __future__ import annotations

import gc
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from consumers.serve.follow import follower
from consumers.serve.follow.snapshot_watcher import SnapshotWatcher
from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer
from consumers.serve.state.current import CurrentState
from pipeline import metrics
from pipeline.config import ModelSizes
from pipeline.errors import OffsetsExpired
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.version import Version
from tests.support.answers import recommend
from tests.support.serve_harness import PREFIX, World
from tests.support.serve_tools import wait_until

NOW = 1_790_000_000_000


def learned_and_published(world: World) -> Version:
    world.shop(rounds=1)
    world.learn()
    return Version.parse(world.publish().version)


def served(current: CurrentState) -> Version | None:
    return current.view.snapshot.version if current.view and current.view.snapshot else None


def test_what_is_kept_is_no_work_for_the_garbage_collector(world: World) -> None:
    world.open()
    with world.server() as current:
        world.shown(current)
        wait_until(lambda: gc.get_freeze_count() > 0)
    assert not gc.get_freeze_count()


def test_an_attribute_of_owners_that_no_item_has_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.stock()
    learned_and_published(world)
    serve = world.settings.serve.model_copy(update={"owner_attribute": "seler"})
    world.settings = world.settings.model_copy(update={"serve": serve})
    with world.server() as current:
        world.shown(current)
    assert "owner_attribute" not in caplog.text, "there may be some when there are more items"
    monkeypatch.setattr(follower, "LEAST_ITEMS", 1)
    with world.server() as current:
        world.shown(current)
    assert "serve.owner_attribute = 'seler': none of 12 items has it" in caplog.text


def test_swaps_under_load(world: World) -> None:
    world.stock()
    learned_and_published(world)
    swaps, freshness = metrics.SWAPS._value.get(), metrics.SERVED_FRESHNESS._sum.get()
    stop = Event()

    def ask(current: CurrentState) -> tuple[list[Answer], set[str]]:
        answers, versions = [], set()
        while not stop.is_set():
            view, history = current.for_user("ann")
            assert view is not None and view.snapshot is not None
            answers.append(recommend(view, history, None, RecommendationQuery(k=12), context=5, now=NOW))
            versions.add(str(view.snapshot.version))
        return answers, versions

    with world.server() as current, ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(ask, current) for _ in range(2)]
        try:
            for _ in range(5):  # fulls and deltas
                learned_and_published(world)
                world.shown(current)
        finally:
            stop.set()
        for client in clients:
            answers, versions = client.result()
            assert len(versions) > 3
            assert all(answer.source == "model" and len(answer.rows) == 12 for answer in answers)
    assert metrics.SWAPS._value.get() - swaps == 6
    assert metrics.SERVED_FRESHNESS._sum.get() > freshness


def test_a_whole_snapshot_is_made_ready_while_requests_go_on(world: World) -> None:
    """Nothing of what is served is changed by it, so it waits for no request, and none for it."""
    world.stock()
    world.shop(rounds=1)
    world.learn()
    whole = world.update(is_whole=True)
    world.publish()
    with world.server() as current, current.lock.reading():
        world.promote(whole, Version(2, 0))
        wait_until(lambda: served(current) == Version(2, 0))


@pytest.mark.parametrize("damage", ["byte", "missing", "manifest", "announcement"])
def test_a_bad_snapshot_is_refused_while_the_old_one_serves(world: World, damage: str) -> None:
    world.stock()
    good = learned_and_published(world)
    refused = metrics.REFUSED_SNAPSHOTS._value.get()
    with world.server() as current:
        assert served(current) == good
        world.announce_damaged(damage)
        wait_until(lambda: current.refusal is not None)
        assert served(current) == good
        assert metrics.REFUSED_SNAPSHOTS._value.get() == refused + 1
        world.act("ann", "green-candle")
        wait_until(lambda: current.for_user("ann")[1][-1].item == "green-candle")
        better = learned_and_published(world)
        wait_until(lambda: served(current) == better)
        assert current.refusal is None


def test_a_new_server_serves_the_newest_fit_snapshot(world: World) -> None:
    world.stock()
    good = learned_and_published(world)
    world.announce_damaged("byte")
    with world.server() as current:
        assert served(current) == good
        assert current.refusal is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backbone": "other"}, "backbone"),
        ({"sizes": ModelSizes(layers=99).model_dump()}, "do not match"),
        ({"max_tokens": 99}, "max_tokens"),
    ],
)
def test_a_snapshot_of_another_model_is_refused(world: World, change: dict[str, object], reason: str) -> None:
    world.stock()
    version = learned_and_published(world)
    world.forge(version, **change)
    with world.server() as current:
        assert served(current) is None
        assert current.refusal is not None and reason in current.refusal.reason


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": {**ModelSizes().model_dump(), "adapter_rank": 10**12}},
        {"sizes": {**ModelSizes().model_dump(), "lora_rank": -1}},
        {"rows": 10**30},
        {"offsets": {"shop.interactions": 3}},
    ],
    ids=["adapter_rank", "lora_rank", "rows", "offsets"],
)
def test_an_impossible_manifest_costs_neither_a_running_server_nor_one_that_starts(
    world: World, change: dict[str, object]
) -> None:
    world.stock()
    learned_and_published(world)
    good = learned_and_published(world)
    folder = world.folder / "snapshots" / PREFIX
    bad = Version(good.generation, good.step + 5)
    shutil.copytree(folder / str(good), folder / str(bad))
    with world.server() as running:
        assert served(running) == good
        world.forge(bad, version=str(bad), **change)
        wait_until(lambda: running.refusal is not None)
        with world.server() as started:
            for current in (running, started):
                assert served(current) == good
                assert current.refusal is not None and str(bad) in current.refusal.reason


@pytest.mark.parametrize("larger", [{"lora_rank": 3, "adapter_rank": 6}, {"vectors": {"picture": 5}}])
def test_a_model_of_other_sizes_than_the_settings_is_served(world: World, larger: dict[str, Any]) -> None:
    world.stock()
    learned_and_published(world)
    world.learner.grow_to(world.learner.config.sizes.replace(**larger))
    world.generation += 1
    grown = learned_and_published(world)
    with world.server() as current:
        assert served(current) == grown
        assert current.refusal is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lora_rank": 3}, "do not match"),
        ({"tuning": "dora"}, "do not match"),
        ({"tuning": "prefix"}, "do not match"),
        ({"tuning": "last_layers"}, "do not match"),
        ({"vectors": {"picture": 5}}, "does not match the rest"),
    ],
)
def test_a_snapshot_that_does_not_have_the_sizes_it_names_is_refused(
    world: World, change: dict[str, object], reason: str
) -> None:
    world.stock()
    version = learned_and_published(world)
    sizes = world.store.manifest(version).sizes
    world.forge(version, sizes=sizes.replace(**change).model_dump())
    with world.server() as current:
        assert served(current) is None
        assert current.refusal is not None and reason in current.refusal.reason


def test_numbers_that_are_not_finite_are_refused(world: World) -> None:
    world.stock()
    world.shop()
    world.learn()
    world.learner.mixer.weights[0, 0] = float("nan")
    world.publish()
    with world.server() as current:
        assert served(current) is None
        assert current.refusal is not None and "mixer" in current.refusal.reason


def gone(version: str) -> Announcement:
    return Announcement(version=version, digest="0" * 64, size=3, reason="", published_at=0)


def test_an_announced_version_that_is_not_there_is_told_and_stands_in_nobodys_way(world: World) -> None:
    world.stock()
    good = learned_and_published(world)
    refused, missing = metrics.REFUSED_SNAPSHOTS._value.get(), metrics.MISSING_SNAPSHOTS._value.get()
    with world.server() as current:
        world.announce(gone("999999999-1").encode())
        world.act("ann", "red-cup")
        world.shown(current)
        wait_until(lambda: current.refusal is not None)
        assert served(current) == good
        assert current.refusal is not None and "999999999-1 is not in the store" in current.refusal.reason
        assert metrics.MISSING_SNAPSHOTS._value.get() == missing + 1
        better = learned_and_published(world)
        wait_until(lambda: served(current) == better)
        assert current.refusal is None
    assert metrics.REFUSED_SNAPSHOTS._value.get() == refused


def test_a_new_server_falls_back_and_says_why(world: World) -> None:
    world.stock()
    good = learned_and_published(world)
    world.announce(gone("1-900").encode())
    with world.server() as current:
        assert served(current) == good
        assert current.refusal is not None and "1-900" in current.refusal.reason
    world.announce(b"compaction has left only this")
    watcher = SnapshotWatcher(world.loader(), PREFIX, CurrentState())
    watcher.observe(world.records(world.topics.snapshots)[-1:])
    snapshot = watcher.load_newest()
    assert snapshot is not None and snapshot.version == good


def test_an_announcement_is_refused_once_however_often_it_is_read(world: World) -> None:
    world.stock()
    learned_and_published(world)
    world.announce(b"bad")
    watcher = SnapshotWatcher(world.loader(), PREFIX, CurrentState())
    refused = metrics.REFUSED_SNAPSHOTS._value.get()
    for _ in range(3):
        watcher.observe(world.records(world.topics.snapshots))
    assert metrics.REFUSED_SNAPSHOTS._value.get() == refused + 1


def test_a_snapshot_that_was_refused_is_served_once_it_is_whole_and_announced_again(world: World) -> None:
    world.stock()
    learned_and_published(world)
    better = learned_and_published(world)
    folder = world.folder / "snapshots" / PREFIX / str(better)
    wire = world.announced().encode()
    shutil.move(folder, world.folder / "away")
    with world.server() as current:
        wait_until(lambda: current.refusal is not None)
        shutil.move(world.folder / "away", folder)
        world.announce(wire)
        wait_until(lambda: served(current) == better)
        assert current.refusal is None


def test_a_flood_of_announcements_is_bounded_and_the_newest_good_one_is_served(world: World) -> None:
    world.stock()
    learned_and_published(world)
    for step in range(50):
        world.announce(gone(f"7-{step}").encode())
    good = learned_and_published(world)
    with world.server() as current:
        assert served(current) == good


@pytest.mark.parametrize(
    "wire", [b"", b"null", b"[]", b"{", b'{"offset":3,"acts":[[1]]}', b'{"offset":-1,"acts":[]}', b"\xff"]
)
def test_a_damaged_history_costs_its_user_alone(
    world: World, wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world.open()
    refused = metrics.REFUSED_HISTORIES._value.get()
    with world.log.writer() as writer:
        writer.append(world.topics.histories, "bob", wire)
    with world.server() as current:
        world.shown(current)
        assert current.for_user("ann")[1] and not current.for_user("bob")[1]
    assert metrics.REFUSED_HISTORIES._value.get() == refused + 1
    assert "histories/" in caplog.text and "bob" not in caplog.text


def test_a_store_that_does_not_answer_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stock()
    version = learned_and_published(world)
    now = 0.0
    current, loader = CurrentState(), world.loader()
    watcher = SnapshotWatcher(loader, PREFIX, current, clock=lambda: now)
    watcher.observe(world.records(world.topics.snapshots))
    with monkeypatch.context() as broken:
        broken.setattr(loader, "load", fail_with(ConnectionError("no route")))
        assert watcher.load_newest() is None
    assert watcher.load_newest() is None
    now = 100.0
    snapshot = watcher.load_newest()
    assert snapshot is not None and snapshot.version == version
    assert watcher.load_newest() is None and current.refusal is None


def fail_with(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_only_higher_versions_of_the_own_model_are_loaded(world: World) -> None:
    world.stock()
    first = learned_and_published(world)
    announced = world.announced()
    second = learned_and_published(world)
    with world.server() as current:
        assert served(current) == second
        world.announce(announced.encode())
        with world.log.writer() as writer:
            other = announced.model_copy(update={"version": "9-9"})
            writer.append(world.topics.snapshots, "another-model", other.encode())
        world.act("ann", "red-cup")
        world.shown(current)
        assert served(current) == second > first


def test_a_promoted_snapshot_may_have_learned_less(world: World) -> None:
    """The tail no longer has the events that it lacks, so the server reads them again."""
    world.stock()
    world.shop(rounds=1)
    world.learn()
    early = world.update(is_whole=True)
    world.shop(rounds=1)
    world.learn()
    world.publish()
    with world.server() as current:
        assert world.shown(current).unlearned == 0
        world.promote(early, Version(2, 0))
        wait_until(lambda: served(current) == Version(2, 0))
        wait_until(lambda: current.view is not None and current.view.unlearned == 6)
        with world.server() as late:
            assert current.view is not None and late.view is not None
            assert current.view.popularity.counts.tolist() == late.view.popularity.counts.tolist()


def test_events_that_are_learned_again_after_a_rollback_are_no_news(world: World) -> None:
    def observed() -> float:
        return sum(float(bucket.get()) for bucket in metrics.SERVED_FRESHNESS._buckets)

    world.stock()
    learned_and_published(world)
    early = world.update(is_whole=True)
    with world.server() as current:
        world.shown(current)
        learned_and_published(world)
        world.shown(current)
        late, known = world.update(is_whole=True), observed()
        world.promote(early, Version(2, 0))
        wait_until(lambda: served(current) == Version(2, 0))
        world.promote(late, Version(2, 1))
        wait_until(lambda: served(current) == Version(2, 1))
        assert observed() == known
        time.sleep(0.002)  # an append time in ms of its own
        world.act("ann", "red-cup")
        world.learn()
        world.promote(world.update(is_whole=True), Version(2, 2))
        wait_until(lambda: served(current) == Version(2, 2))
        assert observed() == known + 1


def test_what_was_learned_before_the_server_began_is_no_news_after_a_rollback(world: World) -> None:
    world.stock()
    learned_and_published(world)
    early = world.update(is_whole=True)
    learned_and_published(world)
    late = world.update(is_whole=True)
    with world.server() as current:
        world.shown(current)
        known = metrics.SERVED_FRESHNESS._sum.get()
        world.promote(early, Version(2, 0))
        wait_until(lambda: served(current) == Version(2, 0))
        world.promote(late, Version(2, 1))
        wait_until(lambda: served(current) == Version(2, 1))
    assert metrics.SERVED_FRESHNESS._sum.get() == known


def test_expired_records_are_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stock()
    learned_and_published(world)
    lost = metrics.EXPIRED_READS.labels("serve")._value.get()
    with world.server() as current:
        errors = world.reader_fails_once(monkeypatch, OffsetsExpired(world.topics.interactions, 0, 0, 5, 9))
        wait_until(lambda: not errors)
        world.act("ann", "red-cup")
        assert world.shown(current).unlearned == 1
    assert metrics.EXPIRED_READS.labels("serve")._value.get() == lost + 1


def test_an_error_of_the_follower_is_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stock()
    with pytest.raises(ZeroDivisionError), world.server():
        errors = world.reader_fails_once(monkeypatch, ZeroDivisionError())
        wait_until(lambda: not errors)


def test_snapshots_may_be_deleted_under_a_server(world: World) -> None:
    world.stock()
    good = learned_and_published(world)
    with world.server() as current:
        shutil.rmtree(world.folder / "snapshots")
        world.act("ann", "red-cup")
        wait_until(lambda: current.view is not None and current.view.unlearned == 1)
        assert served(current) == good


def test_more_records_than_one_poll_returns_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.serve.follow.follower.MAX_RECORDS", 5)
    world.stock()
    world.shop()
    with world.server() as current:
        assert world.shown(current).unlearned == 24


def test_a_long_tail_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.serve.follow.follower.MAX_EVENTS", 8)
    world.stock()
    world.act("ann", *["red-cup"] * 5)
    with world.server() as current:
        assert world.shown(current).unlearned == 2
