"""The sides of `benchmarks.growth`: a learner that publishes, and a server that follows what it left.

Items have random unit vectors instead of encoded titles. Acts are Zipf's over items in random order and
uniform over users, each of whom has acted once before. The server reads the acts of a batch, then loads the
delta of the learner that has learned them. Times are those of the processor, so that other work on the
machine does not count; neither does waiting for the disk.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.start import held_mib
from consumers.serve.batching import MOST_AT_ONCE
from consumers.serve.query import RecommendationQuery
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.serving_state import ServingState
from consumers.serve.user_request import UserRequest
from pipeline.checkpoints.capture import take_changed, update_of
from pipeline.config import LogConfig, load_settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, Record, TopicPartition, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.snapshots.history_records import read_history_record
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.histories import Histories
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

BATCH, CHUNK = 256, 8_192
WARM_UP, REQUESTS, SHOWN = 20, 200, 20
START_MS, ACT_MS = 1_700_000_000_000, 1_000
PREFIX = "growth"
TOPICS = Topics(PREFIX)
ACTS = TopicPartition(TOPICS.interactions, 0)
MS, MB = 1e3, 1e6
Result = TypeVar("Result")
Figures = dict[str, float]


class RandomEncoder(TextEncoder):
    """Gives texts random unit vectors instead of running the language model."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Draw vectors, ``[len(texts), d]``; the same for the same texts together."""
        random = np.random.default_rng(zlib.crc32("".join(texts).encode()))
        vectors = random.standard_normal((len(texts), self.width), dtype=np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class Acts:
    """Acts in order, the same on both sides: first one of each user, then without end."""

    def __init__(self, items: int, users: int) -> None:
        self._random = np.random.default_rng(0)
        self._shares = np.cumsum(1 / np.arange(1, items + 1))
        self._order = self._random.permutation(items)
        self._users = users
        self._number = 0

    def first(self) -> Iterator[list[Interaction]]:
        """Yield one act of each user, in large batches."""
        for start in range(0, self._users, CHUNK):
            yield self._made(np.arange(start, min(start + CHUNK, self._users)))

    def batch(self) -> list[Interaction]:
        """Make the next batch."""
        return self._made(self._random.integers(self._users, size=BATCH))

    def _made(self, users: NDArray[np.int64]) -> list[Interaction]:
        drawn = self._random.random(users.size) * self._shares[-1]
        items = self._order[np.searchsorted(self._shares, drawn)]
        return [self._act(f"u{user}", f"i{item}") for user, item in zip(users, items, strict=True)]

    def _act(self, user: str, item: str) -> Interaction:
        self._number += 1
        time_ms = START_MS + ACT_MS * self._number
        return Interaction(
            event_id=f"e{self._number}", user=user, item=item, type=InteractionType.VIEW, time=time_ms
        )


class LearningSide:
    """A learner, and what it publishes to a folder."""

    def __init__(self, items: int, users: int, folder: Path) -> None:
        settings = load_settings()
        device = use_device(settings.model.device, threads=1)
        backbone = load_backbone(settings.model.backbone)
        encoder = RandomEncoder(backbone, folder / "cache", settings.model.max_tokens, device)
        self._learner = Learner(settings.learn, backbone, encoder, device, settings.signals)
        self._acts, self._step, self._events = Acts(items, users), 0, 0
        for chunk in catalogue(items):
            self._take(MicroBatch(1, self._step, chunk, [], learns=False))
        for acts in self._acts.first():
            self._take(MicroBatch(1, self._step, [], acts, learns=False))

    def learn(self) -> list[Interaction]:
        """Learn the next batch."""
        acts = self._acts.batch()
        self._take(MicroBatch(1, self._step, [], acts))
        return acts

    def publish(self, publisher: Publisher, users: Iterable[str]) -> None:
        """Publish the state, with the histories of users."""
        end, of = self._events, self._learner.stream.histories.of
        position = Position(1, self._step, "", 0, {ACTS: end}, through=0, control=0, fold_to={})
        changed = take_changed(self._learner)
        rows = None if publisher.begins_anew(position.generation) else changed
        update = update_of(self._learner, PREFIX, position, {}, "benchmark", rows)
        publisher.publish(Publication(update, {user: (of(user), end) for user in users}, [], []))

    @property
    def users(self) -> Iterable[str]:
        """All users with a history."""
        return self._learner.stream.histories.users()

    def _take(self, batch: MicroBatch) -> None:
        self._learner.score_and_learn(batch)
        self._step += 1
        self._events += len(batch.interactions)


class ServingSide:
    """A server's state without HTTP, from the snapshots and histories in a folder."""

    def __init__(self, items: int, users: int, log: EventLog, store: SnapshotStore) -> None:
        settings = load_settings()
        use_device("cpu", threads=1)
        self._loader = SnapshotLoader(store, load_backbone(settings.model.backbone), settings.model)
        self._histories = Histories(settings.learn.stream.history_length)
        for user, record in read_compacted(log, TOPICS.histories).items():
            self._histories.put(user, read_history_record(user, record.value or b"")[0])
        snapshot = self._loader.load(store.versions()[0])
        topics = TOPICS.interactions, TOPICS.items
        self._state = ServingState(snapshot, self._histories, {}, topics, signals=settings.signals)
        for chunk in catalogue(items):
            self._state.read(Record(TOPICS.items, 0, 0, 0, item.item, encode(item)) for item in chunk)
        self._current, self._acts, self._offset = CurrentState(), Acts(items, users), 0
        self._skip()
        self._show()
        context = settings.learn.segments.context
        self._service = RecommendationService(self._current, context, clock=lambda: START_MS)

    def read(self) -> list[Record]:
        """Make the records of the next batch."""
        acts = self._acts.batch()
        self._offset += len(acts)
        return [
            Record(TOPICS.interactions, 0, offset, act.time, act.user, encode(act))
            for offset, act in enumerate(acts, self._offset - len(acts))
        ]

    def follow(self, records: Iterable[Record]) -> None:
        """Read records, and show them to requests."""
        self._state.read(records)
        self._show()

    def load(self, version: Version) -> None:
        """Load a snapshot, and show it to requests."""
        loaded = self._loader.load(version, before=self._state.snapshot)
        with self._current.lock.swapping():
            self._state.replace_snapshot(loaded)
            self._show()

    def answer(self, users: Sequence[str]) -> None:
        """Recommend to users, in one pass.

        Raises:
            RuntimeError: the model had no part in it.
        """
        asked = [UserRequest(user, None, RecommendationQuery(SHOWN)) for user in users]
        for user, answer in zip(users, self._service.for_all(asked), strict=True):
            if answer["source"] != "model":
                raise RuntimeError(f"{user} was answered by {answer['source']}: {answer['reason']}")

    def _skip(self) -> None:
        """Go past the acts that the first snapshot has learned."""
        for acts in (*self._acts.first(), *(self._acts.batch() for _ in range(WARM_UP))):
            self._offset += len(acts)

    def _show(self) -> None:
        state = self._state
        self._current.replace(state.view(), self._histories, state.updated_histories, state.updated_older)
        state.updated_histories, state.updated_older = {}, {}


def learned(items: int, users: int, rounds: int, folder: Path) -> Iterator[Figures]:
    """Learn batches and publish a delta after each, to a folder; yield what each round took."""
    side, store = LearningSide(items, users, folder), SnapshotStore(str(folder / "store"), PREFIX)
    for _ in range(WARM_UP):
        side.learn()
    with closing(open_log(f"sqlite:///{folder}/log.db")) as log, closing(log.writer()) as writer:
        TOPICS.create(log, 1, *LogConfig().topic_sizes[1:])
        publisher = Publisher(store, writer, TOPICS, keep=2 * rounds)
        side.publish(publisher, side.users)
        full = stored_mb(folder)
        for number in range(1, rounds + 1):
            took, acts = timed(side.learn)
            published, _ = timed(partial(side.publish, publisher, {act.user for act in acts}))
            delta = (stored_mb(folder) - full) / number
            yield {"batch_ms": took, "publish_ms": published, "full_mb": full, "delta_mb": delta}


def served(items: int, users: int, rounds: int, folder: Path) -> Iterator[Figures]:
    """Read the acts of each batch, load the delta that has learned them, and answer requests; yield what
    each round took.
    """
    store, random = SnapshotStore(str(folder / "store"), PREFIX), np.random.default_rng(1)
    with closing(open_log(f"sqlite:///{folder}/log.db")) as log:
        side = ServingSide(items, users, log, store)
    for version in store.versions()[1:]:
        read, _ = timed(partial(side.follow, side.read()))
        applied, _ = timed(partial(side.load, version))
        asked = [f"u{user}" for user in random.integers(users, size=-(-REQUESTS // rounds))]
        answers = [timed(partial(side.answer, [user]))[0] for user in asked]
        together = [f"u{user}" for user in random.integers(users, size=MOST_AT_ONCE)]
        shared, _ = timed(partial(side.answer, together))
        yield {"read_ms": read, "apply_ms": applied, "request_ms": median(answers), "pass_ms": shared}


def learner(items: int, users: int, rounds: int, folder: Path) -> Figures:
    """Measure a learner alone, with its memory."""
    return {**_over_rounds(learned(items, users, rounds, folder)), "learner_mib": held_mib()[0]}


def server(items: int, users: int, rounds: int, folder: Path) -> Figures:
    """Measure a server of what a learner left alone, with its memory."""
    return {**_over_rounds(served(items, users, rounds, folder)), "server_mib": held_mib()[0]}


def learners(sizes: Sequence[int], users: int, rounds: int, folder: Path) -> list[Figures]:
    """Measure the learners of all sizes in turn, round by round."""
    for one in _folders(sizes, folder):
        one.mkdir()
    return _in_turn(learned, sizes, users, rounds, folder)


def servers(sizes: Sequence[int], users: int, rounds: int, folder: Path) -> list[Figures]:
    """Measure the servers of what `learners` left in turn, round by round."""
    return _in_turn(served, sizes, users, rounds, folder)


def _in_turn(
    side: Callable[[int, int, int, Path], Iterator[Figures]],
    sizes: Sequence[int],
    users: int,
    rounds: int,
    folder: Path,
) -> list[Figures]:
    folders = _folders(sizes, folder)
    runs = [side(items, users, rounds, one) for items, one in zip(sizes, folders, strict=True)]
    taken = list[Sequence[Figures]]()
    for number in range(rounds):
        step = 1 if number % 2 else -1
        taken.append([next(run) for run in runs[::step]][::step])
    return [_over_rounds(of_size) for of_size in zip(*taken, strict=True)]


def _folders(sizes: Sequence[int], folder: Path) -> list[Path]:
    return [folder / str(items) for items in sizes]


def _over_rounds(rounds: Iterable[Figures]) -> Figures:
    """Return the median of each figure; of deltas also mean and maximum, which a median hides."""
    all_rounds = [*rounds]
    found = {name: median(one[name] for one in all_rounds) for name in all_rounds[0]}
    applied = [one["apply_ms"] for one in all_rounds if "apply_ms" in one]
    return {**found, "apply_mean_ms": mean(applied), "apply_most_ms": max(applied)} if applied else found


def catalogue(items: int) -> Iterator[list[Item]]:
    """Yield the items, in large chunks."""
    for start in range(0, items, CHUNK):
        numbers = range(start, min(start + CHUNK, items))
        yield [Item(item=f"i{number}", title=f"item {number}") for number in numbers]


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Call; return the ms of processor time that it took, and its result."""
    began = time.process_time()
    result = call()
    return MS * (time.process_time() - began), result


def stored_mb(folder: Path) -> float:
    """Return the size of the snapshot store in a folder, in MB."""
    return sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file()) / MB
