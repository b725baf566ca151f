"""What business rules cost a request, beside the same requests without any.

    python -m benchmarks.rules --items 10000 --rules 100

Teaches a learner the simulated shop, serves its snapshot twice in this process, with and without rules,
and asks both for the same users in turn, so that whatever else the machine does meets both. Also measures
how long the rules take to compile after a change of the catalogue, which requests do not wait for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from consumers.serve.query import RecommendationQuery
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import ServingState
from consumers.serve.state.steering import Steering
from pipeline.assembly import make_learner
from pipeline.checkpoints.capture import update_of
from pipeline.config import Settings, load_settings
from pipeline.datasets import open_dataset
from pipeline.eventlog.port import Record
from pipeline.events import Attributes, Item, User, encode
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.rules.rule import Rule, build_rule, encode_rule
from pipeline.snapshots.layer_list import store_whole
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner

BATCH = 256
BRANDS, TIERS, PAGES = 40, ("gold", "silver", "none"), ("home", "basket", "item")
NOW = 1_790_000_000_000
POSITION = Position(1, 1, "", 0, {}, through=0, control=0, fold_to={})
MS = 1_000


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 2_000,
    rules: Annotated[int, typer.Option(help="Rules of one side.")] = 100,
    requests: Annotated[int, typer.Option(help="Requests of each side.")] = 2_000,
    events: Annotated[int, typer.Option(help="Interactions to learn first.")] = 2_000,
) -> None:
    """Ask both sides in turn, and print latencies in ms."""
    settings, console = load_settings(), Console()
    learner = make_learner(settings)
    for batch in micro_batches(
        open_dataset(f"shop:items={items},arrivals=0,events={events}").events(), BATCH
    ):
        learner.score_and_learn(batch)
    snapshot, made = load(learner, settings), list(islice(_rules(learner), rules))
    states = [state_of(snapshot, learner, own) for own in ((), made)]
    context = settings.learn.segments.context
    services = [RecommendationService(current, context, clock=lambda: NOW) for current, _ in states]
    latencies = _latencies(services, sorted(learner.stream.histories.users()), requests)
    _print(console, latencies, rules, len(snapshot.rows))
    compiled = _compile_ms(states[1][1], _catalogue(learner))
    console.print(f"compiled in {compiled:.1f} ms after a change of one item")


def load(learner: Learner, settings: Settings) -> LoadedSnapshot:
    """Load the learner's snapshot as a server does, through a store in memory."""
    made, store = (
        update_of(learner, "rules", POSITION, {}, "benchmark"),
        SnapshotStore("memory://rules", "rules"),
    )
    store_whole(made, store)
    loader = SnapshotLoader(store, load_backbone(settings.model.backbone), settings.model)
    return loader.load(Version.parse(made.manifest.version))


def state_of(
    snapshot: LoadedSnapshot, learner: Learner, rules: Sequence[Rule]
) -> tuple[CurrentState, ServingState]:
    """Make the state of a server that has read catalogue, users and rules."""
    steering, current = Steering("users", "rules"), CurrentState()
    histories = learner.stream.histories
    state = ServingState(snapshot, histories, {}, ("interactions", "items"), steering=steering)
    state.read(_records("items", ((item.item, encode(item)) for item in _catalogue(learner))))
    state.read(_records("rules", ((rule.name, encode_rule(rule)) for rule in rules)))
    state.read(
        _records(
            "users",
            (
                (user, encode(User(user=user, attributes={"tier": TIERS[number % 3], "age": number % 80})))
                for number, user in enumerate(histories.users())
            ),
        )
    )
    current.replace(state.view(), histories, {}, {}, steering)
    return current, state


def _records(topic: str, keyed: Iterable[tuple[str, bytes]]) -> Iterator[Record]:
    return (Record(topic, 0, offset, 0, key, value) for offset, (key, value) in enumerate(keyed))


def _catalogue(learner: Learner) -> Iterator[Item]:
    """Yield the items with attributes."""
    for number, entry in enumerate(learner.stream.catalogue.entries):
        if entry is not None:
            attributes: Attributes = {
                "brand": f"b{number * 7 % BRANDS}",
                "price": number * 13 % 1_000 / 10,
                "stock": number * 11 % 50,
                "tags": (f"t{number % 9}", f"t{number % 5}"),
            }
            yield entry.model_copy(update={"attributes": attributes})


def _rules(learner: Learner) -> Iterator[Rule]:
    """Yield rules of every action for ever, half of them with conditions on user, request and time."""
    ids, number = learner.stream.catalogue.ids, 0
    while True:
        brand = {"attributes": [{"name": "brand", "equals": f"b{number % BRANDS}"}]}
        cheap = {
            "attributes": [{"name": "price", "at_most": number % 20}, {"name": "tags", "any_of": ["t3"]}]
        }
        actions: list[dict[str, Any]] = [
            {"action": "leave_out", "items": {"attributes": [{"name": "stock", "equals": number % 50}]}},
            {"action": "boost", "nats": 0.3, "items": brand},
            {"action": "bury", "nats": 0.5, "items": cheap},
            {"action": "boost", "nats": 0.2, "items": cheap},
            {"action": "pin", "item": ids[number * 37 % len(ids)], "place": 1 + number % 10},
            {"action": "cap", "most": 2 + number % 3, "attribute": "brand"},
        ]
        when: dict[str, Any] = {
            "user": [{"name": "tier", "any_of": [TIERS[number % 3]]}],
            "request": [{"name": "page", "equals": PAGES[number % 3]}],
            "starts": NOW - 1,
        }
        conditional = {"when": when} if number % 2 else {}
        yield build_rule({"name": f"r{number}", **actions[number % len(actions)], **conditional})
        number += 1


def _latencies(
    services: Sequence[RecommendationService], users: Sequence[str], requests: int
) -> list[list[float]]:
    """Ask every side for the same users; each goes first as often as the others."""
    latencies: list[list[float]] = [[] for _ in services]
    for number in range(requests):
        query = RecommendationQuery(20, context=(("page", PAGES[number % 3]),))
        for side in np.roll(range(len(services)), number).tolist():
            began = time.perf_counter()
            services[side].for_user(users[number % len(users)], None, query)
            latencies[side].append(MS * (time.perf_counter() - began))
    return latencies


def _compile_ms(state: ServingState, catalogue: Iterator[Item]) -> float:
    """Time what a server does until its rules know of an item that was changed."""
    item = next(catalogue).model_copy(update={"attributes": {"brand": "b1", "price": 1.0}})
    state.read(_records("items", [(item.item, encode(item))]))
    began = time.perf_counter()
    state.view()
    return MS * (time.perf_counter() - began)


def _print(console: Console, latencies: Sequence[Sequence[float]], rules: int, items: int) -> None:
    table = Table("rules", "p50 ms", "p95 ms", "p99 ms", title=f"{items:,} items, 20 shown")
    figures = [np.percentile(side, (50, 95, 99)) for side in latencies]
    for name, own in zip((0, rules), figures, strict=True):
        table.add_row(str(name), *(f"{value:.2f}" for value in own))
    table.add_row("more", *(f"{100 * value:+.0f} %" for value in figures[1] / figures[0] - 1))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
