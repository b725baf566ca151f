"""The loop learns batches until they end, lets the metrics say so, and publishes the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import groupby, islice, repeat
from pathlib import Path

import pytest
import torch

from consumers.learn.commits import Cadences, Commits
from consumers.learn.loop import run
from consumers.learn.schedule import Cadence
from pipeline.config import Settings
from pipeline.control.records import Adoption, Rollback
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import read_compacted
from pipeline.events import Item, encode
from pipeline.journal.turns import Turn
from pipeline.metrics import Series, quantiles, value_of
from pipeline.monitoring.regression_guard import Fall
from pipeline.snapshots.history_records import read_history_record
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.version import Version
from pipeline.state.histories import Act
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import BATCH, PREFIX, ModelHarness, tiny_settings

NEVER = 10**9
Exposed = Callable[[], Series]


def run_through(
    harness: ModelHarness,
    learning: LearnerHarness,
    turns: Iterator[Turn | None],
    publish_events: int = NEVER,
) -> None:
    cadences = Cadences(Cadence(NEVER, publish_events), Cadence(NEVER, NEVER))
    learner, supervisor, checkpoints = learning.learner, learning.supervisor, harness.checkpoints
    commits = Commits(learner, supervisor, PREFIX, harness.log, harness.publisher(), checkpoints, cadences)
    run(turns, learner, supervisor, commits, checkpoints)


def grown(before: Series, after: Series, name: str, **labels: str) -> float:
    return value_of(after, name, **labels) - value_of(before, name, **labels)


def test_finite_batches_are_learned_measured_and_published(harness: ModelHarness, exposed: Exposed) -> None:
    harness.stock()
    harness.shop(30)
    harness.act("ann", "red-cup", event_id="e1")
    harness.act("ann", "red-cup", event_id="e2")
    harness.writer.append(harness.topics.interactions, "bob", b"bad")
    harness.writer.flush()
    before = exposed()
    with harness.learning() as learning:
        run_through(harness, learning, learning.unlearned())
    after = exposed()
    assert grown(before, after, "millstream_events_total", daemon="learn") == 30
    assert grown(before, after, "millstream_duplicates_total", daemon="learn") == 1
    assert grown(before, after, "millstream_dead_letters_total", daemon="learn", reason="not_json") == 1
    assert grown(before, after, "millstream_dead_letters_total", daemon="learn", reason="collision") == 1
    assert grown(before, after, "millstream_collisions_total", daemon="learn") == 1
    assert grown(before, after, "millstream_batch_seconds_count") == 3
    assert grown(before, after, "millstream_appended_to_learned_seconds_count") == 30
    assert grown(before, after, "millstream_appended_to_published_seconds_count") == 30
    assert grown(before, after, "millstream_quarantined_batches_total") == 0
    assert value_of(after, "millstream_step", daemon="learn") == 3
    assert value_of(after, "millstream_items", daemon="learn") == 12
    assert value_of(after, "millstream_users", daemon="learn") == 5
    assert value_of(after, "millstream_lag_records", daemon="learn") == 0
    assert value_of(after, "millstream_loss") > 0
    foreseen = {"scorer": "mixture", "slice": "all", "figure": "hr@20"}
    assert value_of(after, "millstream_prequential_quality", **foreseen) == 1, "of twelve items"
    assert value_of(after, "millstream_mixture_regret", slice="all", figure="hr@20") == 0, "all hit as often"
    assert ("millstream_mixture_regret", frozenset({("slice", "all"), ("figure", "log_loss")})) in after
    assert quantiles(after, "millstream_appended_to_learned_seconds", [0.5])[0] is not None
    manifest = harness.store.manifest(harness.store.versions()[-1])
    assert (manifest.version, manifest.reason, manifest.events) == ("1-3", "shutdown", 30)
    assert manifest.quality["model"]["all"]["n"] == 25, "the first of each user cannot be foreseen"
    assert list(harness.checkpoints.digests()) == ["1-3"]


def test_a_rehearsal_is_counted_and_published_once(settings: Settings, exposed: Exposed) -> None:
    """It changes weights and no offsets, and ends: an idle learner publishes no more."""
    batch = settings.batch.replace(rehearse_events=BATCH)
    before = exposed()
    with ModelHarness(settings.model_copy(update={"batch": batch})) as harness:
        harness.stock()
        harness.shop(BATCH)
        with harness.learning() as learning:
            run_through(harness, learning, learning.unlearned(), publish_events=1)
        learned, rehearsed = (harness.store.manifest(version) for version in harness.store.versions())
    assert grown(before, exposed(), "millstream_rehearsals_total") == 1
    assert (learned.version, rehearsed.version) == ("1-1", "1-2")
    assert learned.offsets == rehearsed.offsets
    assert learned.digest != rehearsed.digest
    assert learned.quality == rehearsed.quality, "a rehearsal scores nothing"


def test_errors_of_predicted_ratings_are_measured(harness: ModelHarness, exposed: Exposed) -> None:
    harness.act("ann", "red-cup", "red-lamp", "red-plate", rating=4.0)
    harness.act("bob", "red-cup", rating=4.0)
    with harness.learning() as learning:
        run_through(harness, learning, learning.unlearned())
    after = exposed()
    by_slice = {"all": 4, "first of a user": 2}
    for name, count in by_slice.items():
        of_slice = {"slice": name, "figure": "n"}
        assert value_of(after, "millstream_rating_quality", **of_slice) == pytest.approx(count, rel=1e-2)
        assert 0 < value_of(after, "millstream_rating_quality", slice=name, figure="mae") < 1


def test_what_vectors_say_is_measured_and_what_cannot_be_read_is_counted(
    tmp_path: Path, backbone_folder: Path, exposed: Exposed
) -> None:
    before = exposed()
    with ModelHarness(tiny_settings(tmp_path, backbone_folder, {"picture": 4})) as harness:
        harness.stock()
        misfit = Item(item="misfit", title="blue lamp", vectors={"picture": (0.0,) * 4})
        harness.writer.append(harness.topics.items, "misfit", encode(misfit))
        harness.shop(30)
        with harness.learning() as learning:
            run_through(harness, learning, learning.unlearned())
            said = learning.learner.recommender.fusion.figures()["picture"]
    after = exposed()
    assert value_of(after, "millstream_modality", modality="picture", figure="gate") == said.gate != 1
    assert value_of(after, "millstream_modality", modality="picture", figure="length") == said.length > 0
    unread = "millstream_unread_vectors_total"
    assert grown(before, after, unread, daemon="learn", reason="length") == 1


def test_nothing_to_read_is_nothing_learned(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        run_through(harness, learning, iter([None, None]))
    assert harness.store.versions() == []
    assert harness.checkpoints.digests() == {}


def test_freshness_is_of_new_batches_only(harness: ModelHarness, exposed: Exposed) -> None:
    harness.shop(10)
    with harness.learning() as learning:
        learning.new()
    before = exposed()
    with harness.learning() as learning:
        run_through(harness, learning, learning.unlearned())
    after = exposed()
    assert grown(before, after, "millstream_events_total", daemon="learn") == 10
    assert grown(before, after, "millstream_appended_to_learned_seconds_count") == 0


def test_a_batch_without_a_finite_loss_is_counted_and_folded(
    harness: ModelHarness, exposed: Exposed, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.shop(10)
    with harness.learning() as learning:
        monkeypatch.setattr(
            learning.learner, "_loss", lambda batch, passed, *_: (passed.losses.sum() * torch.nan, [])
        )
        before = exposed()
        run_through(harness, learning, learning.unlearned())
        after = exposed()
    assert grown(before, after, "millstream_quarantined_batches_total") == 1
    assert value_of(after, "millstream_loss") == value_of(before, "millstream_loss")
    assert learning.learner.stream.events == 10
    assert torch.isfinite(harness.store.load(harness.store.versions()[-1]).residual).all()


def test_what_stops_the_batches_stops_the_loop_without_a_last_word(harness: ModelHarness) -> None:
    def broken(learning: LearnerHarness) -> Iterator[Turn]:
        yield next(learning.unlearned())
        raise RuntimeError("fenced, say")

    harness.shop(10)
    with harness.learning() as learning, pytest.raises(RuntimeError, match="fenced"):
        run_through(harness, learning, broken(learning))
    assert harness.store.versions() == []


# Adoptions.


def ordered(learning: LearnerHarness, batches: int, order: Callable[[], object]) -> Iterator[Turn]:
    """So many batches, then an order, then all that follows."""
    turns = learning.unlearned()
    yield from islice(turns, batches)
    order()
    yield from turns


def manifests(harness: ModelHarness) -> dict[str, Manifest]:
    return {str(version): harness.store.manifest(version) for version in harness.store.versions()}


def until_1_2(harness: ModelHarness) -> None:
    """A first run that publishes 1-2, with more to learn."""
    harness.stock()
    harness.shop(82)
    with harness.learning() as learning:
        run_through(harness, learning, islice(learning.unlearned(), 2))
    assert harness.announced() == ["1-2"]


def assert_histories_are_what_they_say(harness: ModelHarness) -> None:
    """Each published history has all acts of its user before the offset that it reaches, and no other."""
    acts = harness.records(harness.topics.interactions)
    length = harness.settings.learn.stream.history_length
    for record in harness.records(harness.topics.histories):
        history, end, _ = read_history_record(record.key or "", record.value or b"")
        known = [
            Act.of(interaction_of(act))
            for act in acts
            if act.key == record.key and act.partition == record.partition and act.offset < end
        ]
        assert list(history) == known[-length:]


def test_a_rollback_is_shown_at_once_as_what_it_returns_to(harness: ModelHarness, exposed: Exposed) -> None:
    until_1_2(harness)
    before = exposed()
    with harness.learning() as learning:
        run_through(harness, learning, ordered(learning, 2, lambda: harness.roll_back("1-2")))
        last = learning.learner
    after = exposed()
    published = manifests(harness)
    *_, newest = published
    assert harness.announced() == list(published) == ["1-2", "1-4", "2-2", newest]
    assert published["2-2"].digest == published["1-2"].digest != published["1-4"].digest
    assert published["2-2"].learned_offsets == published["1-2"].learned_offsets
    assert published["2-2"].learned_through == published["1-2"].learned_through
    assert (published["2-2"].kind, published["2-2"].parent) == ("full", "1-4"), "no delta across generations"
    assert published["1-4"].reason == "before an adoption"
    assert published["2-2"].reason == "rollback: test"
    (adoption,) = harness.published(Adoption)
    assert (adoption.version, adoption.left, adoption.reason) == ("2-2", "1-4", "test")
    assert grown(before, after, "millstream_adoptions_total", kind="rollback") == 1
    assert {"1-2", "1-4", newest} <= set(harness.checkpoints.digests())
    assert last.stream.events == published[newest].events == 82
    assert_histories_are_what_they_say(harness)
    rebuilt = harness.rebuilt()
    assert (rebuilt.position.version, rebuilt.content) == (newest, published[newest].digest)


def test_a_refused_order_is_counted_and_changes_nothing(harness: ModelHarness, exposed: Exposed) -> None:
    until_1_2(harness)
    before = exposed()
    with harness.learning() as learning:
        run_through(harness, learning, ordered(learning, 1, lambda: harness.promote("nobody")))
    after = exposed()
    assert grown(before, after, "millstream_refused_orders_total") == 1
    assert grown(before, after, "millstream_adoptions_total", kind="promotion") == 0
    assert {version.generation for version in harness.store.versions()} == {1}


def test_a_fall_that_the_supervisor_sees_is_ordered_on_the_control_topic(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_1_2(harness)
    fall = iter([None, Fall(-5.0, -6.0, 0.5, -0.5, "1-2"), *repeat(None, 100)])
    with harness.learning() as learning:
        monkeypatch.setattr(learning.supervisor.guard, "update", lambda version, scores, items: next(fall))
        run_through(harness, learning, learning.unlearned())
    (order,) = harness.published(Rollback)
    assert (order.version, order.generation, order.relearn) == ("1-2", 1, False)
    with harness.learning() as learning:
        run_through(harness, learning, learning.unlearned())
    assert [version for version in harness.announced() if version.startswith("2-")][:1] == ["2-2"]
    assert harness.published(Adoption)[0].order == order.key


class Killed(Exception):
    """Ends a learner before it finishes its commits."""


def killed(turns: Iterator[Turn], after: int) -> Iterator[Turn]:
    """The turns until the process is killed: the next one is journalled and no more."""
    yield from islice(turns, after)
    next(turns)
    raise Killed


@pytest.mark.parametrize("lost", [False, True], ids=["checkpoint", "no checkpoint"])
@pytest.mark.parametrize("after", [2, 3, 4, 5])
def test_killed_around_an_adoption_it_shows_each_version_and_the_same(
    harness: ModelHarness, settings: Settings, tmp_path: Path, after: int, lost: bool
) -> None:
    until_1_2(harness)
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path, whole, ignore=lambda folder, names: ["whole"])
    with (
        ModelHarness(tiny_settings(whole, Path(settings.model.backbone))) as unbroken,
        unbroken.learning() as learning,
    ):
        run_through(unbroken, learning, ordered(learning, 2, lambda: unbroken.roll_back("1-2")))
        expected, end = manifests(unbroken), learning.learner.stream.events

    with harness.learning() as learning, pytest.raises(Killed):
        turns = ordered(learning, 2, lambda: harness.roll_back("1-2"))
        run_through(harness, learning, killed(turns, after))
    for folder in harness.checkpoints.folder.glob("*-*") if lost else ():
        shutil.rmtree(folder)
    with harness.learning() as learning:
        run_through(harness, learning, learning.unlearned(), publish_events=1)
        assert learning.learner.stream.events == end
    published = manifests(harness)
    versions = [version for version, _ in groupby(harness.announced())]
    assert versions == sorted(published, key=Version.parse), "in order; the last before a kill perhaps again"
    assert published.keys() >= expected.keys()
    assert {version: published[version].digest for version in expected} == {
        version: manifest.digest for version, manifest in expected.items()
    }
    assert len({adoption.key for adoption in harness.published(Adoption)}) == 1
    assert_histories_are_what_they_say(harness)
    histories = read_compacted(harness.log, harness.topics.histories)
    newest = list(published.values())[-1]
    for record in harness.records(harness.topics.interactions):
        user = record.key or ""
        _, reached, _ = read_history_record(user, histories[user].value or b"")
        assert record.offset < reached <= newest.learned_offsets[record.source]


def test_histories_that_an_adoption_brings_back_are_published(harness: ModelHarness) -> None:
    """A rollback to learn again, and before that is done a rollback to a state that has learned more."""
    harness.stock()
    for _ in range(3):
        harness.act("zoë", "red-cup")
        harness.shop(BATCH - 1)

    def turns(learning: LearnerHarness) -> Iterator[Turn]:
        yield from learning.unlearned()
        harness.roll_back("1-1", relearn=True)
        yield from islice(learning.unlearned(), 2)
        harness.roll_back("1-3")
        yield from learning.unlearned()

    with harness.learning() as learning:
        run_through(harness, learning, turns(learning))
    histories = learning.learner.stream.histories
    published = {
        user: read_history_record(user, record.value or b"")[0]
        for user, record in read_compacted(harness.log, harness.topics.histories).items()
    }
    assert published == dict(histories.items())
    assert len(published["zoë"]) == 3
