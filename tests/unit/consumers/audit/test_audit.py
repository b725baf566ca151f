"""The audit finds nothing in a healthy model, and names each thing that is wrong in a damaged one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import orjson
import pytest
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from consumers.audit import servers
from consumers.audit.audit import audit
from consumers.audit.check import AuditCheck
from consumers.audit.journal import begins_of_impressions, check_journal
from consumers.audit.servers import check_servers
from consumers.serve.daemon import serve
from consumers.serve.follow.follower import Follower
from consumers.serve.state.serving_state import HistoryPosition
from pipeline.checkpoints import rebuild as rebuilding
from pipeline.config import PolicyConfig, Settings, to_toml
from pipeline.demo.processes import free_port
from pipeline.errors import TopicError
from pipeline.eventlog.port import TopicPartition
from pipeline.events import Impression, decode, encode
from pipeline.journal.entry import Adopts, JournalEntry, Verb
from pipeline.journal.turns import Batch
from pipeline.sealing import seal, seal_record
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.codec import LEARNED
from pipeline.snapshots.filesystem import FORMAT as SNAPSHOT_FORMAT
from pipeline.snapshots.filesystem import MANIFEST
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.store import digest_of
from pipeline.state.histories import Histories
from tests.support.commands import run
from tests.support.impressions import impression
from tests.support.learner_harness import LearnerHarness, whole_update
from tests.support.model_harness import USERS, ModelHarness, copy_of
from tests.support.serve_tools import wait_until

SOURCE = TopicPartition("mill.interactions", 0)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """The folder of a model that was learned, refused, rolled back, checkpointed and published."""
    folder = tmp_path_factory.mktemp("healthy")
    with copy_of(folder, folder / "model", backbone_folder) as harness:
        harness.stock()
        harness.shop(40)
        harness.act("ann", "red-cup", event_id="e1")  # a duplicate
        harness.writer.append(harness.topics.interactions, "ann", b"bad")
        publisher = harness.publisher()
        with harness.learning() as learning:
            _publish(learning, publisher, learning.new())
            learning.checkpoint()
            harness.roll_back("1-2")
            harness.shop(20)
            _publish(learning, publisher, learning.new())
            learning.checkpoint()
    return folder / "model"


def _publish(learning: LearnerHarness, publisher: Publisher, batches: list[Batch]) -> None:
    """Publish as the daemon does: histories and dead letters, then the snapshot."""
    users = {user: end for batch in batches for user, end in batch.users.items()}
    histories = learning.learner.stream.histories
    publisher.publish(
        Publication(
            learning.update(publisher),
            {user: (histories.of(user), end) for user, end in users.items()},
            [letter for batch in batches for letter in batch.refused],
            [],
            older={user: histories.older(user) for user in users},
        )
    )


@pytest.fixture
def model(healthy: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with copy_of(healthy, tmp_path, backbone_folder) as harness:
        yield harness


def checks_of(harness: ModelHarness, *servers: str, rebuilds: bool = False) -> dict[str, AuditCheck]:
    checks = audit(harness.log, harness.topics, harness.settings, servers=servers, rebuilds=rebuilds)
    return {check.subject: check for check in checks}


def findings_of(harness: ModelHarness, *servers: str, rebuilds: bool = False) -> list[str]:
    checks = checks_of(harness, *servers, rebuilds=rebuilds).values()
    return [text for check in checks for text in check.findings]


def test_a_healthy_model_has_no_findings(model: ModelHarness) -> None:
    checks = checks_of(model, rebuilds=True)
    assert [check.findings for check in checks.values()] == [()] * len(checks)
    assert list(checks) == [
        "journal",
        "checkpoints",
        "snapshots",
        "rebuild",
        "events",
        "dead letters",
        "histories",
    ]
    assert checks["events"].checked == "60 events, 1 duplicate, in 3 states"
    assert checks["dead letters"].checked == "1 refused record"
    assert checks["checkpoints"].checked == "2 checkpoints"
    assert checks["rebuild"].checked.endswith("checkpoint agrees, snapshot agrees")


def test_nothing_learned_is_an_error(harness: ModelHarness) -> None:
    with pytest.raises(TopicError, match="start `millstream learn` first"):
        audit(harness.log, harness.topics, harness.settings)


def _lose_snapshot(harness: ModelHarness) -> None:
    shutil.rmtree(Path(harness.settings.snapshots.store, "mill", str(harness.store.versions()[-1])))


def _damage_snapshot(harness: ModelHarness) -> None:
    version = harness.store.versions()[-1]
    file = Path(harness.settings.snapshots.store, "mill", str(version), "learned.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


def _damage_checkpoint(harness: ModelHarness) -> None:
    file = harness.checkpoints.folder / str(harness.checkpoints.versions()[-1]) / "counts.safetensors"
    file.write_bytes(b"")


def _rename_snapshot(harness: ModelHarness) -> None:
    """A snapshot of a version that the journal does not know, as another model's would be."""
    snapshot = harness.store.load(harness.store.versions()[-1])
    manifest = snapshot.manifest.model_copy(update={"version": "7-7"})
    harness.publisher().publish(Publication(whole_update(snapshot, manifest), {}, [], []))


