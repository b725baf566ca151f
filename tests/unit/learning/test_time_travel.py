"""Time travel: what any published version was, made again to the bit."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from pipeline.errors import CheckpointCorrupt, TopicError
from pipeline.learning.journal import read_journal
from pipeline.learning.time_travel import Agreement, agreement, version_at
from pipeline.snapshots.snapshot import Version
from tests.life import Rebuilt
from tests.mill import Mill, copy_of, tiny_settings

VERSIONS = 5


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder in which every version was published and every third checkpointed, over three generations."""
    folder = tmp_path_factory.mktemp("lived")
    with Mill(tiny_settings(folder, backbone_folder)) as mill, mill.life() as life:
        publisher = mill.publisher(full_every=3, keep=100)
        mill.stock()
        mill.shop(150)

        def live(turns: int) -> None:
            for _ in range(turns):
                life.turns(1)
                life.publish(publisher)
                if life.position.step % 3 == 0:
                    life.checkpoint()

        live(5)
        mill.roll_back("1-2")
        live(3)
        mill.candidate("better", life.frozen())
        live(1)
        mill.promote("better")
        live(5)
    return folder


@pytest.fixture
def mill(lived: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[Mill]:
    with copy_of(lived, tmp_path, backbone_folder) as mill:
        yield mill


def published(mill: Mill) -> dict[str, str]:
    """Digests of what every snapshot says, by version."""
    store = mill.store
    return {str(version): store.manifest(version).digest for version in store.versions()}


def agreed(mill: Mill, rebuilt: Rebuilt) -> Agreement:
    return agreement(rebuilt.learner, rebuilt.position, mill.checkpoints, mill.store)


@pytest.mark.parametrize("from_nothing", [True, False])
def test_any_version_is_made_again_as_it_was_published(mill: Mill, from_nothing: bool) -> None:
    digests = published(mill)
    assert {Version.parse(version).generation for version in digests} == {1, 2, 3}
    drawn = random.Random(5 + from_nothing).sample(sorted(digests), VERSIONS)
    for version in drawn:
        rebuilt = mill.rebuilt(until=version, from_nothing=from_nothing)
        assert (rebuilt.position.version, rebuilt.content) == (version, digests[version])


def test_the_first_of_a_generation_says_what_was_adopted(mill: Mill) -> None:
    digests = published(mill)
    assert digests["2-2"] == digests["1-2"]
    assert len(set(digests.values())) >= len(digests) - 2, "the others differ"


def test_with_the_ladder_less_is_learned_again(mill: Mill) -> None:
    learned: list[int] = []
    mill.rebuilt(until="1-5", from_nothing=False, progress=learned.append)
    assert len(learned) == 2, "from the checkpoint at 1-3"


def test_without_checkpoints_the_ladder_is_the_journal(mill: Mill) -> None:
    for folder in mill.checkpoints.folder.glob("*-*"):
        shutil.rmtree(folder)
    newest = max(published(mill), key=Version.parse)
    rebuilt = mill.rebuilt(from_nothing=False)
    assert (rebuilt.position.version, rebuilt.content) == (newest, published(mill)[newest])


def test_an_adopted_state_that_is_gone_is_missed_by_name(mill: Mill) -> None:
    shutil.rmtree(mill.checkpoints.folder / "adopted" / "2")
    with pytest.raises(CheckpointCorrupt, match="checkpoint 2 cannot be read"):
        mill.rebuilt()
    assert mill.rebuilt(until="1-5").position.version == "1-5", "what came before it needs it not"


def test_beyond_the_last_version_is_the_last(mill: Mill) -> None:
    newest = max(published(mill), key=Version.parse)
    assert mill.rebuilt(until="9-9").position.version == newest


def test_agreement_is_told(mill: Mill) -> None:
    both = agreed(mill, mill.rebuilt(until="1-3"))
    assert (both.version, both.checkpoint, both.snapshot, both.differs) == ("1-3", True, True, False)
    assert str(both) == f"1-3 {both.digest}: checkpoint agrees, snapshot agrees"
    one = agreed(mill, mill.rebuilt(until="1-4"))
    assert (one.checkpoint, one.snapshot, one.differs) == (None, True, False)
    neither = agreed(mill, mill.rebuilt(until="1-0"))
    assert (neither.checkpoint, neither.snapshot, neither.differs) == (None, None, False)
    assert str(neither).endswith("checkpoint is not there, snapshot is not there")


@pytest.mark.parametrize("kind", ["checkpoint", "snapshot"])
def test_disagreement_is_told(mill: Mill, kind: str) -> None:
    folder = mill.checkpoints.folder if kind == "checkpoint" else Path(mill.settings.snapshots, "mill")
    manifest = folder / "1-3" / "manifest.json"
    manifest.write_bytes(orjson.dumps({**orjson.loads(manifest.read_bytes()), "digest": "other"}))
    found = agreed(mill, mill.rebuilt(until="1-3"))
    assert found.differs
    assert f"{kind} DIFFERS" in str(found)


# Which version it was.


def times(mill: Mill) -> dict[str, datetime]:
    """When each entry of the journal was appended, by version."""
    appended = [record.append_time for record in mill.records(mill.topics.journal)]
    entries = read_journal(mill.log, mill.topics.journal)
    return {
        entry.version: datetime.fromtimestamp(ms / 1000, UTC)
        for (entry, _), ms in zip(entries, appended, strict=True)
    }


def at(mill: Mill, moment: str) -> str:
    return str(version_at(mill.log, mill.topics, moment))


def test_a_version_names_itself(mill: Mill) -> None:
    assert at(mill, "1-4") == "1-4"
    assert at(mill, "12-345678") == "12-345678"


def test_a_time_names_the_last_version_before_it(mill: Mill) -> None:
    appended = times(mill)
    for time in appended.values():
        before = [version for version, other in appended.items() if other < time]
        if before:
            assert at(mill, time.isoformat()) == before[-1]
    newest = list(appended)[-1]
    assert at(mill, (appended[newest] + timedelta(days=1)).isoformat()) == newest


def test_a_time_without_a_zone_is_utc(mill: Mill) -> None:
    later = list(times(mill).values())[-1] + timedelta(minutes=1)
    east = later.astimezone(datetime.now().astimezone().tzinfo)
    assert at(mill, later.replace(tzinfo=None).isoformat()) == at(mill, east.isoformat())


def test_before_anything_was_learned_there_is_no_version(mill: Mill) -> None:
    with pytest.raises(TopicError, match="nothing that was learned by 1999-12-31"):
        at(mill, "1999-12-31")


@pytest.mark.parametrize("moment", ["", "yesterday", "1-", "-1", "1-2-3", "2026-13-01", "1.5-2", "³-¹"])
def test_what_is_neither_version_nor_time_is_refused(mill: Mill, moment: str) -> None:
    with pytest.raises(ValueError):
        at(mill, moment)
