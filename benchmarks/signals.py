"""Measure what a negative act does to its item: its rank for the user and for strangers, before and after.

The production learner is warmed up on a prefix of the simulated shop or of MovieLens. In each of the batches
that follow, users reject items: in the shop they dislike, skip, rate with 1 or return one of their purchases;
on MovieLens the act is one of the recorded ratings of 2 or less. The item is ranked among all that a server
may show:
- at once: by a server that has read the batch up to the act, before and after it reads the act;
- learned: by servers of two learners that learned the batch with the act and without it, so that what else
  was learned meanwhile is in both ranks.
What learning moves by itself is seen in another item: the one that was `BEHIND` places behind the rejected
one without the act, for the same user.

An item with t equals has the middle of their t + 1 ranks. One at the last rank cannot fall, and is shown
apart. The column "likeliest" has the largest change of the item's probability.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import BATCH, batches_of, copy_of, new_learner
from consumers.serve.query import RecommendationQuery
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import ServingState
from pipeline.checkpoints.capture import update_of
from pipeline.cli.terminal import ReportOption
from pipeline.config import LogConfig, ModelConfig
from pipeline.datasets import open_dataset
from pipeline.eventlog import open_log
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, encode
from pipeline.journal.position import Position
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.histories import Act, History
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.answers import recommend

SHOP = "shop:seed={seed},events={events}"
SHOP_KINDS = InteractionType.DISLIKE, InteractionType.SKIP, InteractionType.RATING, InteractionType.RETURN
LOW = 2.0
"""The highest rating on MovieLens that is a negative act."""
SHOWN, RECENT = 50, 10
"""Items of an answer that a user may reject, and latest acts of which one may be a purchase to return."""
MOST = 4
"""Cases in a batch of MovieLens."""
STRANGERS = 4
"""Other users with a history that are asked about, besides a user without one."""
BEHIND = 5
NOBODY = "nobody"
PREFIX = "benchmark"
TOPICS = Topics(PREFIX)
WHO, WHEN = ("user", "stranger", "newcomer"), ("at once", "learned")


class Case(NamedTuple):
    """A negative act at a place in a batch, and the users whose ranks of its item are compared."""

    kind: str
    act: Interaction
    place: int
    strangers: Sequence[str]


class Question(NamedTuple):
    """A user, and the items to rank for this user."""

    who: str
    user: str
    item: str
    unrelated: str


class Rank(NamedTuple):
    """Rank of an item among `of`, from 1, and its probability."""

    rank: float
    share: float
    of: int


class Change(NamedTuple):
    """Ranks of an item without and with the negative act, and those of an unrelated item."""

    kind: str
    who: str
    when: str
    before: Rank
    after: Rank
    unrelated: tuple[Rank, Rank]

    @property
    def is_worse(self) -> bool:
        """Whether the item is ranked behind where it was."""
        return self.after.rank > self.before.rank

    @property
    def is_better(self) -> bool:
        """Whether the item is ranked before where it was."""
        return self.after.rank < self.before.rank

    @property
    def gain(self) -> float:
        """Change of the item's probability, as a share of it."""
        return self.after.share / self.before.share - 1

    @property
    def was_last(self) -> bool:
        """Whether no item was behind it."""
        return self.before.rank == self.before.of


Choose = Callable[["Server", Learner, MicroBatch, np.random.Generator], list[Case]]
"""Chooses the cases of a batch, given server and learner before it."""


@dataclass(frozen=True)
class Source:
    """A stream in batches, the catalogue first, with cases in every `every`-th one after a prefix."""

    batches: Sequence[MicroBatch]
    warm_up: int
    every: int
    choose: Choose

    def has_cases(self, number: int) -> bool:
        """Whether the batch of this number has cases."""
        return number > self.warm_up and (number - self.warm_up) % self.every == 0