def _count_wrong(harness: ModelHarness) -> None:
    snapshot = harness.store.load(harness.store.versions()[-1])
    manifest = snapshot.manifest.model_copy(update={"events": 59})
    harness.publisher().publish(Publication(whole_update(snapshot, manifest), {}, [], []))


def _announce_nothing(harness: ModelHarness) -> None:
    one = Announcement(version="2-1", digest="0" * 64, size=1, reason="test", published_at=1)
    harness.writer.append(harness.topics.snapshots, "mill", one.encode())
    harness.writer.flush()


def _letter(harness: ModelHarness) -> None:
    harness.writer.append(harness.topics.dead_letters, f"{SOURCE}/0", b"{}")
    harness.writer.flush()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (_lose_snapshot, "was announced, but is not in the store"),
        (_damage_snapshot, "learned.safetensors"),
        (_damage_checkpoint, "counts.safetensors is not what was written"),
        (_rename_snapshot, "snapshot 7-7 is not in the journal"),
        (_count_wrong, "has learned 59 events, but the log holds 60 before its offsets"),
        (_announce_nothing, "snapshot 2-1 was announced, but is not in the store"),
        (_letter, "is valid, but has a dead letter"),
    ],
)
def test_each_fault_is_found(
    model: ModelHarness, damage: Callable[[ModelHarness], None], finding: str
) -> None:
    damage(model)
    assert finding in " ".join(findings_of(model))


def _write_in_format(form: int, manifest: Path) -> None:
    """Seal a manifest as a release with another format did."""
    content = orjson.dumps(orjson.loads(manifest.read_bytes())["content"])
    manifest.write_bytes(seal(content, form))


def _forget_ratings(snapshot: Path) -> None:
    """Write a snapshot as it was before ratings were part of one, in the same format."""
    content = orjson.loads((snapshot / MANIFEST).read_bytes())["content"]
    file = snapshot / LEARNED
    arrays = {name: part for name, part in read_tensors(file.read_bytes()).items() if name != "ratings"}
    file.write_bytes(write_tensors(arrays))
    del content["ratings"]
    content["files"][LEARNED] = digest_of(file.read_bytes()).model_dump()
    (snapshot / MANIFEST).write_bytes(seal(orjson.dumps(content), SNAPSHOT_FORMAT))


