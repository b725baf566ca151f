"""Snapshot and tail: same offsets, same answer, whenever a server started and however it polled."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from consumers.serve.scoring import HistoryQuery, contexts_of
from consumers.serve.state.current import CurrentState
from consumers.serve.state.serving_state import ServingState, View
from pipeline.config import RetrievalConfig
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import Record
from pipeline.events import InteractionType, ItemChange, encode
from pipeline.model.backbone import Backbone
from pipeline.retrieval.retriever import CHOSEN_EVERY, Retriever
from pipeline.state.contributions import contribution
from pipeline.state.counts import PairCounts
from pipeline.state.histories import Histories
from tests.support.answers import mixture
from tests.support.build import popularity_of, purchase
from tests.support.serve_harness import COLOURS, START, THINGS, World

USERS = ("ann", "bob", "cyd", "dan")


def assert_same(world: World, early: CurrentState, late: CurrentState) -> None:
    """Compare items, counts, histories and scores bit for bit."""
    one, other = world.shown(early), world.shown(late)
    assert one.index.ids == other.index.ids
    assert np.array_equal(one.index.available, other.index.available)
    assert np.array_equal(one.popularity.counts, other.popularity.counts)
    assert one.popularity.total == other.popularity.total
    recents = [np.array([row]) for row in range(len(one.index))]
    suggested, others = (view.covisitation.suggest(recents).toarray() for view in (one, other))
    assert np.array_equal(suggested, others)
    assert (one.oldest_unlearned, one.unlearned) == (other.oldest_unlearned, other.unlearned)
    for user in USERS:
        assert early.for_user(user)[1] == late.for_user(user)[1]
        if early.for_user(user)[1]:
            assert np.array_equal(scores(one, early, user), scores(other, late, user))


def scores(view: View, current: CurrentState, user: str) -> np.ndarray:
    known = [act for act in current.for_user(user)[1] if view.index.row(act.item) is not None]
    return mixture(view, known, None, 5)


def test_a_late_server_equals_an_early_one(world: World) -> None:
    world.stock()
    world.shop()
    with world.server() as early:
        world.shown(early)
        world.learn()
        world.publish()
        world.shown(early)
        world.upsert("z-new", "red bag")
        world.act("dan", "blue-cup", "z-new", "nameless")
        world.shown(early)
        world.upsert("a-new", "green clock")
        world.act("ann", "a-new", "red-cup", session=None)
        world.act("bob", "blue-lamp", kind=InteractionType.DISLIKE)
        world.upsert("red-cup", "blue candle holder")
        world.upsert("gone", "set of plate")
        world.remove("gone")
        world.remove("green-lamp")
        world.shown(early)
        with world.server() as late:
            assert_same(world, early, late)
        world.learn()
        world.act("cyd", "a-new", "a-new", "nameless too")
        world.shown(early)
        world.publish()  # the histories end after the first server's snapshot
        world.act("dan", "green-cup")
        with world.server() as late:
            assert_same(world, early, late)


def test_a_late_server_finds_the_candidates_of_an_early_one(tmp_path: Path, backbone: Backbone) -> None:
    """The learner's choice of scanned rows changes, and texts come, change and go."""
    retrieval = RetrievalConfig(exact_items=20, scanned=32, best=3, nearest=3, covisited=1)
    with World(tmp_path, backbone, retrieval=retrieval) as world:
        world.open()
        with world.server() as early:
            assert world.shown(early).scans is None
            for number in range(50):
                world.upsert(f"more-{number}", f"{COLOURS[number % 3]} {number}" if number % 5 else "")
            for step in (CHOSEN_EVERY - 3, CHOSEN_EVERY - 2, CHOSEN_EVERY - 1):
                for number in range(40, 50):
                    world.act("dan", f"more-{number}")
                world.upsert(f"more-{step % 7}", f"blue {step}" if step % 2 else "")
                world._step = step
                world.learn()
                world.publish()
                with world.server() as late:
                    assert candidates(world, early) == candidates(world, late)
        row = world.learner.stream.catalogue.row
        assert_chosen_alike(world.learner.retriever, world.shown(early))
        scanned = world.learner.retriever.choice.rows
        assert {row(f"more-{number}") for number in range(40, 50)} <= {*scanned.tolist()}
        assert scanned.size == retrieval.scanned


