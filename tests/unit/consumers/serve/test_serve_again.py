"""What was answered is answered again, long after the snapshot that answered it is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from consumers.serve.again import AskedAgain, ImpressionUnknown, ask_again
from consumers.serve.announcements import Announcements
from consumers.serve.base import BaseLoader
from consumers.serve.desk import Desk
from consumers.serve.engine import Wish
from consumers.serve.follower import Follower
from consumers.serve.impressions import ImpressionWriter, NotRepeatable
from consumers.serve.live import Live
from consumers.serve.wire import Recommendations
from pipeline import cli
from pipeline.config import to_toml
from pipeline.errors import OffsetsExpired, TopicError
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.events import Impression, Item, decode, encode
from pipeline.learning.journal import read_journal
from pipeline.learning.publishing import Publication, Publisher
from pipeline.learning.time_travel import version_at
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from tests.life import Life
from tests.mill import COLOURS, THINGS, Mill, tiny_settings
from tests.unit.consumers.serve.tools import wait_until

HOUR_MS = 3_600_000


class Server:
    """A server's desk, and what is shown to it."""

    def __init__(self, mill: Mill, live: Live, writer: ImpressionWriter, may_encode: Event) -> None:
        self.may_encode = may_encode
        self._mill = mill
        self._live = live
        self._desk = Desk(live, mill.settings.learn.context, writer.submit)

    def settle(self, untold: int = 0) -> None:
        """Wait until it has read everything and taken the newest snapshot."""
        topics = [self._mill.topics.items, self._mill.topics.interactions]
        ends = {str(source): end for source, end in self._mill.log.end_offsets(topics).items()}
        newest = self._mill.store.versions()[-1:]

        def settled() -> bool:
            view = self._live.view
            base = [view.base.version] if view and view.base else []
            return view is not None and (view.offsets, base, view.untold) == (ends, newest, untold)

        wait_until(settled)

    def ask(self, user: str, wish: Wish, session: str | None = None) -> Recommendations:
        return self._desk.for_user(user, session, wish)


class HeldEncoder(TextEncoder):
    """One that encodes nothing until it may."""

    def __init__(self, mill: Mill, backbone: Backbone, may_encode: Event) -> None:
        model = mill.settings.model
        super().__init__(backbone, model.cache, model.max_tokens, torch.device("cpu"))
        self._may_encode = may_encode

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._may_encode.wait()
        return super().encode(texts)


@contextmanager
def served(mill: Mill) -> Iterator[Server]:
    """A server that has caught up."""
    settings, live, stop, may_encode = mill.settings, Live(), Event(), Event()
    may_encode.set()
    backbone = load_backbone(settings.model.backbone)
    announcements = Announcements(BaseLoader(mill.store, backbone, settings.model), mill.topics.prefix, live)
    follower = Follower(mill.log, mill.topics, announcements, live, settings.learn.history_length, 0.01)

    with (
        ThreadPoolExecutor(1) as threads,
        closing(ImpressionWriter(mill.log, mill.topics.impressions)) as writer,
    ):
        following = threads.submit(follower.run, lambda: HeldEncoder(mill, backbone, may_encode), stop)
        try:
            wait_until(lambda: live.view is not None or following.done())
            yield Server(mill, live, writer, may_encode)
        finally:
            may_encode.set()
            stop.set()
        following.result()


def publish(mill: Mill, life: Life, publisher: Publisher) -> None:
    """Publish a snapshot, and the histories of those who acted since the last one."""
    users = {user: end for batch in life.learned for user, end in batch.users.items()}
    histories = {user: (life.learner.stream.histories.of(user), end) for user, end in users.items()}
    publisher.publish(Publication(life.snapshot(), histories, [], []))
    life.learned.clear()


def upsert(mill: Mill, item: str, title: str, category: str, available: bool = True) -> None:
    entry = Item(item=item, title=title, category=category, available=available)
    mill.writer.append(mill.topics.items, item, encode(entry))
    mill.writer.flush()


def remove(mill: Mill, item: str) -> None:
    mill.writer.append(mill.topics.items, item, None)
    mill.writer.flush()


Answers = dict[str, Recommendations]
QUESTIONS: dict[str, tuple[str, Wish, str | None]] = {
    "plain": ("ann", Wish(5), None),
    "session": ("bob", Wish(5), "s6"),
    "new session": ("bob", Wish(5), "another"),
    "category": ("cyd", Wish(3, category="blue"), None),
    "excluded": ("ann", Wish(5, frozenset({"red-cup", "blue-lamp", "who knows"})), None),
    "unseen": ("bob", Wish(20, exclude_seen=True), "another"),
    "everything": ("eve", Wish(20), None),
    "newcomer": ("zoe", Wish(5), "s1"),
    "nobody": ("nobody", Wish(4), None),
}
TIMES = ("fresh", "tail", "learned", "untold", "rolled back")


def ask_all(server: Server, when: str, untold: int = 0) -> Answers:
    server.settle(untold)
    return {f"{when}: {name}": server.ask(*question) for name, question in QUESTIONS.items()}


