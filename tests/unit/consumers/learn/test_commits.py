"""Commits: on their cadence, one of each kind at a time, nothing twice and nothing left out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from consumers.learn.commits import Cadences, Commits
from consumers.learn.schedule import Cadence, Schedule
from pipeline.errors import DeliveryError, SnapshotsAhead, StorageUnavailable
from pipeline.eventlog.port import read_compacted
from pipeline.journal.position import Position
from pipeline.journal.turns import Batch
from pipeline.sealing import seal, unseal
from pipeline.snapshots.announcement import Seal
from pipeline.snapshots.filesystem import FORMAT, MANIFEST
from pipeline.snapshots.history_records import read_history_record
from pipeline.snapshots.publisher import Publisher
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.outcome_record import OutcomeRecord
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import OPEN, PREFIX, USERS, ModelHarness, tiny_settings

NEVER = 10**9


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class SlowStore(SnapshotStore):
    """A store whose first snapshot is not written until it may be."""

    def __init__(self, harness: ModelHarness) -> None:
        super().__init__(harness.settings.snapshots.store, PREFIX)
        self.asked, self.may = threading.Event(), threading.Event()

    def publish(self, *arguments: object) -> Seal:
        self.asked.set()
        assert self.may.wait(30)
        return super().publish(*arguments)  # type: ignore[arg-type]


class CommittedLearner:
    """A learner with its commits; `learn` does with batches what the loop does."""

    def __init__(
        self,
        harness: ModelHarness,
        learning: LearnerHarness,
        publish: Cadence,
        checkpoint: Cadence | None = None,
        publisher: Publisher | None = None,
        start: Position | None = None,
    ) -> None:
        self._harness = harness
        self._learning = learning
        self.commits = Commits(
            learning.learner,
            learning.supervisor,
            PREFIX,
            harness.log,
            publisher or harness.publisher(),
            harness.checkpoints,
            Cadences(publish, checkpoint or Cadence(NEVER, NEVER)),
            start=start,
        )

    def recover(self) -> None:
        for batch in self._learning.recover():
            self._add(batch)
        self.settle()

    def learn(self, acts: int = 5) -> None:
        self._harness.shop(acts)
        for batch in self._learning.new():
            self._add(batch)
        self.settle()

    def _add(self, batch: Batch) -> None:
        self.commits.add(batch, outcomes=self._learning.closed[batch.position.version])

    def settle(self) -> None:
        self.commits.settle({})

    def finish(self) -> None:
        self.commits.finish({}, reason="shutdown")


def manifests(harness: ModelHarness) -> list[Manifest]:
    return [harness.store.manifest(version) for version in harness.store.versions()]


def block(harness: ModelHarness) -> Path:
    """Put a file where the snapshots' folder must be."""
    in_the_way = Path(harness.settings.snapshots.store)
    in_the_way.write_text("")
    return in_the_way


def test_a_cadence_is_due_by_time() -> None:
    clock = Clock()
    cadence = Cadence(seconds=10, events=NEVER, clock=clock)
    assert not cadence.due
    clock.now += 9
    assert not cadence.due
    clock.now += 1
    assert cadence.due
    cadence.restart()
    assert not cadence.due


def test_a_cadence_is_due_by_events() -> None:
    cadence = Cadence(seconds=NEVER, events=10, clock=Clock())
    cadence.count(9)
    assert not cadence.due
    cadence.count(1)
    assert cadence.due
    cadence.restart()
    assert not cadence.due


def test_snapshots_are_published_on_their_cadence_and_the_rest_at_the_end(harness: ModelHarness) -> None:
    clock = Clock()
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(10, NEVER, clock))
        committed.learn()
        assert harness.announced() == []
        clock.now += 10
        committed.learn()
        committed.learn()
        committed.finish()
    assert harness.announced() == ["1-2", "1-3"]
    assert [manifest.reason for manifest in manifests(harness)] == ["cadence", "shutdown"]
    assert list(harness.checkpoints.digests()) == ["1-3"]
    assert harness.log.reported(f"{PREFIX}.learn", [harness.topics.interactions])


def test_nothing_is_published_twice(harness: ModelHarness) -> None:
    clock = Clock()
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(10, NEVER, clock), Cadence(10, NEVER, clock))
        committed.learn()
        for _ in range(3):
            clock.now += 10
            committed.settle()
        committed.finish()
    assert harness.announced() == ["1-1"]
    assert list(harness.checkpoints.digests()) == ["1-1"]


