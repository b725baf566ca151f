"""Answers are reproduced long after their snapshots were deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from consumers.audit.answers import AnswerComparison, ImpressionUnknown, reproduce_answer
from consumers.serve.follow.follower import Follower
from consumers.serve.follow.snapshot_watcher import SnapshotWatcher
from consumers.serve.impressions import ImpressionWriter, NotRepeatable
from consumers.serve.query import ALL_TYPES, RecommendationQuery
from consumers.serve.schemas import Recommendations
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.shown import ShownItems
from pipeline import cli
from pipeline.checkpoints.versions import version_at
from pipeline.config import CompressionConfig, to_toml
from pipeline.errors import OffsetsExpired, TopicError
from pipeline.eventlog.port import EventLog, TopicSpec, read
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.events import Impression, Item, User, decode, encode
from pipeline.journal.entry import read_journal
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.policy.arms import CONTROL, Arm, Arms
from pipeline.policy.policies import GREEDY, PlackettLuce
from pipeline.rules.rule import encode_rule
from pipeline.snapshots.publisher import Publication, Publisher
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import COLOURS, THINGS, ModelHarness, tiny_settings
from tests.support.rules import rule
from tests.support.serve_tools import wait_until

HOUR_MS = 3_600_000
EXPLORING = PlackettLuce(explored_places=3, pool=8, epsilon=0.1, temperature=2.5)


class Server:
    """A server's service and its current state."""

    def __init__(
        self, harness: ModelHarness, current: CurrentState, writer: ImpressionWriter, may_encode: Event
    ) -> None:
        self.may_encode = may_encode
        self._harness = harness
        self._current = current
        context, shown = harness.settings.learn.segments.context, ShownItems()
        self._service, self._exploring = (
            RecommendationService(
                current, context, writer.submit, shown=shown, arms=Arms([Arm(CONTROL, policy)])
            )
            for policy in (GREEDY, EXPLORING)
        )

    def settle(self, pending_texts: int = 0) -> None:
        """Wait until it has read everything and loaded the newest snapshot."""
        offsets = self._harness.log.end_offsets(self._harness.topics.served)
        ends = {str(source): end for source, end in offsets.items()}
        newest = self._harness.store.versions()[-1:]

        def settled() -> bool:
            view = self._current.view
            loaded = [view.snapshot.version] if view and view.snapshot else []
            return view is not None and (view.offsets, loaded, view.pending_texts) == (
                ends,
                newest,
                pending_texts,
            )

        wait_until(settled)

    def ask(self, user: str, query: RecommendationQuery, session: str | None = None) -> Recommendations:
        return self._service.for_user(user, session, query)

    def explore(self, user: str, query: RecommendationQuery, session: str | None = None) -> Recommendations:
        return self._exploring.for_user(user, session, query)


class HeldEncoder(TextEncoder):
    """An encoder that waits for `may_encode`."""

    def __init__(self, harness: ModelHarness, backbone: Backbone, may_encode: Event) -> None:
        model = harness.settings.model
        super().__init__(backbone, model.cache, model.max_tokens, torch.device("cpu"))
        self._may_encode = may_encode

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._may_encode.wait()
        return super().encode(texts)


@contextmanager
def served(harness: ModelHarness) -> Iterator[Server]:
    """Run a server, once caught up."""
    settings, current, stop, may_encode = harness.settings, CurrentState(), Event(), Event()
    may_encode.set()
    backbone = load_backbone(settings.model.backbone)
    watcher = SnapshotWatcher(
        SnapshotLoader(harness.store, backbone, settings.model), harness.topics.prefix, current
    )
    follower = Follower(
        harness.log, harness.topics, watcher, current, settings.learn.stream.history_length, 0.01
    )

    with (
        ThreadPoolExecutor(1) as threads,
        closing(ImpressionWriter(harness.log, harness.topics.impressions)) as writer,
    ):
        following = threads.submit(follower.run, lambda: HeldEncoder(harness, backbone, may_encode), stop)
        try:
            wait_until(lambda: current.view is not None or following.done())
            yield Server(harness, current, writer, may_encode)
        finally:
            may_encode.set()
            stop.set()
        following.result()


def publish(harness: ModelHarness, learning: LearnerHarness, publisher: Publisher) -> None:
    """Publish a snapshot, and the histories of users who acted since the last one."""
    users = {user: end for batch in learning.learned for user, end in batch.users.items()}
    histories = {user: (learning.learner.stream.histories.of(user), end) for user, end in users.items()}
    publisher.publish(Publication(learning.update(publisher), histories, [], []))
    learning.learned.clear()