def live_through(mill: Mill) -> Answers:
    """Ask before, between and after snapshots, an adoption among them; then change everything."""
    for colour in COLOURS:
        for thing in THINGS:
            upsert(mill, f"{colour}-{thing}", f"{colour} {thing}", colour)
    remove(mill, "green-lamp")
    mill.shop(40)
    with served(mill) as server:
        server.settle()
        answers = {"no snapshot": server.ask(*QUESTIONS["plain"])}
    with mill.life() as life:
        publisher = mill.publisher(full_every=2, keep=100)
        life.turns(2)
        life.checkpoint()
        life.catch_up()
        publish(mill, life, publisher)
        with served(mill) as server:
            answers |= ask_all(server, "fresh")
            mill.act("zoe", "red-cup", "red-plate", "never-heard-of", session="s1")
            mill.act("ann", "blue-lamp", event_id="twice")
            mill.act("ann", "blue-lamp", event_id="twice")
            mill.act("ann", "red-plate", event_id="e1")  # her first one, long learned
            upsert(mill, "red-clock", "red clock", "red")
            upsert(mill, "blue-cup", "holder of the blue bag", "blue")
            remove(mill, "red-candle")
            answers |= ask_all(server, "tail")
            life.catch_up()
            publish(mill, life, publisher)
            answers |= ask_all(server, "learned")
            server.may_encode.clear()
            upsert(mill, "green-bag", "green bag", "green")
            answers |= ask_all(server, "untold", untold=1)
            server.may_encode.set()
            mill.roll_back("1-2")
            life.turns(1)
            publish(mill, life, publisher)
            answers |= ask_all(server, "rolled back")
        life.catch_up()
        for thing in THINGS:
            upsert(mill, f"red-{thing}", f"green {thing} of the clock", "green")
        mill.shop(40)
        life.catch_up()
        life.checkpoint()
    return answers


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> tuple[Path, Answers]:
    """A folder of a shop whose snapshots are gone, and what its servers answered."""
    folder = tmp_path_factory.mktemp("lived")
    with Mill(tiny_settings(folder, backbone_folder)) as mill:
        answers = live_through(mill)
    shutil.rmtree(folder / "snapshots")
    return folder, answers


@pytest.fixture
def answers(lived: tuple[Path, Answers]) -> Answers:
    return lived[1]


@pytest.fixture
def mill(lived: tuple[Path, Answers], tmp_path: Path, backbone_folder: Path) -> Iterator[Mill]:
    """A copy of the shop."""
    shutil.copytree(lived[0], tmp_path, dirs_exist_ok=True)
    with Mill(tiny_settings(tmp_path, backbone_folder)) as mill:
        yield mill


def again(mill: Mill, impression: str | None, log: EventLog | None = None) -> AskedAgain:
    assert impression is not None
    return ask_again(log or mill.log, mill.topics, mill.settings, impression)


def impressions(mill: Mill) -> dict[str, Impression]:
    """What was noted, by id."""
    noted = [decode(Impression, record.value or b"") for record in mill.records(mill.topics.impressions)]
    return {impression.impression_id: impression for impression in noted}


def forged(mill: Mill, impression: str | None, **changes: Any) -> str:
    """Another impression, as this one with some changes; its id."""
    assert impression is not None
    changed = impressions(mill)[impression].model_copy(update={"impression_id": "forged", **changes})
    mill.writer.append(mill.topics.impressions, changed.user, encode(changed))
    mill.writer.flush()
    return "forged"


@pytest.mark.parametrize("when", TIMES)
def test_every_answer_is_given_again(mill: Mill, answers: Answers, when: str) -> None:
    for name in QUESTIONS if when == "tail" else ("plain", "everything", "unseen"):
        then = answers[f"{when}: {name}"]
        found = again(mill, then.impression)
        assert found.same_items and found.same_propensities, name
        same = {"impression", "staleness_seconds"}
        assert found.now.model_dump(exclude=same) == then.model_dump(exclude=same), "to the bit"


def test_there_was_something_to_tell_apart(answers: Answers) -> None:
    """Each question had another answer each time, so that only the right time gives it again."""
    for name in set(QUESTIONS) - {"nobody"}:
        given = [answers[f"{when}: {name}"].items for when in TIMES]
        assert all(one != other for number, one in enumerate(given) for other in given[:number]), name
    assert "green-lamp" not in {shown.item for shown in answers["fresh: everything"].items}
    tail = {shown.item: shown.title for shown in answers["tail: everything"].items}
    assert tail["red-clock"] == "red clock" and tail["never-heard-of"] is None
    assert "red-candle" not in tail
    assert (answers["fresh: newcomer"].source, answers["tail: newcomer"].source) == ("popular", "model")
    assert answers["rolled back: plain"].snapshot == "2-2"


def test_asking_again_writes_nothing(mill: Mill, answers: Answers) -> None:
    before = mill.log.end_offsets(mill.log.describe_topics())
    again(mill, answers["tail: plain"].impression)
    assert mill.log.end_offsets(mill.log.describe_topics()) == before
    assert not Path(mill.settings.snapshots).exists()