def assert_chosen_alike(retriever: Retriever, view: View) -> None:
    assert view.snapshot is not None
    own, other = retriever.choice, view.snapshot.choice
    assert own.has_content == other.has_content
    assert own.centroids is not None and other.centroids is not None and other.lists is not None
    for one, theirs in (
        (own.rows, other.rows),
        (own.centroids, other.centroids),
        (retriever.lists, other.lists),
    ):
        assert np.array_equal(one, theirs)
    assert 0 < np.count_nonzero(retriever.lists) < retriever.lists.size


def candidates(world: World, current: CurrentState) -> list[tuple[int, ...]]:
    """The candidates of each user."""
    view = world.shown(current)
    model, scans = view.with_model, view.scans
    assert model is not None and scans is not None
    queries = [HistoryQuery(current.for_user(user)[1], None) for user in USERS]
    contexts = contexts_of(model, queries, 5)
    found = scans.retrieve(contexts, model.snapshot.recommender, model.snapshot.mixer).candidates
    return [(*rows.tolist(),) for rows in found.rows]


def test_acts_that_are_uploaded_late_are_history_by_event_time_and_fresh_by_append_time(world: World) -> None:
    world.open()
    with world.server() as early:
        world.act("ann", "blue-cup")
        world.act("ann", "green-cup", late_ms=86_400_000)
        view = world.shown(early)
        items = [act.item for act in early.for_user("ann")[1]]
        unlearned = [record for record in world.records(world.topics.interactions) if record.key == "ann"][
            -2:
        ]
        assert (items[0], items[-1]) == ("green-cup", "blue-cup")
        assert view.oldest_unlearned == min(record.append_time for record in unlearned)
        with world.server() as late:
            assert_same(world, early, late)
        world.learn()
    assert [act.item for act in world.learner.stream.histories.of("ann")] == items


def act_elsewhere(world: World, user: str, item: str, time: int) -> None:
    """Append an act as a producer with another partitioner does: to a partition that no user has."""
    homes = {partition_of(known, world.settings.log.partitions) for known in USERS}
    elsewhere = min(set(range(world.settings.log.partitions)) - homes)
    with world.log.writer() as writer:
        wire = encode(purchase(user, item, time))
        writer.append(world.topics.interactions, user, wire, partition=elsewhere)


def test_a_user_whose_acts_are_in_two_partitions_is_followed(world: World) -> None:
    """An offset counts within its own partition alone."""
    world.open()
    act_elsewhere(world, "ann", "blue-cup", START + 10**7)
    world.learn()
    world.publish()
    with world.server() as early:
        act_elsewhere(world, "ann", "green-cup", START + 2 * 10**7)
        world.act("ann", "green-lamp", late_ms=-3 * 10**7)
        world.shown(early)
        with world.server() as late:
            world.shown(late)
            items = [act.item for act in late.for_user("ann")[1]]
            assert early.for_user("ann")[1] == late.for_user("ann")[1]
    assert items[-3:] == ["blue-cup", "green-cup", "green-lamp"]
    assert len(items) == 8 + 3


NEGATIVE = InteractionType.DISLIKE, InteractionType.SKIP, InteractionType.RETURN


