"""Planning: from which version a retrain begins, and which part of the log it sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.retrain.deciding import cancelled
from consumers.retrain.planning import Planner, empty_plan
from consumers.retrain.requests import open_request
from pipeline.control.records import GateDecision
from pipeline.errors import ChampionGone, OffsetsExpired, TopicError
from pipeline.eventlog.port import TopicPartition
from pipeline.journal.entry import read_journal
from pipeline.journal.follow import recorded
from pipeline.retraining.candidates import RetrainPlan
from pipeline.signals import Stopped
from pipeline.snapshots.version import Version
from tests.support.model_harness import ModelHarness, copy_of
from tests.support.retrain_harness import (
    CHAMPION,
    PLAN,
    candidates,
    live,
    make_planner,
    make_retrainer,
    plan_by_hand,
    request,
)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


def reached(harness: ModelHarness) -> dict[str, int]:
    """Records of interactions that each version of the journal has learned."""
    entries = read_journal(harness.log, harness.topics.journal)
    return {entry.version: recorded(harness.topics, entry.offsets) for entry, _ in entries}


def ends(harness: ModelHarness, version: str) -> dict[str, int]:
    """Where a version stands in the interactions, by partition."""
    (found,) = (e for e, _ in read_journal(harness.log, harness.topics.journal) if e.version == version)
    return {str(s): end for s, end in found.offsets.items() if s.topic == harness.topics.interactions}


def window(harness: ModelHarness, plan: RetrainPlan) -> int:
    """Records in a plan's window."""
    stands = ends(harness, plan.champion)
    assert stands.keys() == plan.window.keys()
    assert all(0 <= plan.window[source] <= end for source, end in stands.items())
    return sum(stands.values()) - sum(plan.window.values())


# For a request.


@pytest.mark.parametrize("alarm", ["1-2", "1-4", CHAMPION, "1-9"])
def test_the_champion_is_the_first_that_has_seen_enough_after_the_alarm(
    harness: ModelHarness, alarm: str
) -> None:
    asked = request(*Version.parse(alarm))
    plan = make_planner(harness).after_alarm(asked)
    by_version = reached(harness)
    assert plan.champion == next(
        version
        for version, come in by_version.items()
        if Version.parse(version) > Version.parse(alarm) and come >= by_version[alarm] + PLAN.wait_events
    )
    assert plan.name == plan.request == asked.key
    assert (plan.held_out, plan.trial) == (PLAN.held_out_events, PLAN.trial_events)


def test_the_window_is_what_came_since_the_alarm(harness: ModelHarness) -> None:
    plan = make_planner(harness).after_alarm(request(1, 5))
    by_version = reached(harness)
    assert window(harness, plan) == pytest.approx(by_version[plan.champion] - by_version["1-5"], abs=2)


