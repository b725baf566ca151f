"""A server beside a replaced log answers from memory and says so, until the learner goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from consumers.serve.follow import follower
from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer
from consumers.serve.state.current import CurrentState
from pipeline import metrics
from pipeline.eventlog.topic_watch import TopicWatch
from pipeline.snapshots.version import Version
from tests.support.answers import recommend
from tests.support.serve_harness import PREFIX, World
from tests.support.serve_tools import wait_until


@pytest.fixture(autouse=True)
def attentive(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(follower, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(follower, "TopicWatch", partial(TopicWatch, seconds=0))
    yield
    metrics.DEGRADED.set(0)


def reason(current: CurrentState) -> str:
    return current.degradation.reason if current.degradation else ""


def answer(current: CurrentState) -> Answer:
    view, history = current.for_user("ann")
    assert view is not None
    return recommend(view, history, None, RecommendationQuery(k=5), context=5, now=0)


def last_item(current: CurrentState) -> str | None:
    return next((act.item for act in reversed(current.for_user("ann")[1])), None)


def test_a_running_server_answers_from_memory_until_the_gap_is_accepted(world: World) -> None:
    world.open()
    with world.server() as current:
        world.shown(current)
        before, history = answer(current), current.for_user("ann")[1]
        with world.replaced() as again:
            again.shop()  # as many offsets as before, and other records
            wait_until(lambda: "--accept-gap" in reason(current))
            assert "shop.interactions was deleted and made again" in reason(current)
            assert metrics.DEGRADED._value.get() == 1
            assert (answer(current), current.for_user("ann")[1]) == (before, history)
            assert before.source == "model"

            accepted = again.publish()
            wait_until(lambda: current.degradation is None)
            served = again.shown(current).snapshot
            assert served is not None and str(served.version) == accepted.version == "2-2"
            assert metrics.DEGRADED._value.get() == 0
            assert current.for_user("ann")[1][: len(history)] == history
            assert last_item(current) == again.learner.stream.histories.of("ann")[-1].item
            assert answer(current).source == "model"


def test_a_log_without_topics_yet_ends_no_server(world: World) -> None:
    world.open()
    with world.server() as current:
        before = answer(current)
        with world.replaced() as again:
            for topic in (again.topics.items, again.topics.interactions):
                again.delete(topic)
            wait_until(lambda: "millstream topics create" in reason(current))
            assert answer(current) == before


def test_the_old_log_is_followed_again_once_it_is_back(world: World) -> None:
    world.open()
    with world.server() as current:
        with world.replaced():
            wait_until(lambda: "--accept-gap" in reason(current))
        world.act("ann", "green-candle")
        wait_until(lambda: last_item(current) == "green-candle")
        wait_until(lambda: current.degradation is None)


def test_a_server_that_starts_beside_another_log_has_no_answers_until_the_gap_is_accepted(
    world: World,
) -> None:
    world.open()
    with world.replaced() as again, again.server() as current:
        assert "not the log of snapshot 1-1: shop.interactions was deleted" in reason(current)
        assert current.view is None
        again.publish()
        wait_until(lambda: current.view is not None)
        assert answer(current).source == "model"


@pytest.mark.parametrize("kind", ["interactions", "items"])
def test_one_topic_made_again_is_another_log(world: World, kind: str) -> None:
    world.open()
    with world.server() as current:
        before = answer(current)
        world.make_again(f"{PREFIX}.{kind}")
        wait_until(lambda: "--accept-gap" in reason(current))
        assert f"{PREFIX}.{kind} was deleted and made again" in reason(current)
        assert answer(current) == before
        with world.server() as started:
            assert reason(started) == reason(current)


def promote(world: World, **change: object) -> None:
    """Publish a later snapshot with other values in its manifest."""
    update = world.update(is_whole=True)
    manifest = update.manifest.model_copy(update=change)
    world.promote(replace(update, manifest=manifest), Version(1, 9))


def beyond(world: World) -> dict[str, int]:
    """Offsets that the log has not reached."""
    return {place: offset + 1_000 for place, offset in world.snapshot().manifest.offsets.items()}


def test_a_log_that_ends_before_what_was_learned_is_another_log(world: World) -> None:
    """As one that was restored from an old copy."""
    world.stock()
    world.shop()
    world.learn()
    promote(world, offsets=beyond(world))
    with world.server() as current:
        assert "shop.interactions/0 ends at" in reason(current)
        assert current.view is None


@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_snapshot_of_another_log_costs_no_server_the_one_that_it_has(
    world: World, is_renewed: bool
) -> None:
    """As a forged one, or one from a store that two logs share."""
    world.open()
    change = {"topic_ids": {world.topics.items: "other"}} if is_renewed else {"offsets": beyond(world)}
    with world.server() as running:
        promote(world, **change)
        wait_until(lambda: running.refusal is not None)
        with world.server() as started:
            for current in (running, started):
                assert current.refusal is not None
                assert "not the log of snapshot 1-9" in current.refusal.reason
                assert world.store.versions()[-1] == Version(1, 9)
                assert current.view is not None and current.view.snapshot is not None
                assert current.view.snapshot.version == Version(1, 1)
                assert current.degradation is None


def test_a_server_without_a_snapshot_reads_whatever_log_there_is(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup")
    with world.server() as current:
        world.shown(current)
        with world.replaced() as again:
            again.act("ann", "blue-cup")
            wait_until(lambda: last_item(current) == "blue-cup")
            wait_until(lambda: current.degradation is None)
