"""Business rules at the server: no answer ever breaks one, and impressions say what they followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.serve.http.app import create_app
from consumers.serve.query import RecommendationQuery, facts_of
from consumers.serve.ranking import similar
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import ServingState, View
from consumers.serve.state.steering import Steering
from pipeline import metrics
from pipeline.config import RetrievalConfig
from pipeline.eventlog.port import Record
from pipeline.events import Impression, Item, User, encode, validate
from pipeline.events import InteractionType as T
from pipeline.metrics import exposition
from pipeline.model.backbone import Backbone
from pipeline.rules.compiled import RequestFacts, is_in_force
from pipeline.rules.conditions import Condition, key_of, parts_of
from pipeline.rules.rule import (
    CapRule,
    ItemMatch,
    KeepRule,
    LeaveOutRule,
    PinRule,
    Rule,
    build_rule,
    encode_rule,
)
from pipeline.state.histories import Act, Histories, History
from tests.support.answers import recommend
from tests.support.rules import conditions, rule, values
from tests.support.serve_harness import COLOURS, THINGS, World
from tests.support.serve_tools import wait_until

NOW = 1_790_000_000_000
CONTEXT = 5
ITEMS = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS] + ["new-1", "new-2"]
RETRIEVALS = (
    RetrievalConfig(),
    RetrievalConfig(exact_items=0),
    RetrievalConfig(exact_items=0, best=1, covisited=1),
)
TIMES = st.none() | st.sampled_from([NOW - 1, NOW, NOW + 1])
SOME = st.sampled_from


class Served(NamedTuple):
    """Two snapshots of a shop, and the history of a user."""

    snapshots: tuple[LoadedSnapshot, LoadedSnapshot]
    history: History


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[Served]:
    with World(tmp_path_factory.mktemp("shop"), backbone) as world:
        world.open()
        world.shop(rounds=1)
        world.learn()
        world.publish()
        first, second = (world.loader().load(version) for version in world.store.versions())
        yield Served((first, second), world.learner.stream.histories.of("ann"))


windows = st.fixed_dictionaries(
    {},
    optional={
        "starts": SOME([NOW - 5, NOW, NOW + 1]),
        "user": st.lists(conditions("tier"), max_size=1),
        "request": st.lists(conditions("page"), max_size=1),
    },
)
matches = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(SOME(ITEMS), min_size=1, max_size=4),
        "categories": st.lists(SOME(COLOURS), min_size=1, max_size=2),
        "attributes": st.lists(conditions("brand", "size"), min_size=1, max_size=2),
    },
)
filters = st.fixed_dictionaries(
    {"action": SOME(["keep", "leave_out"]), "items": matches.filter(bool)},
    optional={"enabled": st.booleans()},
)
shifts = st.fixed_dictionaries(
    {"action": SOME(["boost", "bury"]), "items": matches.filter(bool), "nats": SOME([0.1, 2.0, 20.0])}
)
pins = st.fixed_dictionaries(
    {"action": st.just("pin"), "item": SOME([*ITEMS[:3], "nowhere"]), "place": SOME([1, 2, 9])},
    optional={"items": matches, "priority": SOME([-1, 1])},
)
caps = st.fixed_dictionaries(
    {"action": st.just("cap"), "most": SOME([1, 2])},
    optional={"attribute": SOME(["brand", "size"]), "items": matches},
)


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule]:
    kinds: list[tuple[st.SearchStrategy[Any], int]] = [(filters, 2), (shifts, 2), (pins, 4), (caps, 2)]
    drawn = [draw(kind) for kind, most in kinds for _ in range(draw(st.integers(0, most)))]
    return [
        build_rule({"name": f"r{number}", **fields, "when": draw(st.just({}) | windows)})
        for number, fields in enumerate(drawn)
    ]


attributes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"brand": SOME(["red", "blue"]) | values}, optional={"size": values}
)


@st.composite
def catalogues(draw: st.DrawFn) -> list[Item]:
    upserted = [item for item in ITEMS if draw(st.booleans() | st.just(True))]
    return [
        Item(
            item=item,
            title=item.replace("-", " "),
            category=draw(SOME([None, *COLOURS])),
            available=draw(st.just(True) | st.booleans()),
            expires=draw(st.none() | TIMES),
            attributes=draw(attributes),
        )
        for item in upserted
    ]


queries = st.builds(
    RecommendationQuery,
    k=SOME([1, 3, 5, 20]),
    exclude=st.frozensets(SOME(ITEMS), max_size=3),
    category=st.none() | SOME(COLOURS),
    exclude_seen=st.frozensets(SOME([T.PURCHASE, T.VIEW, T.DISLIKE])),
    hide_disliked_ms=SOME([0, NOW]),
    diversity=SOME([0.0, 0.3, 1.0]),
    most_per_category=SOME([None, 1, 2]),
    context=st.just(()) | st.tuples(st.tuples(st.just("page"), SOME(["red", "1"]))),
)


def records(topic: str, keyed: Iterable[tuple[str, bytes | None]]) -> list[Record]:
    return [Record(topic, 0, offset, 0, key, value) for offset, (key, value) in enumerate(keyed)]


def state_of(
    snapshot: LoadedSnapshot | None,
    catalogue: Iterable[Item],
    rules: Iterable[Rule],
    retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008 (frozen)
) -> ServingState:
    steering = Steering("users", "rules")
    state = ServingState(
        snapshot, Histories(20), {}, ("acts", "items"), steering=steering, retrieval=retrieval
    )
    state.read(records("items", ((item.item, encode(item)) for item in catalogue)))
    state.read(records("rules", ((rule.name, encode_rule(rule)) for rule in rules)))
    return state


def matching(match: ItemMatch, item: Item | None, name: str) -> bool:
    """Whether an item matches, worked out one item at a time."""
    return (
        (not match.ids or name in match.ids)
        and (not match.categories or (item is not None and item.category in match.categories))
        and all(condition.holds(item.attributes if item else {}) for condition in match.attributes)
    )


class Oracle:
    """What an answer must look like, from rules and items as they are."""

    def __init__(self, view: View, rules: Iterable[Rule], facts: RequestFacts) -> None:
        self.view = view
        self.rules = [rule for rule in rules if rule.enabled and is_in_force(rule.when, facts)]

    def matches(self, rule: Rule, row: int) -> bool:
        return matching(rule.items, self.view.index.entries[row], self.view.index.ids[row])

    def allowed(self, row: int) -> bool:
        """Whether every filter lets an item through."""
        return all(
            self.matches(rule, row) == isinstance(rule, KeepRule)
            for rule in self.rules
            if isinstance(rule, KeepRule | LeaveOutRule)
        )

    def within_caps(self, rows: Iterable[int]) -> bool:
        return all(self._within(rule, rows) for rule in self.rules if isinstance(rule, CapRule))

    def _within(self, rule: CapRule, rows: Iterable[int]) -> bool:
        counts: Counter[Any] = Counter()
        for row in rows:
            item = self.view.index.entries[row]
            if item is not None and self.matches(rule, row):
                value = item.category if rule.attribute is None else item.attributes.get(rule.attribute)
                counts.update(set(map(key_of, parts_of(value))))
        return max(counts.values(), default=0) <= rule.most

    def pins(self, eligible: Mapping[int, bool], k: int) -> dict[int, int]:
        """The pinned row of each place."""
        pins = [rule for rule in self.rules if isinstance(rule, PinRule) and rule.place <= k]
        placed: dict[int, int] = {}
        for pin in sorted(pins, key=lambda pin: (-pin.priority, pin.name)):
            row = self.view.index.row(pin.item)
            if row is None or not eligible[row] or not self.matches(pin, row):
                continue
            is_free = pin.place not in placed and row not in placed.values()
            if is_free and self.within_caps([*placed.values(), row]):
                placed[pin.place] = row
        return placed


@settings(max_examples=150)
@given(st.data(), catalogues(), rule_sets(), queries, SOME(["user", "new", "similar"]), st.booleans())
def test_no_answer_breaks_a_rule(
    served: Served,
    data: st.DataObject,
    catalogue: list[Item],
    rules: list[Rule],
    query: RecommendationQuery,
    kind: str,
    begins_with_snapshot: bool,
) -> None:
    """Before and after a snapshot is swapped in, and after the rules and the catalogue have changed."""
    retrieval = data.draw(SOME(RETRIEVALS))
    state = state_of(served.snapshots[0] if begins_with_snapshot else None, catalogue, rules, retrieval)
    check(served, state.view(), rules, query, kind)
    state.replace_snapshot(served.snapshots[1])
    check(served, state.view(), rules, query, kind)
    later = data.draw(rule_sets())
    gone = [(rule.name, None) for rule in rules]
    state.read(records("rules", [*gone, *((rule.name, encode_rule(rule)) for rule in later)]))
    state.read(records("items", ((item.item, encode(item)) for item in data.draw(catalogues()))))
    check(served, state.view(), later, query, kind)


def check(served: Served, view: View, rules: list[Rule], query: RecommendationQuery, kind: str) -> None:
    """Ask, and compare with the oracle."""
    of_kind = "similar" if kind == "similar" else "user"
    facts = RequestFacts(NOW, facts_of(query, of_kind), {"tier": "red"})  # type: ignore[arg-type]
    shaping, index = view.rules.shaping(facts), view.index
    history = (*served.history, Act("blue-cup", T.DISLIKE, NOW - 1)) if kind == "user" else ()
    if kind == "similar":
        if index.row("red-cup") is None:
            return
        answer = similar(view, "red-cup", query, shaping, now=NOW)
    else:
        answer = recommend(view, history, None, query, CONTEXT, shaping=shaping, now=NOW)
    by_request = (
        [] if query.most_per_category is None else [rule("request", "cap", most=query.most_per_category)]
    )
    oracle = Oracle(view, [*rules, *by_request], facts)
    left_out = {*query.exclude, *(act.item for act in history if act.type in query.exclude_seen)}
    left_out |= {"blue-cup"} if history and query.hide_disliked_ms else set()
    left_out |= {"red-cup"} if kind == "similar" else set()
    available = index.available_at(NOW, np.arange(len(index)))
    eligible = {
        row: bool(available[row])
        and index.ids[row] not in left_out
        and (query.category is None or (entry is not None and entry.category == query.category))
        and oracle.allowed(row)
        for row, entry in enumerate(index.entries)
    }
    rows = answer.rows
    assert all(eligible[row] for row in rows)
    assert len(set(rows)) == len(rows) <= query.k
    assert oracle.within_caps(rows)
    placed = oracle.pins(eligible, query.k)
    assert set(placed.values()) <= set(rows)
    assert all(rows[place - 1] == row for place, row in placed.items() if place <= len(rows))
    if len(rows) < query.k:
        waiting = [row for row, is_eligible in eligible.items() if is_eligible and row not in rows]
        assert not any(oracle.within_caps([*rows, row]) for row in waiting), "no shorter than it must be"
    free = [score for row, score in zip(rows, answer.scores, strict=True) if row not in placed.values()]
    if kind != "similar" and not query.diversity:
        assert free == sorted(free, reverse=True)


def test_a_filter_wins_over_a_pin_and_the_higher_priority_over_the_lower(served: Served) -> None:
    catalogue = [Item(item=item, title=item, category=item.partition("-")[0]) for item in ITEMS[:12]]
    rules = [
        rule("a", "pin", item="red-cup", place=1),
        rule("b", "pin", item="blue-cup", place=1, priority=1),
        rule("c", "pin", item="green-cup", place=1, priority=2),
        rule("d", "leave_out", items={"categories": ["green"]}),
    ]
    view = state_of(served.snapshots[0], catalogue, rules).view()
    shaping = view.rules.shaping(RequestFacts(NOW))
    answer = recommend(view, (), None, RecommendationQuery(3), CONTEXT, shaping=shaping, now=NOW)
    assert view.index.ids[answer.rows[0]] == "blue-cup"
    assert answer.slate.pinned == {answer.rows[0]: "b"}


def test_a_boost_is_so_many_nats(served: Served) -> None:
    catalogue = [Item(item=item, title=item) for item in ITEMS[:12]]
    scores = []
    for rules in ([], [rule("more", "boost", nats=0.5, items={"ids": ["red-cup"]})]):
        view = state_of(served.snapshots[0], catalogue, rules).view()
        shaping = view.rules.shaping(RequestFacts(NOW))
        answer = recommend(
            view, served.history, None, RecommendationQuery(20), CONTEXT, shaping=shaping, now=NOW
        )
        by_item = dict(zip((view.index.ids[row] for row in answer.rows), answer.scores, strict=True))
        scores.append(by_item["red-cup"] / by_item["blue-lamp"])
    assert scores[1] / scores[0] == pytest.approx(2.718281828**0.5)


@contextmanager
def client(
    world: World, submitted: list[Impression] | None = None
) -> Iterator[tuple[TestClient, CurrentState]]:
    with world.server() as current:
        world.shown(current)
        submit = None
        if submitted is not None:
            submit = lambda fields: submitted.append(validate(Impression, fields))  # noqa: E731
        service = RecommendationService(current, CONTEXT, submit, clock=lambda: NOW)
        yield TestClient(create_app(service, world.settings.serve)), current


def put(world: World, *rules: Rule) -> None:
    with world.log.writer() as writer:
        for one in rules:
            writer.append(world.topics.rules, one.name, encode_rule(one))
        writer.flush()


def remove(world: World, name: str) -> None:
    with world.log.writer() as writer:
        writer.append(world.topics.rules, name, None)
        writer.flush()


def ids(answer: Any) -> list[str]:
    return [shown["item"] for shown in answer.json()["items"]]


FOR_ANN = "/v1/users/ann/recommendations?k=4"


def test_rules_come_and_go_while_the_server_runs(world: World) -> None:
    world.open()
    with client(world) as (http, current):
        before = ids(http.get(FOR_ANN))
        put(
            world,
            rule("first", "pin", item="green-lamp", place=1),
            rule("no-red", "leave_out", items={"categories": ["red"]}, when={"request": PAGE_HOME}),
        )
        world.shown(current)
        assert ids(http.get(FOR_ANN))[0] == "green-lamp"
        at_home = ids(http.get(f"{FOR_ANN}&context=page=home&context=device=phone"))
        assert at_home[0] == "green-lamp" and not any(item.startswith("red") for item in at_home)
        remove(world, "first")
        remove(world, "no-red")
        world.shown(current)
        assert ids(http.get(f"{FOR_ANN}&context=page=home")) == before


PAGE_HOME = [{"name": "page", "equals": "home"}]


def test_every_kind_of_query_obeys(world: World) -> None:
    world.open()
    put(world, rule("blue", "keep", items={"categories": ["blue"]}))
    with client(world) as (http, _):
        history = {"history": [{"item": "red-cup"}]}
        answers = [
            http.get(FOR_ANN),
            http.get("/v1/users/nobody/recommendations"),
            http.post("/v1/recommendations", json=history),
            http.get("/v1/items/red-cup/similar"),
        ]
        for answer in answers:
            assert ids(answer) and all(item.startswith("blue") for item in ids(answer))


def test_a_condition_may_ask_for_the_user_and_the_kind_of_query(world: World) -> None:
    world.open()
    gold = {"user": [{"name": "tier", "equals": "gold"}], "request": [{"name": "query", "equals": "user"}]}
    put(world, rule("gold", "pin", item="green-lamp", place=1, when=gold))
    with world.log.writer() as writer:
        writer.append(world.topics.users, "ann", encode(User(user="ann", attributes={"tier": ("gold", "x")})))
        writer.append(world.topics.users, "bob", b"not JSON")
        writer.flush()
    with client(world) as (http, current):
        assert ids(http.get(FOR_ANN))[0] == "green-lamp"
        assert ids(http.get("/v1/users/bob/recommendations"))[0] != "green-lamp"
        assert ids(http.get("/v1/items/red-cup/similar"))[0] != "green-lamp"
        with world.log.writer() as writer:
            writer.append(world.topics.users, "ann", None)
            writer.flush()
        world.shown(current)
        assert ids(http.get(FOR_ANN))[0] != "green-lamp"


def test_rules_survive_a_swap_and_a_damaged_neighbour(world: World) -> None:
    world.open()
    put(world, rule("blue", "keep", items={"categories": ["blue"]}))
    with world.log.writer() as writer:
        writer.append(world.topics.rules, "bad", b'{"v": 2, "kind": "rule", "action": "drop table"}')
        writer.flush()
    with client(world) as (http, current):
        world.shop(rounds=1)
        world.learn()
        world.publish()
        world.shown(current)
        assert all(item.startswith("blue") for item in ids(http.get(FOR_ANN)))


def test_an_explained_answer_names_its_rules(world: World) -> None:
    world.open()
    put(
        world,
        rule("more", "boost", nats=1.5, items={"ids": ["green-lamp", "green-cup"]}),
        rule("less", "bury", nats=0.5, items={"ids": ["green-lamp"]}),
        rule("first", "pin", item="green-lamp", place=1),
    )
    with client(world) as (http, _):
        assert {shown["rules"] for shown in http.get(FOR_ANN).json()["items"]} == {None}
        lamp, *others = http.get(f"{FOR_ANN}&explain=true").json()["items"]
        assert {touch["rule"]: touch["nats"] for touch in lamp["rules"]} == {
            "more": 1.5,
            "less": -0.5,
            "first": 0,
        }
        assert lamp["explanation"]["parts"]["rules"] == 1.0
        for shown in (lamp, *others):
            explanation = shown["explanation"]
            assert sum(explanation["parts"].values()) == pytest.approx(explanation["logit"], abs=1e-4)


def test_applications_are_counted_and_a_removed_rule_is_forgotten(world: World) -> None:
    world.open()
    put(
        world,
        rule("counted-pin", "pin", item="green-lamp", place=1),
        rule("counted-cap", "cap", most=1),
        rule("idle-pin", "pin", item="nowhere", place=1),
        rule("idle-cap", "cap", most=1_000),
    )
    with client(world) as (http, current):
        http.get(FOR_ANN)
        http.get(FOR_ANN)

        def count(name: str) -> float:
            return float(metrics.RULE_APPLICATIONS.labels(name)._value.get())

        counts = {name: count(name) for name in ("counted-pin", "counted-cap", "idle-pin", "idle-cap")}
        assert counts == {"counted-pin": 2, "counted-cap": 2, "idle-pin": 0, "idle-cap": 0}
        remove(world, "counted-pin")
        world.shown(current)
        wait_until(lambda: b"counted-pin" not in exposition()[0])


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ("page", "a name, = and a value"),
        ("=home", "a name, = and a value"),
        ("k=5", "k is what the request itself says"),
        ("page=home&context=page=basket", "has a name twice"),
        (
            f"page={'x' * 100}&" + "&".join(f"context=a{n}={'x' * 100}" for n in range(4)),
            "is longer than 400",
        ),
        ("&".join(f"context=a{n}=x" for n in range(9))[8:], "at most 8"),
        (f"page={'x' * 124}", "at most 128"),
    ],
)
def test_a_context_that_cannot_be_read_is_refused(open_shop: World, context: str, reason: str) -> None:
    with client(open_shop) as (http, _):
        answer = http.get(f"{FOR_ANN}&context={context}")
        assert answer.status_code == 422
        assert reason in answer.json()["detail"]


def test_an_impression_says_what_rules_its_answer_followed(world: World) -> None:
    world.open()
    submitted: list[Impression] = []
    with client(world, submitted) as (http, current):
        http.get(FOR_ANN)
        put(world, rule("first", "pin", item="green-lamp", place=1))
        world.shown(current)
        http.get(f"{FOR_ANN}&context=page=home")
    first, second = submitted
    assert "rules" not in first.context and "said" not in first.context
    assert second.context["said"] == '[["page","home"]]'
    assert len(str(second.context["rules"])) == 16
    assert second.offsets["shop.rules/0"] == 1


def test_conditions_of_a_condition_are_data() -> None:
    assert Condition(name="x", equals="__import__('os')").holds({"x": 1}) is False