def test_an_idle_learner_publishes_nothing_after_a_restart(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        committed.finish()
    for folder in harness.settings.checkpoints.folder.rglob("1-1"):
        folder.rename(folder.with_name(".gone"))  # so that there is something to learn again
    for _ in range(2):
        with harness.learning() as learning:
            committed = CommittedLearner(harness, learning, Cadence(NEVER, 0))
            committed.recover()
            committed.settle()
            committed.finish()
    assert harness.announced() == ["1-1", "1-1"], "once more, by the one that had something to recover"
    assert [manifest.parent for manifest in manifests(harness)] == [None]


def _unreadable(harness: ModelHarness) -> None:
    """Make the newest manifest one of another format."""
    newest = str(harness.store.versions()[-1])
    path = Path(harness.settings.snapshots.store) / PREFIX / newest / MANIFEST
    path.write_bytes(seal(unseal(path.read_bytes(), FORMAT), FORMAT - 1))


def _empty(harness: ModelHarness) -> None:
    shutil.rmtree(harness.settings.snapshots.store)


@pytest.mark.parametrize("lose", [_unreadable, _empty])
@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_what_the_store_cannot_give_is_published_again_without_an_event(
    harness: ModelHarness, lose: Callable[[ModelHarness], None], has_checkpoint: bool
) -> None:
    with harness.busy() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        committed.finish()
        before = manifests(harness)[-1]
    lose(harness)
    if not has_checkpoint:
        shutil.rmtree(harness.settings.checkpoints.folder)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(0, NEVER), start=learning.position)
        committed.recover()
        committed.settle()
        committed.finish()
    after = manifests(harness)[-1]
    assert (after.version, after.digest) == (before.version, before.digest)
    assert harness.announced() == [before.version] * 2


def test_a_learner_that_has_learned_nothing_publishes_nothing(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(0, 0), start=learning.position)
        committed.settle()
        committed.finish()
    assert harness.announced() == []


def test_the_store_of_another_log_is_refused(
    harness: ModelHarness, tmp_path: Path, backbone_folder: Path
) -> None:
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        committed.finish()
    (tmp_path / "fresh").mkdir()
    settings = tiny_settings(tmp_path / "fresh", backbone_folder)
    over_the_old = settings.model_copy(update={"snapshots": harness.settings.snapshots})
    refused = pytest.raises(SnapshotsAhead, match="holds 1-1 of mill, but the journal has only come to 1-1")
    with ModelHarness(over_the_old) as fresh, fresh.learning() as learning, refused:
        CommittedLearner(fresh, learning, Cadence(NEVER, NEVER)).learn()
    assert harness.announced() == ["1-1"]


def test_one_at_a_time_and_what_came_meanwhile_is_in_the_next(harness: ModelHarness) -> None:
    store = SlowStore(harness)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, 1), publisher=harness.publisher(store))
        committed.learn(acts=1)
        assert store.asked.wait(30)
        for acts in (2, 3):
            committed.learn(acts)
        store.may.set()
        committed.finish()
    assert harness.announced() == ["1-1", "1-3"]
    assert len(read_compacted(harness.log, harness.topics.histories)) == 3


def failing_now() -> list[float | None]:
    kinds = ("publication", "checkpoint")
    return [REGISTRY.get_sample_value("millstream_commits_failing", {"kind": kind}) for kind in kinds]


def test_a_write_that_fails_while_another_is_looked_at_is_taken_back_later() -> None:
    def write() -> None:
        raise OSError("no room")

    schedule, version = Schedule(Cadence(NEVER, 1)), Version(1, 2)
    with ThreadPoolExecutor(1) as threads:
        schedule.begin(version, threads, write)
    schedule.cadence.count(1)
    assert not schedule.is_due(version)
    schedule.take_back()
    assert schedule.is_due(version)


def test_what_the_storage_refused_is_published_once_it_takes_it(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "consumers.learn.commits")
    in_the_way = block(harness)
    harness.writer.append(harness.topics.interactions, "bob", b"bad")
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, 1), Cadence(NEVER, 1))
        committed.learn()
        for _ in range(3):
            committed.commits._publishing.cadence.count(1)
            committed.commits.settle({})
            while committed.commits._publishing.task is not None:
                threading.Event().wait(0.001)
                committed.commits.settle({})
        before = failing_now()
        in_the_way.unlink()
        committed.learn(acts=1)
        committed.finish()
        committed.commits.settle({})
    assert (before, failing_now()) == ([1, 1], [0, 0])
    logged = [message.partition(":")[0] for message in caplog.messages if "publication" in message]
    assert logged == [
        "a publication failed and is tried again until it succeeds",
        "the storage takes a publication again",
    ]
    assert harness.announced() == ["1-2"]
    assert read_compacted(harness.log, harness.topics.histories).keys() == set(USERS)
    assert len({letter.key for letter in harness.records(harness.topics.dead_letters)}) == 1
    assert list(harness.checkpoints.digests()) == ["1-2"]


def test_a_store_that_is_away_at_the_start_is_waited_for(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: SnapshotStore) -> list[Version]:
        raise OSError("the store is away")

    with harness.busy() as learning:
        monkeypatch.setattr(SnapshotStore, "versions", away)
        with pytest.raises(StorageUnavailable, match="the store is away"):
            CommittedLearner(harness, learning, Cadence(NEVER, NEVER))


class DumbWriter:
    """A writer of the log that is away when the announcement is due."""

    def __init__(self, harness: ModelHarness) -> None:
        self._harness = harness

    def append(self, topic: str, *record: Any, **named: Any) -> None:
        if topic == self._harness.topics.snapshots:
            raise DeliveryError("the log is away")
        self._harness.writer.append(topic, *record, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._harness.writer, name)