def upsert(harness: ModelHarness, item: str, title: str, category: str, available: bool = True) -> None:
    entry = Item(item=item, title=title, category=category, available=available)
    harness.writer.append(harness.topics.items, item, encode(entry))
    harness.writer.flush()


def remove(harness: ModelHarness, item: str) -> None:
    harness.writer.append(harness.topics.items, item, None)
    harness.writer.flush()


def steer(harness: ModelHarness, tier: str, pinned: str) -> None:
    """Replace ann's attributes, and the rule that pins an item for gold users at home."""
    when = {
        "user": [{"name": "tier", "equals": "gold"}],
        "request": [{"name": "page", "equals": "home"}],
    }
    pin = rule("first", "pin", item=pinned, place=1, when=when)
    user = User(user="ann", attributes={"tier": tier})
    harness.writer.append(harness.topics.users, "ann", encode(user))
    harness.writer.append(harness.topics.rules, pin.name, encode_rule(pin))
    harness.writer.flush()


AT_HOME = RecommendationQuery(5, context=(("page", "home"),))
Answers = dict[str, Recommendations]
QUERIES: dict[str, tuple[str, RecommendationQuery, str | None]] = {
    "plain": ("ann", RecommendationQuery(5), None),
    "session": ("bob", RecommendationQuery(5), "s6"),
    "new session": ("bob", RecommendationQuery(5), "another"),
    "category": ("cyd", RecommendationQuery(3, category="blue"), None),
    "excluded": ("ann", RecommendationQuery(5, frozenset({"red-cup", "blue-lamp", "unknown"})), None),
    "unseen": ("bob", RecommendationQuery(20, exclude_seen=ALL_TYPES), "another"),
    "diverse": ("ann", RecommendationQuery(5, diversity=0.4, most_per_category=2), None),
    "not shown again": ("fay", RecommendationQuery(2, exclude_shown_ms=10**13), None),
    "ranked": ("cyd", RecommendationQuery(5, only=frozenset({"red-cup", "blue-cup", "blue-lamp"})), None),
    "everything": ("eve", RecommendationQuery(20), None),
    "newcomer": ("zoe", RecommendationQuery(5), "s1"),
    "nobody": ("nobody", RecommendationQuery(4), None),
}
TIMES = ("fresh", "tail", "learned", "pending_texts", "rolled back")


def ask_all(server: Server, when: str, pending_texts: int = 0) -> Answers:
    server.settle(pending_texts)
    return {f"{when}: {name}": server.ask(*query) for name, query in QUERIES.items()}


def collect_answers(harness: ModelHarness) -> Answers:
    """Query before, between and after snapshots and a rollback; then change every item."""
    for colour in COLOURS:
        for thing in THINGS:
            upsert(harness, f"{colour}-{thing}", f"{colour} {thing}", colour)
    remove(harness, "green-lamp")
    harness.shop(40)
    with served(harness) as server:
        server.settle()
        answers = {"no snapshot": server.ask(*QUERIES["plain"])}
    with harness.learning() as learning:
        publisher = harness.publisher(keep=100)
        learning.turns(2)
        learning.checkpoint()
        learning.catch_up()
        publish(harness, learning, publisher)
        with served(harness) as server:
            answers |= ask_all(server, "fresh")
            harness.act("zoe", "red-cup", "red-plate", "never-heard-of", session="s1")
            harness.act("ann", "blue-lamp", event_id="twice")
            harness.act("ann", "blue-lamp", event_id="twice")
            harness.act("ann", "red-plate", event_id="e1")  # her first one, long learned
            upsert(harness, "red-clock", "red clock", "red")
            upsert(harness, "blue-cup", "holder of the blue bag", "blue")
            remove(harness, "red-candle")
            answers |= ask_all(server, "tail")
            answers |= {f"explored: {name}": server.explore(*query) for name, query in QUERIES.items()}
            learning.catch_up()
            publish(harness, learning, publisher)
            answers |= ask_all(server, "learned")
            harness.act("cyd", "blue-cup", "red-plate", session="s1")  # a new item alone moves no blue one
            server.may_encode.clear()
            upsert(harness, "green-bag", "green bag", "green")
            answers |= ask_all(server, "pending_texts", pending_texts=1)
            server.may_encode.set()
            harness.roll_back("1-2")
            learning.turns(1)
            publish(harness, learning, publisher)
            answers |= ask_all(server, "rolled back")
            steer(harness, "gold", "green-bag")
            server.settle()
            answers["steered"] = server.ask("ann", AT_HOME)
        learning.catch_up()
        steer(harness, "silver", "blue-bag")
        for thing in THINGS:
            upsert(harness, f"red-{thing}", f"green {thing} of the clock", "green")
        harness.shop(40)
        learning.catch_up()
        learning.checkpoint()
    return answers


