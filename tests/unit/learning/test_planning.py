"""Planning: from which version a retrain begins, and which part of the log it sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import ChampionGone, TopicError
from pipeline.eventlog.port import TopicPartition
from pipeline.learning.candidates import Plan
from pipeline.learning.control import Judgement
from pipeline.learning.journal import read_journal
from pipeline.learning.planning import no_plan, open_request, plan_for, plan_now
from pipeline.learning.retrainer import recorded, void
from pipeline.snapshots.snapshot import Version
from pipeline.stopping import Stopped
from tests.mill import Mill, copy_of
from tests.workshop import AMOUNTS, CHAMPION, candidates, live, request, workshop

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def mill(lived_mill: Mill) -> Mill:
    return lived_mill


def reached(mill: Mill) -> dict[str, int]:
    """Records of interactions that each version of the journal has learned."""
    entries = read_journal(mill.log, mill.topics.journal)
    return {entry.version: recorded(mill.topics, entry.offsets) for entry, _ in entries}


def ends(mill: Mill, version: str) -> dict[str, int]:
    """Where a version stands in the interactions, by partition."""
    (found,) = (e for e, _ in read_journal(mill.log, mill.topics.journal) if e.version == version)
    return {str(s): end for s, end in found.offsets.items() if s.topic == mill.topics.interactions}


def window(mill: Mill, plan: Plan) -> int:
    """Records in a plan's window."""
    stands = ends(mill, plan.champion)
    assert stands.keys() == plan.window.keys()
    assert all(0 <= plan.window[source] <= end for source, end in stands.items())
    return sum(stands.values()) - sum(plan.window.values())


# For a request.


@pytest.mark.parametrize("alarm", ["1-2", "1-4", CHAMPION, "1-9"])
def test_the_champion_is_the_first_that_has_seen_enough_after_the_alarm(mill: Mill, alarm: str) -> None:
    asked = request(*Version.parse(alarm))
    plan = plan_for(workshop(mill), AMOUNTS, asked)
    by_version = reached(mill)
    assert plan.champion == next(
        version
        for version, come in by_version.items()
        if Version.parse(version) > Version.parse(alarm) and come >= by_version[alarm] + AMOUNTS.wait
    )
    assert plan.name == plan.request == asked.key
    assert (plan.held_out, plan.trial) == (AMOUNTS.held_out, AMOUNTS.trial)


def test_the_window_is_what_came_since_the_alarm(mill: Mill) -> None:
    plan = plan_for(workshop(mill), AMOUNTS, request(1, 5))
    by_version = reached(mill)
    assert window(mill, plan) == pytest.approx(by_version[plan.champion] - by_version["1-5"], abs=2)


def test_it_waits_until_enough_has_come(mill: Mill) -> None:
    with mill.life() as life:
        life.again()
        last = life.position.step
        plans = list[Plan]()
        planning = threading.Thread(
            target=lambda: plans.append(plan_for(workshop(mill), AMOUNTS, request(1, last))), daemon=True
        )
        planning.start()
        planning.join(0.7)
        assert planning.is_alive()
        live(mill, 40, begin=1_000)
        life.new()
    planning.join(20)
    assert plans[0].champion == f"1-{last + 2}"


def test_told_to_stop_it_waits_no_longer(mill: Mill) -> None:
    shop = workshop(mill)
    shop.stop.set()
    with pytest.raises(Stopped):
        plan_for(shop, replace(AMOUNTS, wait=10_000), request(1, 5))


def test_an_adoption_after_the_alarm_leaves_nothing_to_answer(mill: Mill) -> None:
    order = mill.roll_back("1-3")
    with mill.life() as life:
        life.again()
        last = life.position
        life.new()
    with pytest.raises(ChampionGone, match=order):
        plan_for(workshop(mill), AMOUNTS, request(last.generation, last.step))


def test_an_adoption_before_the_alarm_is_no_hindrance(mill: Mill) -> None:
    mill.roll_back(CHAMPION, relearn=True)
    with mill.life() as life:
        life.again()
        life.new()
    plan = plan_for(workshop(mill), AMOUNTS, request(2, 8))
    assert plan.champion == "2-10"


def test_what_came_too_late_is_put_down_with_nothing_to_do() -> None:
    plan = no_plan(request(3, 14))
    assert (plan.champion, plan.window, plan.held_out, plan.trial) == ("3-14", {}, 0, 0)
    judgement = void(plan, "too late")
    assert (judgement.outcome, judgement.request, judgement.generation) == ("void", request(3, 14).key, 3)