class Server:
    """Answers as a server does that has loaded a learner's snapshot and then reads some acts."""

    def __init__(self, snapshot: LoadedSnapshot, learner: Learner) -> None:
        self._learner = learner
        self._histories = learner.stream.histories.copy()
        topics = TOPICS.interactions, TOPICS.items
        self._state = ServingState(snapshot, self._histories, {}, topics)
        entries = [entry for entry in learner.stream.catalogue.entries if entry is not None]
        self._state.read(Record(TOPICS.items, 0, 0, 0, entry.item, encode(entry)) for entry in entries)
        self._offset = 0
        self.read([])

    def read(self, events: Iterable[Interaction]) -> None:
        """Read acts."""
        for event in events:
            record = Record(TOPICS.interactions, 0, self._offset, event.time, event.user, encode(event))
            self._state.read([record])
            self._offset += 1
        self.view = self._state.view()
        for user, history in self._state.updated_histories.items():
            self._histories.put(user, history)

    def history(self, user: str) -> History:
        """Return the acts of a user."""
        return self._histories.of(user)

    def shown(self, user: str, k: int) -> list[str]:
        """Return the items of an answer."""
        rows, _ = self._answer(user, k)
        return [self.view.index.ids[row] for row in rows]

    def behind(self, user: str, item: str) -> str:
        """Return the item that is `BEHIND` places behind an item; near the last, one before it."""
        ranked = self.shown(user, len(self.view.index))
        at = ranked.index(item)
        return ranked[at + BEHIND if at + BEHIND < len(ranked) else at - BEHIND]

    def rank(self, user: str, item: str) -> Rank:
        """Rank an item for a user."""
        rows, shares = self._answer(user, len(self.view.index))
        own = shares[rows == self.view.index.row(item)].item()
        ties = int((shares == own).sum()) - 1
        return Rank(1 + int((shares > own).sum()) + ties / 2, own, rows.size)

    def _answer(self, user: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        context = self._learner.config.segments.context
        answer = recommend(self.view, self.history(user), None, RecommendationQuery(k=k), context, now=0)
        return np.array(answer.rows), np.array(answer.scores)


class Bench:
    """A snapshot store and a log in a folder."""

    def __init__(self, folder: Path, backbone: Backbone, model: ModelConfig) -> None:
        store = SnapshotStore(str(folder / "store"), PREFIX)
        self._log = open_log(f"sqlite:///{folder}/log.db")
        TOPICS.create(self._log, *LogConfig().topic_sizes)
        self._writer = self._log.writer()
        self._publisher = Publisher(store, self._writer, TOPICS, keep=1)
        self._loader = SnapshotLoader(store, backbone, model)
        self._step = 0

    def close(self) -> None:
        """Close the log."""
        self._writer.close()
        self._log.close()

    def load(self, learner: Learner) -> LoadedSnapshot:
        """Publish a learner's snapshot, and load it as a server does."""
        self._step += 1
        position = Position(self._step, 1, "", 0, {}, through=0, control=0, fold_to={})
        update = update_of(learner, PREFIX, position, {}, "benchmark")
        manifest = self._publisher.publish(Publication(update, {}, [], []))
        return self._loader.load(Version.parse(manifest.version))


def main(
    movielens: Annotated[Path | None, typer.Option(help="Folder of MovieLens, instead of the shop.")] = None,
    batches: Annotated[int, typer.Option(help="Batches with cases.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the shop, and of the choice of cases.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Compare the ranks of rejected items, on one thread; four cases a batch, some seconds each."""
    learner = new_learner(cache)
    source = movielens_source(movielens, batches) if movielens else shop_source(seed, batches)
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), load_backbone(), ModelConfig())
        with closing(bench):
            changes = list(compare(bench, learner, source, np.random.default_rng(seed)))
    if report:
        report.write_text(json.dumps([change._asdict() for change in changes], indent=1) + "\n")
    show(changes)


def shop_source(seed: int, batches: int, warm_up: int = 80) -> Source:
    """The simulated shop; `warm_up` and `batches` in batches."""
    shop = open_dataset(SHOP.format(seed=seed, events=(warm_up + batches) * BATCH))
    return Source(batches_of(shop.events()), warm_up, 1, shop_cases)


def movielens_source(folder: Path, batches: int) -> Source:
    """MovieLens by time; the cases are in evenly spaced batches of the second half."""
    stream = batches_of(open_dataset(str(folder)).events())
    warm_up = len(stream) // 2
    return Source(stream, warm_up, max(1, (len(stream) - warm_up) // batches), low_ratings)


def compare(bench: Bench, learner: Learner, source: Source, random: np.random.Generator) -> Iterator[Change]:
    """Learn a stream; yield the changes of ranks by every case on the way."""
    for number, batch in track(list(enumerate(source.batches))):
        if source.has_cases(number):
            server = partial(Server, bench.load(learner), learner)
            for case in source.choose(server(), learner, batch, random):
                yield from changes_by(bench, server, learner, batch, case)
        learner.score_and_learn(batch)


def changes_by(
    bench: Bench, server: Callable[[], Server], learner: Learner, batch: MicroBatch, case: Case
) -> Iterator[Change]:
    """Yield the changes that a negative act makes: at once, and when its batch was learned.

    `server` makes servers of the learner as it is before the batch.
    """
    others = [event for event in batch.interactions if event.event_id != case.act.event_id]
    earlier, later = others[: case.place], others[case.place :]
    early = server()
    early.read(earlier)
    asked = _asked(case, early)
    before = _ranks(early, asked)
    early.read([case.act])
    yield from _changes(case, "at once", asked, before, _ranks(early, asked))
    without, with_act = (
        Server(bench.load(other), other)
        for other in (
            _learned(learner, batch, events) for events in ([*earlier, *later], [*earlier, case.act, *later])
        )
    )
    asked = _asked(case, without)
    yield from _changes(case, "learned", asked, _ranks(without, asked), _ranks(with_act, asked))


def _learned(learner: Learner, batch: MicroBatch, events: Sequence[Interaction]) -> Learner:
    """Return a copy of a learner that has learned a batch with other interactions."""
    other = copy_of(learner)
    other.score_and_learn(replace(batch, interactions=events))
    return other


def _asked(case: Case, without: Server) -> list[Question]:
    """Whose ranks are compared, given a server without the act."""
    item = case.act.item
    asked = [("user", case.act.user), *(("stranger", user) for user in case.strangers), ("newcomer", NOBODY)]
    return [Question(who, user, item, without.behind(user, item)) for who, user in asked]


def _ranks(server: Server, asked: Sequence[Question]) -> list[tuple[Rank, Rank]]:
    """Rank the item and the unrelated one of each question."""
    return [(server.rank(one.user, one.item), server.rank(one.user, one.unrelated)) for one in asked]


def _changes(
    case: Case,
    when: str,
    asked: Sequence[Question],
    without: Sequence[tuple[Rank, Rank]],
    with_act: Sequence[tuple[Rank, Rank]],
) -> Iterator[Change]:
    for one, (before, unrelated), (after, moved) in zip(asked, without, with_act, strict=True):
        yield Change(case.kind, one.who, when, before, after, (unrelated, moved))


def shop_cases(
    server: Server, learner: Learner, batch: MicroBatch, random: np.random.Generator
) -> list[Case]:
    """One case of each kind, at random places, by users with a history."""
    cases = list[Case]()
    users = sorted(learner.stream.histories.users())
    for kind in SHOP_KINDS:
        user = users[random.integers(len(users))]
        place = int(random.integers(len(batch.interactions)))
        item = _to_reject(kind, server, user, random)
        later = batch.interactions[place:]
        if item is not None and not any(event.user == user and event.item == item for event in later):
            act = _negative(kind, user, item, later[0].time, f"{kind}-{batch.step}")
            cases.append(Case(kind, act, place, _strangers(users, user, random)))
    return cases


def _to_reject(kind: InteractionType, server: Server, user: str, random: np.random.Generator) -> str | None:
    """Draw a purchase to return, or an item of an answer; None if the user has bought nothing lately."""
    if kind is not InteractionType.RETURN:
        return str(random.choice(server.shown(user, SHOWN)))
    bought = [act.item for act in server.history(user)[-RECENT:] if act.type is InteractionType.PURCHASE]
    return str(random.choice(bought)) if bought else None


def _negative(kind: InteractionType, user: str, item: str, time: int, event_id: str) -> Interaction:
    value = 1.0 if kind is InteractionType.RATING else None
    return Interaction(event_id=event_id, user=user, item=item, type=kind, time=time, value=value)


def low_ratings(
    server: Server, learner: Learner, batch: MicroBatch, random: np.random.Generator
) -> list[Case]:
    """Draw recorded low ratings by users who have acted positively before."""
    users = sorted(learner.stream.histories.users())
    found = [
        Case(f"rating {event.value}", event, place, _strangers(users, event.user, random))
        for place, event in enumerate(batch.interactions)
        if event.value is not None and event.value <= LOW and _has_liked(learner, batch, place)
    ]
    return [found[index] for index in random.permutation(len(found))[:MOST]]


def _has_liked(learner: Learner, batch: MicroBatch, place: int) -> bool:
    user = batch.interactions[place].user
    earlier = [Act.of(event) for event in batch.interactions[:place] if event.user == user]
    acts = [*learner.stream.histories.of(user), *earlier]
    return any(learner.stream.signals.weight(act) > 0 for act in acts)


def _strangers(users: Sequence[str], user: str, random: np.random.Generator) -> list[str]:
    others = [other for other in users if other != user]
    return [others[index] for index in random.permutation(len(others))[:STRANGERS]]


def show(changes: Sequence[Change]) -> None:
    """Print the shares of cases in which the item fell, stayed and rose."""
    shares = "worse", "same", "last", "better", "unrelated better"
    table = Table("act", "who", "when", "cases", *shares, "likeliest", "median rank", "after")
    kinds = list(dict.fromkeys(change.kind for change in changes))
    for kind in [*kinds, "all"]:
        for who in WHO:
            for when in WHEN:
                chosen = [
                    change
                    for change in changes
                    if kind in (change.kind, "all") and (change.who, change.when) == (who, when)
                ]
                table.add_row(kind, who, when, *_cells(chosen))
    Console(width=160).print(table)


def _cells(changes: Sequence[Change]) -> list[str]:
    n = len(changes)
    worse = sum(change.is_worse for change in changes)
    better = sum(change.is_better for change in changes)
    last = sum(change.was_last and not change.is_worse and not change.is_better for change in changes)
    unrelated = sum(change.unrelated[1].rank < change.unrelated[0].rank for change in changes)
    counts = worse, n - worse - better - last, last, better, unrelated
    return [
        str(n),
        *(f"{100 * count / max(n, 1):.1f} %" for count in counts),
        f"{max((change.gain for change in changes), default=0):+.2%}",
        f"{median(change.before.rank for change in changes):.1f}" if n else "-",
        f"{median(change.after.rank for change in changes):.1f}" if n else "-",
    ]


if __name__ == "__main__":
    typer.run(main)