def test_it_waits_until_enough_has_come(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.recover()
        last = learning.position.step
        plans = list[RetrainPlan]()
        planning = threading.Thread(
            target=lambda: plans.append(make_planner(harness).after_alarm(request(1, last))), daemon=True
        )
        planning.start()
        planning.join(0.7)
        assert planning.is_alive()
        live(harness, 40, begin=1_000)
        learning.new()
    planning.join(20)
    assert plans[0].champion == f"1-{last + 2}"


def test_told_to_stop_it_waits_no_longer(harness: ModelHarness) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        make_planner(harness, PLAN.replace(wait_events=10_000), stop).after_alarm(request(1, 5))


def test_an_adoption_after_the_alarm_leaves_nothing_to_answer(harness: ModelHarness) -> None:
    order = harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        last = learning.position
        learning.new()
    with pytest.raises(ChampionGone, match=order):
        make_planner(harness).after_alarm(request(last.generation, last.step))


def test_an_adoption_before_the_alarm_is_no_hindrance(harness: ModelHarness) -> None:
    harness.roll_back(CHAMPION, relearn=True)
    with harness.learning() as learning:
        learning.recover()
        learning.new()
    plan = make_planner(harness).after_alarm(request(2, 8))
    assert plan.champion == "2-10"


def test_the_plan_of_a_request_that_came_too_late_is_empty() -> None:
    plan = empty_plan(request(3, 14))
    assert (plan.champion, plan.window, plan.held_out, plan.trial) == ("3-14", {}, 0, 0)
    decision = cancelled(plan, "too late")
    assert (decision.outcome, decision.request, decision.generation) == ("cancelled", request(3, 14).key, 3)


def test_a_request_that_came_too_late_is_written_down_with_an_empty_plan(harness: ModelHarness) -> None:
    harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        last = learning.position
        learning.new()
    late = request(last.generation, last.step)
    with pytest.raises(ChampionGone):
        make_planner(harness).plan(late.key, late)
    written = candidates(harness).named(late.key).plan()
    assert written.model_copy(update={"planned_at": 0}) == empty_plan(late).model_copy(
        update={"planned_at": 0}
    )


def test_a_request_from_before_the_journal_begins_is_cancelled(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> RetrainPlan:
        raise OffsetsExpired(harness.topics.journal, 0, 0, 50, 60)

    monkeypatch.setattr(Planner, "after_alarm", expired)
    decision = make_retrainer(harness).retrain(request(1, 4).key, request(1, 4))
    assert (decision.outcome, decision.champion) == ("cancelled", "1-4")
    assert "lost to retention" in decision.reasons[0]
    assert harness.published(GateDecision) == [decision]


def test_a_plan_is_made_once(harness: ModelHarness) -> None:
    asked = request(1, 4)
    plan = make_planner(harness).plan(asked.key, asked)
    assert make_planner(harness, PLAN.replace(held_out_events=1)).plan(asked.key, asked) == plan
    assert make_planner(harness).plan(asked.key, None) == plan


# Requests.


def answer(harness: ModelHarness, step: int) -> GateDecision:
    plan = empty_plan(request(1, step))
    decision = cancelled(plan, "answered")
    candidates(harness).begin(plan).conclude(decision)
    return decision


def test_the_newest_request_is_open_until_it_is_answered(harness: ModelHarness) -> None:
    def found() -> str | None:
        newest = open_request(harness.log, harness.topics, candidates(harness))
        return newest.key if newest else None

    assert found() is None
    harness.order(request(1, 3))
    harness.order(request(1, 5).alarm)
    harness.control(b"none of ours")
    harness.control(b"[]")
    assert found() == request(1, 3).key
    harness.order(request(1, 9))
    assert found() == request(1, 9).key
    candidates(harness).begin(empty_plan(request(1, 9)))
    assert found() == request(1, 9).key, "begun is not answered"
    answer(harness, 9)
    assert found() is None, "the older one is answered with it"


# By hand.


def test_by_hand_the_newest_checkpoint_with_enough_after_it_is_taken(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.recover()
        learning.checkpoint()
        newest = learning.position.version
    by_hand = plan_by_hand(harness)
    assert by_hand.champion == CHAMPION
    assert by_hand.request is None
    assert by_hand.name.startswith("by-hand-")
    needed = reached(harness)[newest] - reached(harness)[CHAMPION] - PLAN.held_out_events
    assert plan_by_hand(harness, PLAN.replace(trial_events=needed)).champion == CHAMPION
    assert (
        plan_by_hand(harness, PLAN.model_copy(update={"trial_events": 0, "held_out_events": 0})).champion
        == newest
    )


def test_where_none_has_enough_after_it_the_newest_waits(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.recover()
        learning.checkpoint()
        newest = learning.position.version
    assert plan_by_hand(harness, PLAN.replace(trial_events=10_000)).champion == newest


def test_what_was_left_behind_by_an_adoption_is_not_retrained(harness: ModelHarness) -> None:
    harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        learning.new()
        learning.checkpoint()
        newest = learning.position.version
    assert newest.startswith("2-")
    assert plan_by_hand(harness).champion == newest, "though 1-6 has enough after it"


def test_without_a_checkpoint_there_is_nothing_to_begin_from(forgetful: ModelHarness) -> None:
    with pytest.raises(TopicError, match="no checkpoint"):
        plan_by_hand(forgetful)


@pytest.fixture
def forgetful(tmp_path: Path, backbone_folder: Path, lived: Path) -> Iterator[ModelHarness]:
    """A model that has learned and kept no checkpoint."""
    with copy_of(lived, tmp_path / "bare", backbone_folder) as harness:
        for position in harness.checkpoints.positions():
            (harness.checkpoints.folder / position.version / "manifest.json").unlink()
        yield harness


@pytest.mark.parametrize("records", [10, 64, 10_000])
def test_each_partition_gives_its_share_to_the_window(harness: ModelHarness, records: int) -> None:
    plan = plan_by_hand(harness, PLAN.replace(window_events=records))
    stands = ends(harness, CHAMPION)
    share = min(1.0, records / sum(stands.values()))
    for source, end in stands.items():
        assert end - plan.window[source] == pytest.approx(share * end, abs=0.5)


def test_a_window_may_begin_at_a_time(harness: ModelHarness) -> None:
    source = TopicPartition(harness.topics.interactions, 0)
    times = {
        r.append_time for r in harness.records(harness.topics.interactions) if r.partition == source.partition
    }
    since = datetime.fromtimestamp(sorted(times)[len(times) // 4] / 1000, UTC)
    plan = plan_by_hand(harness, since=since)
    starts = harness.log.offsets_at([harness.topics.interactions], int(since.timestamp() * 1000))
    assert plan.window == {str(place): start for place, start in starts.items()}
    assert plan_by_hand(harness, since=LONG_AGO).window == dict.fromkeys(plan.window, 0)


def test_a_window_does_not_begin_where_the_champion_ends(harness: ModelHarness) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(TopicError, match=f"{CHAMPION}.* has learned nothing since .* an earlier --since$"):
        plan_by_hand(harness, since=later)