def test_what_an_earlier_release_wrote_is_old_and_not_damaged(model: ModelHarness) -> None:
    first, *_ = model.store.versions()
    snapshots, checkpoint = Path(model.settings.snapshots.store, "mill"), model.checkpoints.versions()[0]
    earlier = Announcement(version="1-1", digest="0" * 64, size=1, reason="test", published_at=1).model_dump()
    model.writer.append(model.topics.snapshots, "mill", seal_record({**earlier, "format": 5}))
    model.writer.flush()
    _forget_ratings(snapshots / str(first))
    _write_in_format(4, model.checkpoints.folder / str(checkpoint) / MANIFEST)
    checks = checks_of(model)
    assert not [finding for check in checks.values() for finding in check.findings]
    assert f"1 by an earlier release, up to {first}: none is damaged" in checks["snapshots"].checked
    assert f"1 by an earlier release, up to {checkpoint}: none is damaged" in checks["checkpoints"].checked
    _write_in_format(5, snapshots / str(first) / MANIFEST)
    assert f"1 by an earlier release, up to {first}" in checks_of(model)["snapshots"].checked


def test_a_damaged_snapshot_of_an_earlier_release_is_a_finding(model: ModelHarness) -> None:
    snapshot = Path(model.settings.snapshots.store, "mill", str(model.store.versions()[0]))
    _forget_ratings(snapshot)
    (snapshot / LEARNED).write_bytes((snapshot / LEARNED).read_bytes()[:-1])
    assert any(LEARNED in finding for finding in findings_of(model))
    _write_in_format(5, snapshot / MANIFEST)
    (snapshot / MANIFEST).write_bytes((snapshot / MANIFEST).read_bytes() + b" ")
    assert any("its manifest is refused" in finding for finding in findings_of(model))


def other_settings(model: ModelHarness) -> Settings:
    """Settings with which the same journal comes out otherwise."""
    learn = model.settings.learn.replace(mixer_rate=0.2)
    return model.settings.model_copy(update={"learn": learn})


def test_what_was_learned_with_other_settings_is_not_compared(model: ModelHarness) -> None:
    checks = {one.subject: one for one in audit(model.log, model.topics, other_settings(model))}
    assert checks["rebuild"].checked.startswith("not compared: what was learned last")
    assert not [finding for check in checks.values() for finding in check.findings]


def test_after_changed_settings_and_a_rollback_what_is_comparable_is_compared(
    model: ModelHarness, tmp_path: Path, backbone_folder: Path
) -> None:
    changed = ModelHarness(other_settings(model))
    with changed:
        changed.shop(20)
        with changed.learning() as learning:
            learning.recover()
            learning.new()
            learning.checkpoint()
            changed.roll_back("1-2")
            changed.shop(20)
            learning.new()
            learning.checkpoint()
        rebuilt = checks_of(changed, rebuilds=True)["rebuild"]
    assert not rebuilt.findings
    assert "checkpoint agrees" in rebuilt.checked and "learned again from" in rebuilt.checked


def test_a_refused_record_without_a_dead_letter_is_found(harness: ModelHarness) -> None:
    harness.stock()
    harness.writer.append(harness.topics.interactions, "ann", b"bad")
    harness.shop(5)
    with harness.learning() as learning:
        learning.new()
        learning.publish(harness.publisher())
    findings = findings_of(harness)
    assert [text for text in findings if text.endswith("was refused, but has no dead letter")]


def test_dead_letters_of_impressions_count(harness: ModelHarness) -> None:
    harness.stock()
    with harness.learning() as learning:
        _show(harness, b"bad", encode(impression(user="ann")))
        harness.shop(5)
        _publish(learning, harness.publisher(), learning.new())
        letters = checks_of(harness)["dead letters"]
        assert (letters.checked, letters.findings) == ("1 refused record", ())
        _show(harness, b"unpublished")
        learning.new()
    place = _places_of_shown(harness)[1]
    harness.writer.append(harness.topics.dead_letters, place, b"{}")
    harness.writer.flush()
    assert checks_of(harness)["dead letters"].findings == (f"{place} is valid, but has a dead letter",)


def test_a_refused_impression_without_a_dead_letter_is_found(harness: ModelHarness) -> None:
    harness.stock()
    _show(harness, b"bad")
    harness.shop(5)
    with harness.learning() as learning:
        learning.new()
        learning.publish(harness.publisher())
    (finding,) = findings_of(harness)
    assert finding == f"{_places_of_shown(harness)[0]} was refused, but has no dead letter"