def test_what_compaction_took_of_the_catalogue_is_in_the_ladder(
    mill: Mill, answers: Answers, tmp_path: Path
) -> None:
    later = mill.records(mill.topics.items)[-1].append_time
    later += int(mill.settings.log.compaction_lag_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        held = len(list(read(log, mill.topics.items)))
        log.upkeep()
        assert len(list(read(log, mill.topics.items))) < held
        then = answers["fresh: everything"]
        assert again(mill, then.impression, log).now.items == then.items


# What differs.


@pytest.mark.parametrize("change", ["order", "propensities", "fewer"])
def test_another_answer_is_told(mill: Mill, answers: Answers, change: str) -> None:
    name = answers["learned: plain"].impression
    then = impressions(mill)[name or ""]
    changes: dict[str, dict[str, Any]] = {
        "order": {"items": then.items[::-1]},
        "propensities": {"propensities": tuple(p * 0.99 for p in then.propensities)},
        "fewer": {"items": then.items[:3], "propensities": then.propensities[:3]},
    }
    found = again(mill, forged(mill, name, **changes[change]))
    assert (found.same_items, found.same_propensities) == (change == "propensities", change == "order")
    assert str(found).startswith(f"forged, answered by {then.snapshot}: items ")


# What cannot be asked again.


def test_an_answer_without_a_snapshot_is_refused(mill: Mill, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match="before there was a snapshot"):
        again(mill, answers["no snapshot"].impression)


def test_an_unknown_impression_is_named(mill: Mill) -> None:
    with pytest.raises(ImpressionUnknown, match=r"mill\.impressions holds no impression nothing"):
        again(mill, "nothing")


def test_a_version_that_the_journal_does_not_know_is_refused(mill: Mill, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match=r"mill\.journal does not know how 1-999 came about"):
        again(mill, forged(mill, answers["fresh: plain"].impression, snapshot="1-999"))


def test_a_server_behind_its_snapshot_is_refused(mill: Mill, answers: Answers) -> None:
    name = answers["fresh: plain"].impression
    offsets = {source: offset // 2 for source, offset in impressions(mill)[name or ""].offsets.items()}
    with pytest.raises(NotRepeatable, match="had read less than its snapshot"):
        again(mill, forged(mill, name, offsets=offsets))


def test_an_impression_of_an_older_server_is_refused(mill: Mill, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match="does not say what was asked"):
        again(mill, forged(mill, answers["fresh: plain"].impression, context={"source": "model"}))


def test_records_that_the_log_has_lost_are_missed(mill: Mill, answers: Answers, tmp_path: Path) -> None:
    interactions = mill.records(mill.topics.interactions)
    later = interactions[-1].append_time + int(mill.settings.log.retention_hours * HOUR_MS) + 1
    noted = mill.records(mill.topics.impressions)
    entries = mill.records(mill.topics.journal)
    with SqliteLog(tmp_path / "log.db", lambda: later) as log, log.writer() as writer:
        log.upkeep()
        for record in [*noted, *entries]:
            writer.append(record.topic, record.key, record.value)
        writer.flush()
        with pytest.raises(OffsetsExpired):
            again(mill, answers["fresh: plain"].impression, log)


# The command.


@pytest.fixture
def command(mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "millstream.toml").write_text(to_toml(mill.settings))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, arguments)


def test_the_command_tells_that_an_answer_is_the_same(
    command: Callable[..., Result], answers: Answers
) -> None:
    then = answers["tail: everything"]
    told = command("rebuild", "--answer", then.impression)
    assert told.exit_code == 0
    ending = f"{then.impression}, answered by {then.snapshot}: items agree, propensities agree"
    assert told.stdout.strip().endswith(ending)
    assert all(told.stdout.count(shown.item) == 2 for shown in then.items)


def test_the_command_fails_when_the_items_differ(
    command: Callable[..., Result], mill: Mill, answers: Answers
) -> None:
    name = answers["tail: plain"].impression
    told = command(
        "rebuild", "--answer", forged(mill, name, items=("other", "items", "were", "shown", "then"))
    )
    assert told.exit_code == 1
    assert "items DIFFER, propensities agree" in told.stdout
    assert "other" in told.stdout


def test_a_time_and_an_impression_exclude_each_other(command: Callable[..., Result]) -> None:
    told = command("rebuild", "--at", "1-2", "--answer", "i")
    assert (told.exit_code, "exclude each other" in told.output) == (2, True)


def test_an_offset_of_the_journal_names_the_version_before_it(mill: Mill) -> None:
    for entry, after in read_journal(mill.log, mill.topics.journal):
        assert str(version_at(mill.log, mill.topics, f"@{after}")) == entry.version
    with pytest.raises(TopicError, match="nothing that was learned by @0"):
        version_at(mill.log, mill.topics, "@0")
    with pytest.raises(ValueError):
        version_at(mill.log, mill.topics, "@now")
