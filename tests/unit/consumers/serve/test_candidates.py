"""Candidates: what is certain is what a ranking of all items has, and filters never starve an answer."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer, similar
from consumers.serve.state.serving_state import ServingState, View
from pipeline.config import RetrievalConfig
from pipeline.eventlog.port import Record
from pipeline.events import InteractionType
from pipeline.model.backbone import Backbone
from pipeline.rules.compiled import Shaping, Shift
from pipeline.state.histories import Act, Histories
from tests.support.answers import recommend
from tests.support.build import purchase
from tests.support.serve_harness import COLOURS, START, THINGS, World

ITEMS = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
EXACT = RetrievalConfig()
ALL = RetrievalConfig(exact_items=0)
FEW = RetrievalConfig(exact_items=0, best=3, covisited=1)
ONE = RetrievalConfig(exact_items=0, best=1, covisited=1)
"""Fewer than there are fresh rows, which are searched then."""
NOW = START + 10**9
CONTEXT = 5


@pytest.fixture(scope="module", params=[{}, {"picture": 5, "sound": 3}], ids=["texts", "and vectors"])
def records(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backbone: Backbone
) -> tuple[World, list[Record]]:
    with World(tmp_path_factory.mktemp("shop"), backbone, vectors=request.param) as world:
        world.open()
        world.shop(rounds=2)
        world.learn()
        world.publish()
        world.upsert("new", "red cup")
        world.act("bob", "new", "blue-cup", "nameless")
        records = [*world.records(world.topics.items), *world.records(world.topics.interactions)]
        return world, records


def view_of(records: tuple[World, list[Record]], retrieval: RetrievalConfig) -> View:
    """The View of a server with this configuration."""
    world, read = records
    snapshot = world.loader().load(world.store.versions()[-1])
    topics = world.topics.interactions, world.topics.items
    state = ServingState(snapshot, Histories(20), {}, topics, retrieval=retrieval)
    state.read(read)
    return state.view()


def asked(random: Random) -> tuple[tuple[Act, ...], RecommendationQuery]:
    """A random history and query."""
    kinds = [InteractionType.VIEW, InteractionType.PURCHASE, InteractionType.DISLIKE]
    events = [
        purchase("ann", random.choice([*ITEMS, "new"]), START + number * 60_000)
        for number in range(random.randrange(1, 6))
    ]
    history = tuple(Act.of(event)._replace(type=random.choice(kinds)) for event in events)
    query = RecommendationQuery(
        k=random.choice([1, 2, 5, 20]),
        exclude=frozenset(random.sample(ITEMS, random.randrange(4))),
        category=random.choice([None, None, *COLOURS]),
        exclude_seen=frozenset(random.sample([InteractionType.PURCHASE], random.randrange(2))),
        hide_disliked_ms=random.choice([0, NOW]),
        diversity=random.choice([0.0, 0.0, 0.4]),
        most_per_category=random.choice([None, None, 1]),
        only=random.choice([None, None, frozenset(random.sample(ITEMS, 3))]),
    )
    return history, query


def shown(view: View, answer: Answer) -> list[str]:
    return [view.index.ids[row] for row in answer.rows]


def test_with_all_items_as_candidates_answers_are_those_of_an_exact_server(
    records: tuple[World, list[Record]],
) -> None:
    exact, candidates = view_of(records, EXACT), view_of(records, ALL)
    assert exact.scans is None
    assert candidates.scans is not None
    for seed in range(60):
        history, query = asked(Random(seed))
        one, other = (recommend(view, history, None, query, CONTEXT, now=NOW) for view in (exact, candidates))
        assert shown(exact, one) == shown(candidates, other)
        assert one.scores == pytest.approx(other.scores, rel=1e-5)
        assert (one.source, one.reason) == (other.source, other.reason)
        assert other.is_exact


@pytest.mark.parametrize("few", [FEW, ONE], ids=["few", "one"])
def test_a_certain_answer_is_exact_and_none_is_starved(
    records: tuple[World, list[Record]], few: RetrievalConfig
) -> None:
    exact, candidates = view_of(records, EXACT), view_of(records, few)
    certain = []
    for seed in range(200):
        history, query = asked(Random(seed))
        one, other = (recommend(view, history, None, query, CONTEXT, now=NOW) for view in (exact, candidates))
        assert one.is_exact
        assert len(one.rows) == len(other.rows)
        if other.is_exact:
            assert shown(exact, one) == shown(candidates, other)
        certain.append(other.is_exact)
    assert 20 < np.sum(certain) < 200


def test_similar_items_and_explanations_are_found_among_candidates(
    records: tuple[World, list[Record]],
) -> None:
    exact, candidates = view_of(records, EXACT), view_of(records, ALL)
    for item in ("red-cup", "blue-lamp"):
        one, other = (
            similar(view, item, RecommendationQuery(5, explain=True), now=NOW) for view in (exact, candidates)
        )
        assert shown(exact, one) == shown(candidates, other)
        assert one.scores == pytest.approx(other.scores, rel=1e-5)
    history = tuple(Act.of(purchase("ann", item, START)) for item in ("red-cup", "red-lamp"))
    for acts in (history, ()):
        one, other = (
            recommend(view, acts, None, RecommendationQuery(4, explain=True), CONTEXT, now=NOW)
            for view in (exact, candidates)
        )
        assert one.explanations
        assert other.explanations
        for left, right in zip(one.explanations, other.explanations, strict=True):
            assert left.companion == right.companion
            assert (left.because and left.because.act) == (right.because and right.because.act)
            assert sum(right.parts.values()) == pytest.approx(right.logit, abs=1e-4)


def test_a_boost_reaches_what_is_no_candidate(records: tuple[World, list[Record]]) -> None:
    view, random = view_of(records, FEW), Random(3)
    history = asked(random)[0]
    query = RecommendationQuery(k=2)
    plain = recommend(view, history, None, query, CONTEXT, now=NOW).rows
    for row in range(len(view.index)):
        mask = np.zeros(len(view.index), dtype=np.bool_)
        mask[row] = True
        boosted = Shaping(shifts=(Shift("lift", 50.0, mask),))
        found = recommend(view, history, None, query, CONTEXT, shaping=boosted, now=NOW).rows
        assert found[0] == row, "it was no candidate" if row not in plain else ""