# Requests.


def answer(mill: Mill, step: int) -> Judgement:
    plan = no_plan(request(1, step))
    judgement = void(plan, "answered")
    candidates(mill).begin(plan).judge(judgement)
    return judgement


def test_the_newest_request_is_open_until_it_is_answered(mill: Mill) -> None:
    def found() -> str | None:
        newest = open_request(mill.log, mill.topics, candidates(mill))
        return newest.key if newest else None

    assert found() is None
    mill.order(request(1, 3))
    mill.order(request(1, 5).alarm)
    mill.control(b"none of ours")
    mill.control(b"[]")
    assert found() == request(1, 3).key
    mill.order(request(1, 9))
    assert found() == request(1, 9).key
    candidates(mill).begin(no_plan(request(1, 9)))
    assert found() == request(1, 9).key, "begun is not answered"
    answer(mill, 9)
    assert found() is None, "the older one is answered with it"


# By hand.


def test_by_hand_the_newest_checkpoint_with_enough_after_it_is_taken(mill: Mill) -> None:
    with mill.life() as life:
        life.again()
        life.checkpoint()
        newest = life.position.version
    by_hand = plan_now(workshop(mill), AMOUNTS, None)
    assert by_hand.champion == CHAMPION
    assert by_hand.request is None
    assert by_hand.name.startswith("by-hand-")
    needed = reached(mill)[newest] - reached(mill)[CHAMPION] - AMOUNTS.held_out
    assert plan_now(workshop(mill), replace(AMOUNTS, trial=needed), None).champion == CHAMPION
    assert plan_now(workshop(mill), replace(AMOUNTS, trial=0, held_out=0), None).champion == newest


def test_where_none_has_enough_after_it_the_newest_waits(mill: Mill) -> None:
    with mill.life() as life:
        life.again()
        life.checkpoint()
        newest = life.position.version
    assert plan_now(workshop(mill), replace(AMOUNTS, trial=10_000), None).champion == newest


def test_what_was_left_behind_by_an_adoption_is_not_retrained(mill: Mill) -> None:
    mill.roll_back("1-3")
    with mill.life() as life:
        life.again()
        life.new()
        life.checkpoint()
        newest = life.position.version
    assert newest.startswith("2-")
    assert plan_now(workshop(mill), AMOUNTS, None).champion == newest, "though 1-6 has enough after it"


def test_without_a_checkpoint_there_is_nothing_to_begin_from(forgetful: Mill) -> None:
    with pytest.raises(TopicError, match="no checkpoint"):
        plan_now(workshop(forgetful), AMOUNTS, None)


@pytest.fixture
def forgetful(tmp_path: Path, backbone_folder: Path, lived: Path) -> Iterator[Mill]:
    """A mill that has learned and kept nothing of it."""
    with copy_of(lived, tmp_path / "bare", backbone_folder) as mill:
        for position in mill.checkpoints.positions():
            (mill.checkpoints.folder / position.version / "manifest.json").unlink()
        yield mill


@pytest.mark.parametrize("records", [10, 64, 10_000])
def test_each_partition_gives_its_share_to_the_window(mill: Mill, records: int) -> None:
    plan = plan_now(workshop(mill), replace(AMOUNTS, window=records), None)
    stands = ends(mill, CHAMPION)
    share = min(1.0, records / sum(stands.values()))
    for source, end in stands.items():
        assert end - plan.window[source] == pytest.approx(share * end, abs=0.5)


def test_a_window_may_begin_at_a_time(mill: Mill) -> None:
    source = TopicPartition(mill.topics.interactions, 0)
    times = {r.append_time for r in mill.records(mill.topics.interactions) if r.partition == source.partition}
    since = datetime.fromtimestamp(sorted(times)[len(times) // 4] / 1000, UTC)
    plan = plan_now(workshop(mill), AMOUNTS, since)
    starts = mill.log.offsets_at([mill.topics.interactions], int(since.timestamp() * 1000))
    assert plan.window == {str(place): start for place, start in starts.items()}
    assert plan_now(workshop(mill), AMOUNTS, LONG_AGO).window == dict.fromkeys(plan.window, 0)


def test_a_window_does_not_begin_where_the_champion_ends(mill: Mill) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(TopicError, match=f"{CHAMPION}.* has learned nothing since"):
        plan_now(workshop(mill), AMOUNTS, later)