def test_impressions_of_before_the_journal_knew_them_need_no_dead_letter() -> None:
    shown = TopicPartition("mill.impressions", 0)
    assert begins_of_impressions([START, entry(1, 1, 5)], shown.topic) == {}
    entries = [
        START,
        JournalEntry.of(1, 1, Verb.LEARN, "", {SOURCE: 5, shown: 7}),
        JournalEntry.of(1, 2, Verb.LEARN, "", {SOURCE: 8, shown: 9}),
    ]
    assert begins_of_impressions(entries, shown.topic) == {shown: 7}


def _places_of_shown(harness: ModelHarness) -> list[str]:
    return [f"{record.source}/{record.offset}" for record in harness.records(harness.topics.impressions)]


def _show(harness: ModelHarness, *records: bytes) -> None:
    for record in records:
        harness.writer.append(harness.topics.impressions, "ann", record)
    harness.writer.flush()


def test_a_rebuild_that_differs_and_one_that_fails_are_found(
    model: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model.checkpoints.folder
    newest = model.checkpoints.versions()[-1]
    with model.learning() as learning:
        learning.learner.mixer.weights += 1
        learning.checkpoint()
    assert any(
        f"{newest} " in text and "checkpoint DIFFERS" in text for text in findings_of(model, rebuilds=True)
    )
    shutil.rmtree(folder / "adopted")
    assert any("checkpoint DIFFERS" in text for text in findings_of(model, rebuilds=True)), "made again"
    monkeypatch.setattr(rebuilding, "records_of", lambda *_: iter(()))  # retention took the order
    assert any("went on from adopted" in text for text in findings_of(model, rebuilds=True))


def test_a_history_that_differs_is_found(model: ModelHarness) -> None:
    with model.learning() as learning:
        histories = learning.learner.stream.histories
        histories.put("ann", histories.of("ann")[:-1])
        model.publisher().publish(Publication(learning.update(), {"ann": (histories.of("ann"), 99)}, [], []))
    assert any("differs from the rebuilt one" in text for text in findings_of(model, rebuilds=True))


@contextmanager
def served(harness: ModelHarness, settings: Settings | None = None) -> Iterator[str]:
    """Run a real server; yield its URL."""
    settings, stop = settings or harness.settings, Event()
    serve_config = settings.serve.model_copy(update={"port": free_port()})
    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(
            serve, settings.model_copy(update={"serve": serve_config}), harness.log, stop
        )
        try:
            yield f"http://127.0.0.1:{serve_config.port}"
        finally:
            stop.set()
        serving.result()


def test_a_server_is_compared_with_a_new_one(model: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "EQUAL_SECONDS", 5.0)
    with served(model) as url:
        wait_until(lambda: is_ready(url), 30)
        check = checks_of(model, url)[f"server {url}"]
        assert (check.checked, check.findings) == (f"{len(USERS)} answers", ())

        monkeypatch.setattr("consumers.serve.follow.following.Follower", Forgetful)
        differing = checks_of(model, url)[f"server {url}"].findings
        assert "differ from a new server's" in differing[0]


def test_a_server_of_another_precision_is_not_called_damaged(
    model: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "EQUAL_SECONDS", 5.0)
    rounded = model.settings.serve.model_copy(update={"precision": "int8"})
    with served(model, model.settings.model_copy(update={"serve": rounded})) as url:
        wait_until(lambda: is_ready(url), 30)
        (check,) = check_servers(model.log, model.topics, model.settings, [url], 20)
    assert check.findings == ()
    assert check.checked.endswith("by serve.precision = 'int8', which is not that of these settings")


def test_a_server_that_explores_is_compared_draw_by_draw(
    model: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "EQUAL_SECONDS", 5.0)
    policy = PolicyConfig(name="plackett_luce", temperature=5.0)
    settings = model.settings.model_copy(update={"policy": policy})
    with served(model, settings) as url:
        wait_until(lambda: is_ready(url), 30)
        (same,) = check_servers(model.log, model.topics, settings, [url], 20)
        assert (same.checked, same.findings) == (f"{len(USERS)} answers", ())
        (other,) = check_servers(model.log, model.topics, model.settings, [url], 20)
        assert "differ from a new server's" in other.findings[0]
    shown = [record.value or b"" for record in model.records(model.topics.impressions)]
    assert {decode(Impression, value).policy for value in shown} == {"plackett_luce"}


class Forgetful(Follower):
    """Begins without histories."""

    def _read_histories(self) -> tuple[Histories, dict[str, HistoryPosition]]:
        histories, ends = super()._read_histories()
        return Histories(histories.length), ends


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_server_that_is_away_is_a_finding(model: ModelHarness) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert checks_of(model, url)[f"server {url}"].findings[0].startswith("it does not answer")


OFFSETS = {SOURCE: 10}


def entry(generation: int, step: int, end: int, verb: Verb = Verb.LEARN, fold_to: int = 0) -> JournalEntry:
    adopts = Adopts(kind="rollback", state="adopted/2", order="o", reason="r") if verb is Verb.ADOPT else None
    fold = {SOURCE: fold_to} if fold_to else {}
    return JournalEntry.of(generation, step, verb, "f", {SOURCE: end}, adopts=adopts, fold_to=fold)


START = entry(1, 0, 0, Verb.START)


@pytest.mark.parametrize(
    ("entries", "finding"),
    [
        ([START, entry(1, 1, 5), entry(1, 2, 10)], None),
        ([START, entry(1, 1, 5), entry(2, 2, 10)], None),
        ([START, entry(1, 1, 5), entry(1, 2, 5, Verb.REHEARSE), entry(1, 3, 6)], None),
        ([START, entry(1, 1, 5), entry(1, 2, 6, Verb.REHEARSE)], "rehearses and moves on"),
        ([START, entry(1, 1, 9), entry(2, 0, 0, Verb.ADOPT, 9), entry(2, 1, 9, Verb.FOLD, 9)], None),
        ([START, entry(1, 1, 9), entry(3, 0, 0, Verb.ADOPT, 9), entry(3, 1, 9, Verb.FOLD, 9)], None),
        ([START, entry(1, 1, 5), entry(3, 2, 10)], None),
        ([START, entry(1, 1, 5), entry(2, 2, 8, Verb.SKIP), entry(2, 3, 10)], None),
        ([START, entry(1, 1, 5), entry(1, 2, 8, Verb.SKIP)], "skips a gap without a new generation"),
        ([START, entry(1, 1, 11)], "ends after the log"),
        ([START, entry(1, 1, 5), entry(1, 2, 4)], "records would be learned twice"),
        ([START, entry(1, 1, 5), entry(1, 1, 6)], "does not follow 1-1"),
        ([START, entry(1, 1, 5), entry(1, 3, 6)], "does not follow 1-1"),
        ([START, entry(1, 1, 5), entry(2, 0, 6, Verb.ADOPT)], "records would be skipped"),
        ([START, entry(1, 1, 5), entry(1, 0, 0, Verb.ADOPT)], "without a new generation"),
        (
            [START, entry(1, 1, 9), entry(2, 0, 0, Verb.ADOPT, 9), entry(2, 1, 9)],
            "learns before all is folded",
        ),
        ([START, START], "start is no batch"),
    ],
)
def test_entries_follow_from_each_other(entries: list[JournalEntry], finding: str | None) -> None:
    findings = check_journal(entries, OFFSETS).findings
    assert (finding in " ".join(findings)) if finding else findings == ()


def test_the_command_prints_a_table_and_exits_by_the_findings(
    model: ModelHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "millstream.toml").write_text(to_toml(model.settings))
    good = run("audit", "--no-rebuild")
    assert good.exit_code == 0
    assert "60 events, 1 duplicate, in 2 states" in good.stdout
    _lose_snapshot(model)
    bad = run("audit", "--no-rebuild")
    assert bad.exit_code == 1
    assert "snapshots: snapshot" in bad.stdout
