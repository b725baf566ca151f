"""Time travel: what any published version was, made again to the bit."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from pipeline.checkpoints.audit import Agreement, agreement
from pipeline.checkpoints.manifest import FORMAT as CHECKPOINT_FORMAT
from pipeline.checkpoints.versions import version_at
from pipeline.errors import TopicError
from pipeline.journal.entry import read_journal
from pipeline.sealing import seal, unseal
from pipeline.snapshots.filesystem import FORMAT
from pipeline.snapshots.version import Version
from tests.support.learner_harness import Rebuilt
from tests.support.model_harness import ModelHarness, copy_of, tiny_settings

VERSIONS = 5


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder in which every version was published and every third checkpointed, over three generations."""
    folder = tmp_path_factory.mktemp("lived")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness, harness.learning() as learning:
        publisher = harness.publisher(keep=100)
        harness.stock()
        harness.shop(150)

        def live(turns: int) -> None:
            for _ in range(turns):
                learning.turns(1)
                learning.publish(publisher)
                if learning.position.step % 3 == 0:
                    learning.checkpoint()

        live(5)
        harness.roll_back("1-2")
        live(3)
        harness.candidate("better", learning.captured())
        live(1)
        harness.promote("better")
        live(5)
    return folder


@pytest.fixture
def harness(lived: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with copy_of(lived, tmp_path, backbone_folder) as harness:
        yield harness


def published(harness: ModelHarness) -> dict[str, str]:
    """Digests of what every snapshot says, by version."""
    store = harness.store
    return {str(version): store.manifest(version).digest for version in store.versions()}


def agreed(harness: ModelHarness, rebuilt: Rebuilt) -> Agreement:
    return agreement(
        rebuilt.learner, rebuilt.supervisor, rebuilt.position, harness.checkpoints, harness.store
    )


@pytest.mark.parametrize("from_nothing", [True, False])
def test_any_version_is_made_again_as_it_was_published(harness: ModelHarness, from_nothing: bool) -> None:
    digests = published(harness)
    assert {Version.parse(version).generation for version in digests} == {1, 2, 3}
    drawn = random.Random(5 + from_nothing).sample(sorted(digests), VERSIONS)
    for version in drawn:
        rebuilt = harness.rebuilt(until=version, from_nothing=from_nothing)
        assert (rebuilt.position.version, rebuilt.content) == (version, digests[version])


def test_the_first_of_a_generation_says_what_was_adopted(harness: ModelHarness) -> None:
    digests = published(harness)
    assert digests["2-2"] == digests["1-2"]
    assert len(set(digests.values())) >= len(digests) - 2, "the others differ"


def test_with_the_ladder_less_is_learned_again(harness: ModelHarness) -> None:
    learned: list[int] = []
    harness.rebuilt(until="1-5", from_nothing=False, progress=learned.append)
    assert len(learned) == 2, "from the checkpoint at 1-3"


def test_without_checkpoints_the_ladder_is_the_journal(harness: ModelHarness) -> None:
    for folder in harness.checkpoints.folder.glob("*-*"):
        shutil.rmtree(folder)
    newest = max(published(harness), key=Version.parse)
    rebuilt = harness.rebuilt(from_nothing=False)
    assert (rebuilt.position.version, rebuilt.content) == (newest, published(harness)[newest])


def test_an_adopted_state_that_is_gone_is_made_again(harness: ModelHarness) -> None:
    learned = harness.rebuilt().digest
    shutil.rmtree(harness.checkpoints.folder / "adopted" / "2")
    assert harness.rebuilt().digest == learned
    assert harness.rebuilt(until="1-5").position.version == "1-5", "what came before it needs it not"


def test_beyond_the_last_version_is_the_last(harness: ModelHarness) -> None:
    newest = max(published(harness), key=Version.parse)
    assert harness.rebuilt(until="9-9").position.version == newest


def test_agreement_is_told(harness: ModelHarness) -> None:
    both = agreed(harness, harness.rebuilt(until="1-3"))
    assert (both.version, both.checkpoint, both.snapshot, both.differs) == ("1-3", True, True, False)
    assert str(both) == f"1-3 {both.digest}: checkpoint agrees, snapshot agrees"
    one = agreed(harness, harness.rebuilt(until="1-4"))
    assert (one.checkpoint, one.snapshot, one.differs) == (None, True, False)
    neither = agreed(harness, harness.rebuilt(until="1-0"))
    assert (neither.checkpoint, neither.snapshot, neither.differs) == (None, None, False)
    assert str(neither).endswith("checkpoint is not there, snapshot is not there")


@pytest.mark.parametrize(("kind", "form"), [("checkpoint", CHECKPOINT_FORMAT), ("snapshot", FORMAT)])
def test_disagreement_is_told(harness: ModelHarness, kind: str, form: int) -> None:
    folder = (
        harness.checkpoints.folder if kind == "checkpoint" else Path(harness.settings.snapshots.store, "mill")
    )
    manifest = folder / "1-3" / "manifest.json"
    fields = orjson.loads(unseal(manifest.read_bytes(), form))
    manifest.write_bytes(seal(orjson.dumps({**fields, "digest": "0" * 64}), form))
    found = agreed(harness, harness.rebuilt(until="1-3"))
    assert found.differs
    assert f"{kind} DIFFERS" in str(found)


# Which version it was.


def times(harness: ModelHarness) -> dict[str, datetime]:
    """When each entry of the journal was appended, by version."""
    appended = [record.append_time for record in harness.records(harness.topics.journal)]
    entries = read_journal(harness.log, harness.topics.journal)
    return {
        entry.version: datetime.fromtimestamp(ms / 1000, UTC)
        for (entry, _), ms in zip(entries, appended, strict=True)
    }


def at(harness: ModelHarness, moment: str) -> str:
    return str(version_at(harness.log, harness.topics, moment))


def test_a_version_names_itself(harness: ModelHarness) -> None:
    assert at(harness, "1-4") == "1-4"
    assert at(harness, "12-345678") == "12-345678"


def test_a_time_names_the_last_version_before_it(harness: ModelHarness) -> None:
    appended = times(harness)
    for time in appended.values():
        before = [version for version, other in appended.items() if other < time]
        if before:
            assert at(harness, time.isoformat()) == before[-1]
    newest = list(appended)[-1]
    assert at(harness, (appended[newest] + timedelta(days=1)).isoformat()) == newest


def test_a_time_without_a_zone_is_utc(harness: ModelHarness) -> None:
    later = list(times(harness).values())[-1] + timedelta(minutes=1)
    east = later.astimezone(datetime.now().astimezone().tzinfo)
    assert at(harness, later.replace(tzinfo=None).isoformat()) == at(harness, east.isoformat())


def test_before_anything_was_learned_there_is_no_version(harness: ModelHarness) -> None:
    with pytest.raises(TopicError, match="nothing that was learned by 1999-12-31"):
        at(harness, "1999-12-31")


@pytest.mark.parametrize("moment", ["", "yesterday", "1-", "-1", "1-2-3", "2026-13-01", "1.5-2", "³-¹"])
def test_what_is_neither_version_nor_time_is_refused(harness: ModelHarness, moment: str) -> None:
    with pytest.raises(ValueError):
        at(harness, moment)