@pytest.mark.parametrize("seed", range(4))
def test_late_equals_early_whatever_users_like_reject_and_return(world: World, seed: int) -> None:
    """Histories are full, and none has more than a quarter of unlearned acts."""
    random, kinds = Random(seed), [*InteractionType, *NEGATIVE]
    items = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]

    def act_at_random(rounds: int) -> None:
        for user in random.sample(USERS * rounds, len(USERS) * rounds):
            kind = random.choice(kinds)
            value = random.choice([0.5, 3.0, 5.0]) if kind is InteractionType.RATING else None
            late = random.choice([0, 0, 0, 200_000])
            world.act(user, random.choice(items), kind=kind, value=value, late_ms=late)

    world.stock()
    with world.server() as early:
        for rounds in (30, 3):
            act_at_random(rounds)
            world.learn()
            world.publish()
            world.shown(early)
            for _ in range(2):
                act_at_random(2)
                with world.server() as late:
                    assert_same(world, early, late)


def test_a_return_takes_back_no_more_than_the_snapshot_has_left(world: World) -> None:
    """The learner's counts may have decayed, or evicted the pair, since the purchase."""
    world.act("ann", "green-lamp")
    world.open()
    world.act("ann", "green-lamp", kind=InteractionType.RETURN)
    with world.server() as server:
        whole = world.shown(server).snapshot
        assert whole is not None
        history = server.for_user("ann")[1]
    pairs = PairCounts().replaced(whole.pairs.rows(np.arange(whole.pairs.size)), scale=0.01)
    popularity = popularity_of(whole.popularity.counts / 9)
    left = replace(whole, pairs=pairs, popularity=popularity)
    histories = Histories(20)
    histories.put("ann", history[:-1])
    state = ServingState(left, histories, {}, (world.topics.interactions, world.topics.items))
    state.read(world.records(world.topics.interactions))
    view = state.view()
    counted = view.covisitation.rows(np.array([view.index.row("green-lamp")]))
    partners = [item for item, _ in contribution(history[:-1], history[-1], view.signals).pairs]
    assert view.unlearned == 1
    assert counted.values.min() >= 0
    assert partners and not counted.values[np.isin(counted.columns, view.index.rows_of(partners))].any()
    assert view.popularity.counts.min() == 0
    assert view.popularity.total == pytest.approx(view.popularity.counts.sum())


def test_histories_may_end_after_the_snapshot(world: World) -> None:
    """A publication writes histories first, so a server may read them before the snapshot."""
    world.open()
    with world.server() as early:
        world.act("ann", "red-lamp", "blue-lamp", "blue-cup")
        world.act("ann", "green-cup", kind=InteractionType.SKIP)
        world.shown(early)
        world.learn()
        world.publish_histories()
        world.act("ann", "green-plate")
        with world.server() as late:
            assert_same(world, early, late)
            assert world.shown(late).unlearned == 5