def test_what_was_stored_and_not_announced_is_announced_at_the_next_start(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        dumb = Publisher(harness.store, DumbWriter(harness), harness.topics, 20)
        committed = CommittedLearner(harness, learning, Cadence(0, NEVER), publisher=dumb)
        committed.learn()
        with pytest.raises(DeliveryError):
            committed.finish()
        stored = [str(version) for version in harness.store.versions()]
        at = learning.position
        assert harness.announced() == []
        assert stored[-1:] == [at.version]
    with harness.learning() as killed:  # from nothing: it recovers the batches
        CommittedLearner(harness, killed, Cadence(NEVER, NEVER)).recover()
        assert harness.announced() == stored[-1:]
    with harness.learning() as paused:  # from memory: it stands there already
        CommittedLearner(harness, paused, Cadence(NEVER, NEVER), start=at)
        assert harness.announced() == 2 * stored[-1:]


def test_what_failed_in_the_background_surfaces_at_the_end(harness: ModelHarness) -> None:
    block(harness)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        with pytest.raises(StorageUnavailable, match="snapshots"):
            committed.finish()
    assert harness.checkpoints.digests() == {}


def test_no_checkpoint_is_ahead_of_what_was_published(harness: ModelHarness) -> None:
    in_the_way = block(harness)
    harness.writer.append(harness.topics.interactions, "bob", b"bad")
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, 1), Cadence(NEVER, 1))
        committed.learn()
        with pytest.raises(StorageUnavailable, match="snapshots"):
            committed.finish()
    assert harness.checkpoints.digests() == {}
    in_the_way.unlink()
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.recover()
        harness.act("zoë", "red-cup")
        committed.learn(acts=0)
        committed.finish()
    histories = read_compacted(harness.log, harness.topics.histories)
    assert histories.keys() == {*USERS, "zoë"}
    (bad,) = (r for r in harness.records(harness.topics.interactions) if r.value == b"bad")
    letters = {letter.key for letter in harness.records(harness.topics.dead_letters)}
    assert letters == {f"{bad.source}/{bad.offset}"}, "publishing it a second time is idempotent"


def test_a_checkpoint_waits_for_the_publication_that_it_covers(harness: ModelHarness) -> None:
    store = SlowStore(harness)
    with harness.learning() as learning:
        committed = CommittedLearner(
            harness, learning, Cadence(NEVER, 1), Cadence(NEVER, 1), harness.publisher(store)
        )
        committed.learn()
        assert store.asked.wait(30)
        committed.learn()
        assert harness.checkpoints.digests() == {}
        store.may.set()
        committed.finish()
    assert list(harness.checkpoints.digests()) == ["1-1", "1-2"]


def test_published_histories_cover_what_the_snapshot_covers(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, 7))
        for _ in range(6):
            committed.learn(acts=4)
        committed.finish()
    histories = read_compacted(harness.log, harness.topics.histories)
    newest = harness.store.manifest(harness.store.versions()[-1])
    for record in harness.records(harness.topics.interactions):
        user = record.key or ""
        _, end, _ = read_history_record(user, histories[user].value or b"")
        assert record.offset < end <= newest.learned_offsets[record.source]


def written(harness: ModelHarness) -> list[tuple[str, bytes]]:
    records = harness.records(harness.topics.outcomes)
    return sorted((record.key or "", record.value or b"") for record in records)


def shown(harness: ModelHarness, begin: int, end: int) -> None:
    for number in range(begin, end):
        harness.show("zoe", "red-cup", "red-plate", name=f"i{number}")
        harness.act("zoe", "red-plate", impression=f"i{number}")


def test_outcomes_go_out_once_whatever_is_killed(harness: ModelHarness) -> None:
    """Killed before it publishes, and once more after it has; then what is written again is the same."""
    shown(harness, 0, OPEN + 2)
    with harness.learning() as learning:
        CommittedLearner(harness, learning, Cadence(NEVER, NEVER)).learn()
    assert written(harness) == []
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, 1))
        committed.recover()
        committed.commits.close()
    assert [key for key, _ in written(harness)] == ["i0", "i1"]
    shown(harness, OPEN + 2, OPEN + 4)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.recover()
        committed.learn()
        committed.finish()
    assert [key for key, _ in written(harness)] == ["i0", "i0", "i1", "i1", "i2", "i3"]
    assert len(set(written(harness))) == 4, "each is the same whenever it is written"
    for key, wire in written(harness):
        record = OutcomeRecord.decode(wire)
        assert (record.impression, record.rewards) == (key, (0, 10))


def test_outcomes_of_what_is_checkpointed_are_not_written_again(harness: ModelHarness) -> None:
    shown(harness, 0, OPEN + 2)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        committed.finish()
    shown(harness, OPEN + 2, OPEN + 3)
    with harness.learning() as learning:
        committed = CommittedLearner(harness, learning, Cadence(NEVER, NEVER))
        committed.learn()
        committed.finish()
    assert [key for key, _ in written(harness)] == ["i0", "i1", "i2"]