@pytest.fixture(scope="module")
def recorded_shop(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> tuple[Path, Answers]:
    """The folder of a shop whose snapshots are deleted, and the answers of its servers."""
    folder = tmp_path_factory.mktemp("shop")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        answers = collect_answers(harness)
    shutil.rmtree(folder / "snapshots")
    return folder, answers


@pytest.fixture
def answers(recorded_shop: tuple[Path, Answers]) -> Answers:
    return recorded_shop[1]


@pytest.fixture
def harness(
    recorded_shop: tuple[Path, Answers], tmp_path: Path, backbone_folder: Path
) -> Iterator[ModelHarness]:
    """A copy of the shop."""
    shutil.copytree(recorded_shop[0], tmp_path, dirs_exist_ok=True)
    with ModelHarness(tiny_settings(tmp_path, backbone_folder)) as harness:
        yield harness


def reproduce(harness: ModelHarness, impression: str | None, log: EventLog | None = None) -> AnswerComparison:
    assert impression is not None
    return reproduce_answer(log or harness.log, harness.topics, harness.settings, impression)


def impressions(harness: ModelHarness) -> dict[str, Impression]:
    """The written impressions, by id."""
    written = [
        decode(Impression, record.value or b"") for record in harness.records(harness.topics.impressions)
    ]
    return {impression.impression_id: impression for impression in written}


def forged(harness: ModelHarness, impression: str | None, **changes: Any) -> str:
    """Write a changed copy of an impression; return its id."""
    assert impression is not None
    changed = impressions(harness)[impression].model_copy(update={"impression_id": "forged", **changes})
    harness.writer.append(harness.topics.impressions, changed.user, encode(changed))
    harness.writer.flush()
    return "forged"


def test_an_answer_is_reproduced_under_the_rules_of_its_time(harness: ModelHarness, answers: Answers) -> None:
    then = answers["steered"]
    assert then.items[0].item == "green-bag"
    found = reproduce(harness, then.impression)
    assert found.same_items and found.same_scores and found.same_propensities


@pytest.mark.parametrize("change", [{"rules": "another"}, {"rules": ""}])
def test_rules_that_are_gone_are_named(
    harness: ModelHarness, answers: Answers, change: dict[str, str]
) -> None:
    before = impressions(harness)[str(answers["steered"].impression)]
    name = forged(harness, answers["steered"].impression, context={**before.context, **change})
    with pytest.raises(NotRepeatable, match="no longer holds the rules"):
        reproduce(harness, name)


@pytest.mark.parametrize("when", TIMES)
def test_every_answer_is_reproduced(harness: ModelHarness, answers: Answers, when: str) -> None:
    for name in QUERIES if when == "tail" else ("plain", "everything", "unseen"):
        then = answers[f"{when}: {name}"]
        found = reproduce(harness, then.impression)
        assert found.same_items and found.same_scores and found.same_propensities, name
        same = {"impression", "staleness_seconds"}
        assert found.reproduced.model_dump(exclude=same) == then.model_dump(exclude=same), "to the bit"


def test_of_an_answer_that_was_shown_in_part_the_part_is_reproduced(
    harness: ModelHarness, answers: Answers
) -> None:
    before = impressions(harness)[str(answers["tail: plain"].impression)]
    part = {name: getattr(before, name)[:2] for name in ("items", "scores", "propensities")}
    name = forged(harness, before.impression_id, **part, context={**before.context, "shown": 2})
    found = reproduce(harness, name)
    assert found.same_items and found.same_scores and found.same_propensities
    assert [shown.item for shown in found.reproduced.items] == list(part["items"])


def test_an_explored_answer_is_drawn_again(harness: ModelHarness, answers: Answers) -> None:
    """With the policy of its impression, whatever the settings are now."""
    recorded = impressions(harness)
    for name in QUERIES:
        then = answers[f"explored: {name}"]
        shown = recorded[str(then.impression)]
        assert shown.policy_version == EXPLORING.version and shown.propensities and shown.pool
        found = reproduce(harness, then.impression)
        assert found.same_items and found.same_scores and found.same_propensities, name
        assert tuple(found.propensities) == shown.propensities, "to the bit"
        same = {"impression", "staleness_seconds"}
        assert found.reproduced.model_dump(exclude=same) == then.model_dump(exclude=same), "to the bit"
    explored, greedy = answers["explored: everything"], answers["tail: everything"]
    assert [one.item for one in explored.items] != [one.item for one in greedy.items]


def test_a_policy_of_another_release_is_named(harness: ModelHarness, answers: Answers) -> None:
    name = forged(harness, answers["explored: plain"].impression, policy_version="9 pool=8")
    with pytest.raises(NotRepeatable, match="no policy plackett_luce of the version '9 pool=8'"):
        reproduce(harness, name)


def test_an_impression_of_before_policies_is_asked_again(harness: ModelHarness, answers: Answers) -> None:
    """Its list was greedy; what it called propensities are scores, and it has no propensities to compare."""
    then = impressions(harness)[str(answers["tail: plain"].impression)]
    fields = {"v": 2, "kind": "impression", **then.model_dump(), "impression_id": "of version 2"}
    fields["propensities"] = fields.pop("scores")
    for name in ("policy", "policy_version", "pool", "shadows", "experiment", "arm", "features"):
        del fields[name]
    harness.writer.append(harness.topics.impressions, then.user, orjson.dumps(fields))
    harness.writer.flush()
    found = reproduce(harness, "of version 2")
    assert found.same_items and found.same_scores and found.same_propensities is None
    assert str(found).endswith("items agree, scores agree, propensities were not recorded")


def test_the_recorded_answers_differ(answers: Answers) -> None:
    """Each query has another answer each time, so that only the right state reproduces it."""
    for name in set(QUERIES) - {"nobody"}:
        shown = [answers[f"{when}: {name}"].items for when in TIMES]
        assert all(one != other for number, one in enumerate(shown) for other in shown[:number]), name
    assert "green-lamp" not in {item.item for item in answers["fresh: everything"].items}
    tail = {item.item: item.title for item in answers["tail: everything"].items}
    assert tail["red-clock"] == "red clock" and tail["never-heard-of"] is None
    assert "red-candle" not in tail
    assert (answers["fresh: newcomer"].source, answers["tail: newcomer"].source) == ("popular", "model")
    assert answers["rolled back: plain"].snapshot == "2-2"


def test_reproducing_writes_nothing(harness: ModelHarness, answers: Answers) -> None:
    before = harness.log.end_offsets(harness.log.describe_topics())
    reproduce(harness, answers["tail: plain"].impression)
    assert harness.log.end_offsets(harness.log.describe_topics()) == before
    assert not Path(harness.settings.snapshots.store).exists()


def test_compacted_catalogue_records_come_from_the_checkpoint(
    harness: ModelHarness, answers: Answers, tmp_path: Path
) -> None:
    later = harness.records(harness.topics.items)[-1].append_time
    later += int(harness.settings.log.compaction_lag_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        held = len(list(read(log, harness.topics.items)))
        log.upkeep()
        assert len(list(read(log, harness.topics.items))) < held
        then = answers["fresh: everything"]
        assert reproduce(harness, then.impression, log).reproduced.items == then.items


# Answers that differ.


@pytest.mark.parametrize("change", ["order", "scores", "propensities", "fewer"])
def test_a_different_answer_is_reported(harness: ModelHarness, answers: Answers, change: str) -> None:
    name = answers["learned: plain"].impression
    then = impressions(harness)[name or ""]
    changes: dict[str, dict[str, Any]] = {
        "order": {"items": then.items[::-1]},
        "scores": {"scores": tuple(score * 0.99 for score in then.scores)},
        "propensities": {"propensities": (0.99,) * 5},
        "fewer": {"items": then.items[:3], "scores": then.scores[:3], "propensities": (1.0,) * 3},
    }
    found = reproduce(harness, forged(harness, name, **changes[change]))
    same = (found.same_items, found.same_scores, bool(found.same_propensities))
    assert same == (
        change in ("scores", "propensities"),
        change in ("order", "propensities"),
        change in ("order", "scores"),
    )
    assert str(found).startswith(f"forged, answered by {then.snapshot}: items ")


# Answers that cannot be reproduced.


def test_an_answer_without_a_snapshot_is_refused(harness: ModelHarness, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match="before there was a snapshot"):
        reproduce(harness, answers["no snapshot"].impression)


def test_an_unknown_impression_is_named(harness: ModelHarness) -> None:
    with pytest.raises(ImpressionUnknown, match=r"mill\.impressions holds no impression nothing"):
        reproduce(harness, "nothing")


def test_a_version_that_is_not_in_the_journal_is_refused(harness: ModelHarness, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match=r"mill\.journal has no entries that lead to 1-999"):
        reproduce(harness, forged(harness, answers["fresh: plain"].impression, snapshot="1-999"))


def test_a_server_behind_its_snapshot_is_refused(harness: ModelHarness, answers: Answers) -> None:
    name = answers["fresh: plain"].impression
    offsets = {source: offset // 2 for source, offset in impressions(harness)[name or ""].offsets.items()}
    with pytest.raises(NotRepeatable, match="had read less than its snapshot"):
        reproduce(harness, forged(harness, name, offsets=offsets))


def test_an_impression_of_an_older_server_is_refused(harness: ModelHarness, answers: Answers) -> None:
    with pytest.raises(NotRepeatable, match="does not store its query"):
        reproduce(harness, forged(harness, answers["fresh: plain"].impression, context={"source": "model"}))


def test_expired_records_are_an_error(harness: ModelHarness, answers: Answers, tmp_path: Path) -> None:
    interactions = harness.records(harness.topics.interactions)
    later = interactions[-1].append_time + int(harness.settings.log.retention_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        for topic in (harness.topics.impressions, harness.topics.journal):
            log.alter_topic(TopicSpec(topic, 1, retention_ms=None), ["retention_ms"])
        log.upkeep()
        with pytest.raises(OffsetsExpired):
            reproduce(harness, answers["fresh: plain"].impression, log)


# The command.


@pytest.fixture
def command(harness: ModelHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "millstream.toml").write_text(to_toml(harness.settings))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, arguments)


def test_the_command_reports_that_the_answers_agree(command: Callable[..., Result], answers: Answers) -> None:
    then = answers["tail: everything"]
    result = command("rebuild", "--answer", then.impression)
    assert result.exit_code == 0
    ending = f"{then.impression}, answered by {then.snapshot}: items agree, scores agree, propensities agree"
    assert result.stdout.strip().endswith(ending)
    assert all(result.stdout.count(shown.item) == 2 for shown in then.items)


def test_the_command_fails_when_the_items_differ(
    command: Callable[..., Result], harness: ModelHarness, answers: Answers
) -> None:
    name = answers["tail: plain"].impression
    result = command(
        "rebuild", "--answer", forged(harness, name, items=("other", "items", "were", "shown", "before"))
    )
    assert result.exit_code == 1
    assert "items DIFFER, scores agree, propensities agree" in result.stdout
    assert "other" in result.stdout


def test_a_time_and_an_impression_exclude_each_other(command: Callable[..., Result]) -> None:
    result = command("rebuild", "--at", "1-2", "--answer", "i")
    assert (result.exit_code, "exclude each other" in result.output) == (2, True)


def test_an_offset_of_the_journal_names_the_version_before_it(harness: ModelHarness) -> None:
    for entry, after in read_journal(harness.log, harness.topics.journal):
        assert str(version_at(harness.log, harness.topics, f"@{after}")) == entry.version
    with pytest.raises(TopicError, match="nothing that was learned by @0"):
        version_at(harness.log, harness.topics, "@0")
    with pytest.raises(ValueError):
        version_at(harness.log, harness.topics, "@now")


def test_an_answer_from_a_compressed_snapshot_is_reproduced(tmp_path: Path, backbone_folder: Path) -> None:
    settings = tiny_settings(tmp_path, backbone_folder)
    compression = CompressionConfig(vectors="int8")
    settings = settings.model_copy(update={"snapshots": settings.snapshots.replace(compression=compression)})
    with ModelHarness(settings) as harness:
        harness.stock()
        harness.shop(40)
        with harness.learning() as learning:
            learning.catch_up()
            publish(harness, learning, harness.publisher())
        with served(harness) as server:
            server.settle()
            answer = server.ask(*QUERIES["plain"])
        again = reproduce(harness, answer.impression)
        assert (again.same_items, again.same_scores) == (True, True)
        harness.settings = tiny_settings(tmp_path, backbone_folder)
        assert not reproduce(harness, answer.impression).same_scores, "the answers of exact vectors differ"