def test_duplicates_count_once(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup", event_id="same")
    world.learn()
    world.publish()
    with world.server() as early, world.server() as late:
        world.act("ann", "red-cup", event_id="same")
        world.act("ann", "red-lamp", event_id="other")
        world.act("ann", "red-lamp", event_id="other")
        for current in (early, late):
            assert world.shown(current).unlearned == 1
            assert [act.item for act in current.for_user("ann")[1]] == ["red-cup", "red-lamp"]


def test_invalid_events_are_skipped(world: World) -> None:
    world.stock()
    with world.log.writer() as writer:
        writer.append(world.topics.interactions, "ann", b"{}")
        writer.append(world.topics.items, "odd", b"not JSON")
    world.act("ann", "red-cup")
    with world.server() as current:
        assert world.shown(current).unlearned == 1


def test_staleness_is_the_age_of_the_oldest_unlearned_event(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        assert view.staleness(now_ms=10**15) == 0
        world.act("ann", "red-cup")
        view = world.shown(current)
        assert view.oldest_unlearned is not None
        first = view.oldest_unlearned
        assert view.staleness(first + 1500) == 1.5
        world.act("bob", "blue-cup")
        assert world.shown(current).oldest_unlearned == first
        world.learn()
        world.publish()
        view = world.shown(current)
        assert view.unlearned == 0 and view.staleness(now_ms=10**15) == 0


def test_an_unknown_text_waits_for_the_encoder(world: World) -> None:
    """An item is listed without content between the poll that reads its text and the encoding."""
    world.stock()
    world.learn()
    world.publish()
    snapshot = world.loader().load(world.store.versions()[-1])
    state = ServingState(snapshot, Histories(length=12), {}, (world.topics.interactions, world.topics.items))
    world.upsert("new", "red cup")
    state.read(world.records(world.topics.items))
    view = state.view()
    assert view.pending_texts == 1 and view.items is not None
    row = view.index.row("new")
    assert row is not None and not view.items.dense.content[row].any()
    with closing(world.encoder()) as encoder:
        assert state.encode(encoder, most=5) == 1
    view = state.view()
    assert view.pending_texts == 0 and view.items is not None
    assert torch.linalg.norm(view.items.dense.content[row]).item() > 0.99


def test_a_view_never_changes(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        before = scores(view, current, "ann").copy()
        known = list(current.for_user("ann")[1])
        world.act("ann", "red-cup", "new")
        world.upsert("newer", "red cup")
        world.shown(current)
        assert np.array_equal(mixture(view, known, None, 5), before)


def test_server_and_learner_merge_changes_of_items_alike(world: World) -> None:
    world.open()
    with world.server() as early:
        world.shown(early)
        world.change("red-cup", available=False)
        world.change("blue-cup", category="cups")
        world.change("green-cup", description="with a handle")
        world.change("never-seen", available=False)
        world.remove("red-lamp")
        world.change("red-lamp", category="lamps")
        world.remove("blue-lamp")
        world.change("blue-lamp", available=True)
        world.act("ann", "red-plate")
        one = world.shown(early)
        world.learn()
        catalogue = world.learner.stream.catalogue
        for item in ("red-cup", "blue-cup", "green-cup", "never-seen", "red-lamp", "blue-lamp"):
            row, learned = one.index.row(item), catalogue.entries[catalogue.row(item)]
            assert row is not None and learned is not None
            served = one.index.entries[row]
            assert served is None or served == learned
            assert one.index.available[row] == learned.available
        world.publish()
        world.shown(early)
        with world.server() as late:
            assert_same(world, early, late)


def test_a_change_whose_whole_item_is_compacted_away_still_hides_it_and_keeps_its_vector(
    world: World,
) -> None:
    world.open()
    with world.server() as server:
        before = world.shown(server)
    state = ServingState(before.snapshot, Histories(20), {}, (world.topics.interactions, world.topics.items))
    for fields in ({"available": False}, {"category": "cups"}):
        wire = encode(ItemChange.model_validate({"item": "red-cup", **fields}))
        state.read([Record(world.topics.items, 0, 9, START, "red-cup", wire)])
    after = state.view()
    row = after.index.row("red-cup")
    assert row is not None and not after.index.available[row]
    assert before.items is not None and after.items is not None
    assert torch.equal(after.items.dense.content[row], before.items.dense.content[row])
    assert state.pending_texts == 0


def test_an_item_that_changes_leave_no_time_of_sale_is_never_shown(world: World) -> None:
    world.open()
    with world.server() as server:
        before = world.shown(server)
    state = ServingState(before.snapshot, Histories(20), {}, (world.topics.interactions, world.topics.items))

    def is_shown(**fields: int | None) -> bool:
        wire = encode(ItemChange.model_validate({"item": "red-cup", **fields}))
        state.read([Record(world.topics.items, 0, 9, START, "red-cup", wire)])
        index = state.view().index
        row = index.row("red-cup")
        return row is not None and bool(index.available_at(START, np.array([row]))[0])

    assert is_shown(published=START)
    assert not is_shown(published=START + 1)
    assert not is_shown(expires=START - 1)
    assert not is_shown(category=None)
    assert is_shown(published=None, expires=None)


def test_a_collision_is_no_act_of_the_server_either(world: World) -> None:
    world.open()
    with world.server() as server:
        world.act("ann", "red-cup", event_id="order-1")
        world.act("ann", "blue-cup", event_id="order-1")
        world.shown(server)
        assert [act.item for act in server.for_user("ann")[1]][-1] == "red-cup"
