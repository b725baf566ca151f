"""What impressions say of an answer's items, and slates that are made by learned values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.serve.features import LATELY_MS
from consumers.serve.query import MS_PER_MINUTE, RecommendationQuery
from consumers.serve.ranking import Answer, recommend_all
from consumers.serve.service import RecommendationService
from consumers.serve.state.serving_state import View
from consumers.serve.state.shown import ShownItems
from consumers.serve.user_query import UserQuery
from pipeline.events import Impression, validate
from pipeline.model.backbone import Backbone
from pipeline.model.mixer import FEATURES
from pipeline.model.mixer import SCORERS as LOG_PROBABILITIES
from pipeline.policy.arms import GREEDY_ALONE, Arm, Arms
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import GREEDY, DeepQ, EpsilonGreedy, Thompson
from pipeline.policy.port import Policy
from pipeline.rules.compiled import Shaping, Shift
from pipeline.state.acted_items import item_digest
from pipeline.value.features import (
    EXPOSURE,
    ITEM,
    JOINT,
    OWN,
    SCORERS,
    USER_FACTS,
    directions,
    project_items,
    unpack,
)
from pipeline.value.port import Floats, Vectors
from tests.support.serve_harness import START, World

NOW = START + 10 * MS_PER_MINUTE
FIRST_SCORER = JOINT + OWN
MODEL, POPULARITY = SCORERS.index("model"), SCORERS.index("popularity")
FIRST_EXPOSURE = FIRST_SCORER + len(SCORERS)
EVERYTHING = RecommendationQuery(12)
Written = tuple[RecommendationService, list[Impression]]
"""A service, and the impressions that it has written so far."""


@dataclass(frozen=True)
class Planted:
    """Values that a test has chosen: the less the model thinks of an item, the more it is worth."""

    draws: int = 4
    noise: float = 0.0

    @property
    def normals(self) -> tuple[int, int]:
        return self.draws, 1

    @property
    def epsilon(self) -> float:
        return 0.0

    def values(self, state: Vectors, items: Vectors, normals: Floats) -> Floats:
        assert items.shape[1] == ITEM and normals.shape == (self.draws, 1)
        said = items[:, FIRST_SCORER + MODEL].astype(np.float64)
        return 9 - said[None] + self.noise * normals * np.arange(len(items))


@contextmanager
def writing(world: World, arms: Arms = GREEDY_ALONE, others: int = 0) -> Iterator[Written]:
    with world.server() as current:
        world.shown(current)
        written: list[Impression] = []
        service = RecommendationService(
            current,
            5,
            lambda fields: written.append(validate(Impression, fields)),
            lambda: NOW,
            shown=ShownItems(),
            arms=arms,
            writes_features=True,
            others=others,
        )
        yield service, written


def features(written: Impression) -> tuple[Vectors, Vectors]:
    assert written.features is not None
    return unpack(written.features, len(written.items))[:2]


def test_layout_names_features_of_the_mixer() -> None:
    assert {*SCORERS} < {*FEATURES}, "a feature that the mixer gets later is none of an older layout"
    assert SCORERS[: len(LOG_PROBABILITIES)] == LOG_PROBABILITIES
    assert len(USER_FACTS) + OWN == 13 and len(EXPOSURE) == 3


def test_an_impression_says_what_was_known(open_shop: World) -> None:
    with writing(open_shop) as (service, written):
        answer = service.for_user("ann", None, RecommendationQuery(12, explain=True))
        service.for_user("ann", None, EVERYTHING)
        view = service._current.view
    state, items = features(written[0])
    for row, shown in enumerate(answer.items):
        assert shown.explanation is not None
        said = items[row, FIRST_SCORER:FIRST_EXPOSURE].copy()
        said[: len(LOG_PROBABILITIES)] -= np.log(12)
        parts = np.array([shown.explanation.parts[name] for name in SCORERS])
        read = [FEATURES.index(name) for name in SCORERS]
        one_of_two = [said * weights for weights in open_shop.learner.mixer.weights[:, read].numpy()]
        assert any(np.allclose(one, parts, rtol=2e-2, atol=2e-2) for one in one_of_two)
    assert state[OWN:].tolist() == pytest.approx([np.log1p(8), np.log1p(8), state[OWN + 2], 0, 0], rel=1e-3)
    again, shown_again = features(written[1])
    assert again[OWN + 3] == pytest.approx(np.log1p(12), rel=1e-3), "all twelve were shown a moment ago"
    assert not items[:, FIRST_EXPOSURE : FIRST_EXPOSURE + 2].any()
    np.testing.assert_allclose(shown_again[:, FIRST_EXPOSURE], 1)
    np.testing.assert_allclose(shown_again[:, FIRST_EXPOSURE + 1], np.log1p(4), rtol=1e-3)  # four of a colour
    own = [item.startswith("red") for item in written[1].items]
    np.testing.assert_allclose(shown_again[:, -1], np.where(own, np.log1p(8), 0), rtol=1e-3)
    assert view is not None


@pytest.mark.parametrize("arms", [GREEDY_ALONE, Arms([Arm("control", EpsilonGreedy(2, 5, 0.5))])])
def test_an_impression_says_what_was_known_of_others(open_shop: World, arms: Arms) -> None:
    some, every = RecommendationQuery(5), RecommendationQuery(12)
    with writing(open_shop, arms, others=4) as (service, written):
        for _ in range(20):
            service.for_user("cleo", None, some)
        with open_shop.server() as current:
            view = open_shop.shown(current)
    (answer,) = recommend_all(view, [asked_of(open_shop, query=every)], 5, NOW)
    assert answer.features is not None and len(written) == 20
    known = answer.features.items(np.arange(12))[:, JOINT:FIRST_SCORER]
    named = set()
    for impression in written:
        assert impression.features is not None
        others = unpack(impression.features, 5).others
        assert others is not None and others.shape == (4, ITEM)
        distances = np.abs(others[:, None, JOINT:FIRST_SCORER] - known).max(axis=2)
        rows = set(distances.argmin(axis=1).tolist())
        assert distances.min(axis=1).max() < 0.01 and len(rows) == 4
        assert not rows & set(view.index.rows_of(impression.items).tolist())
        named |= rows
    assert len(named) >= 7, "all that were not shown are named now and then"


def test_others_are_the_same_for_the_same_impression(open_shop: World) -> None:
    view, drawing = view_of(open_shop), Exploration(GREEDY, "i", others=3)
    asked = asked_of(open_shop, query=RecommendationQuery(5))
    (first,), (again,) = (
        recommend_all(view, [replace(asked, exploration=drawing)], 5, NOW) for _ in range(2)
    )
    assert first.others.tolist() == again.others.tolist() and first.others.size == 3
    (fewer,) = recommend_all(
        view, [replace(asked_of(open_shop, query=RecommendationQuery(11)), exploration=drawing)], 5, NOW
    )
    assert fewer.others.size == 1
    (none,) = recommend_all(view, [asked], 5, NOW)
    assert none.others.size == 0


def test_projections_are_of_the_vectors_that_rank(open_shop: World) -> None:
    view = view_of(open_shop)
    (answer,) = recommend_all(view, [asked_of(open_shop)], 5, NOW)
    assert answer.features is not None and view.items is not None and view.snapshot is not None
    rows, basis = np.array(answer.rows), answer.features.basis
    assert basis is not None
    whole = view.snapshot.recommender.item_vectors(view.items.dense).detach().numpy()[rows]
    projected = project_items(directions(basis.user.numpy()), directions(whole))
    np.testing.assert_allclose(answer.features.items(rows)[:, :FIRST_SCORER], projected, atol=3e-3)


def test_an_unknown_user_has_popularity_alone(tmp_path: Path, backbone: Backbone) -> None:
    with World(tmp_path, backbone) as world:
        world.stock()
        world.act("ann", *["red-cup"] * 3, "blue-cup")
        world.learn()
        world.publish()
        with writing(world) as (service, written):
            service.for_user("nobody", None, EVERYTHING)
    state, items = features(written[0])
    assert state.tolist() == [0.0] * 12 + [1.0]
    popular = items[:, FIRST_SCORER + POPULARITY]
    assert popular[0] > popular[1] > popular[2]
    assert not np.delete(items, [FIRST_SCORER + POPULARITY, *range(JOINT, FIRST_SCORER)], axis=1).any()


def test_what_was_shown_fades(open_shop: World) -> None:
    shown = ShownItems()
    for minutes, item in ((0, "red-cup"), (20, "blue-cup"), (29, "red-cup")):
        shown.add(f"i{minutes}", "ann", [item], NOW - LATELY_MS + minutes * MS_PER_MINUTE)
    view = view_of(open_shop)
    lately = shown.since("ann", NOW - LATELY_MS)
    (answer,) = recommend_all(view, [replace(asked_of(open_shop), lately=lately)], 5, NOW)
    assert answer.features is not None
    rows = view.index.rows_of(["red-cup", "blue-cup", "green-cup"])
    said = answer.features.items(rows)[:, FIRST_EXPOSURE]
    np.testing.assert_allclose(said, [np.exp(-1 / 10), np.exp(-10 / 10), 0], rtol=1e-3)
    assert set(view.index.rows_with(np.array([item_digest("red-cup"), 7]))) == {rows[0]}


def view_of(world: World) -> View:
    with world.server() as current:
        return world.shown(current)


def asked_of(
    world: World, policy: Policy = GREEDY, impression: str = "i", query: RecommendationQuery = EVERYTHING
) -> UserQuery:
    history = world.learner.stream.histories.of("ann")
    return UserQuery(history, None, query, exploration=Exploration(policy, impression))


def valued(
    world: World, view: View, policy: Policy, model: Planted, impression: str = "i", nats: float = 0.0
) -> Answer:
    """Answer from a View by planted values, with a rule that gives one item so many nats."""
    assert view.snapshot is not None
    view = replace(view, snapshot=replace(view.snapshot, values={policy.name: model}))
    mask = np.zeros(len(view.index), dtype=np.bool_)
    mask[view.index.rows_of(["red-cup"])] = True
    shaping = Shaping(shifts=(Shift("rule", nats, mask),)) if nats else Shaping()
    asked = replace(asked_of(world, policy, impression), shaping=shaping)
    (answer,) = recommend_all(view, [asked], 5, NOW)
    return answer


def said_by_model(answer: Answer) -> NDArray[np.float32]:
    assert answer.features is not None
    said: NDArray[np.float32] = answer.features.items(np.array(answer.rows))[:, FIRST_SCORER + MODEL]
    return said


def test_a_policy_by_value_shows_the_most_valuable_first(open_shop: World) -> None:
    view = view_of(open_shop)
    answer = valued(open_shop, view, DeepQ(explored_places=12, pool=12, epsilon=0.0), Planted())
    assert (np.diff(said_by_model(answer)) >= 0).all()
    assert answer.slate.propensities == [1.0] * 12
    few = valued(open_shop, view, DeepQ(explored_places=2, pool=12, epsilon=0.0), Planted())
    assert few.rows[:2] == answer.rows[:2], "the drawn places are by value, the others by the mixture"
    greedy = valued(open_shop, view, GREEDY, Planted())
    assert few.rows[2:] == [row for row in greedy.rows if row not in few.rows[:2]]


def test_a_rule_stretches_values(open_shop: World) -> None:
    policy, view = DeepQ(explored_places=12, pool=12, epsilon=0.0), view_of(open_shop)
    answers = (valued(open_shop, view, policy, Planted(), nats=nats) for nats in (0.0, 3.0))
    place, raised = (answer.rows.index(0) for answer in answers)
    assert (place, raised) == (11, 0), "what the model likes most has the least planted value"


def test_samples_of_values_are_explored_with_their_share(open_shop: World) -> None:
    policy, view, firsts = Thompson(explored_places=1, pool=12, epsilon=0.0), view_of(open_shop), set()
    for number in range(30):
        answer = valued(open_shop, view, policy, Planted(draws=8, noise=1.0), f"i{number}")
        assert answer == valued(open_shop, view, policy, Planted(draws=8, noise=1.0), f"i{number}")
        assert 8 * answer.slate.propensities[0] == pytest.approx(round(8 * answer.slate.propensities[0]))
        firsts.add(answer.rows[0])
    assert len(firsts) > 1


def test_until_values_are_learned_the_mixture_ranks(open_shop: World) -> None:
    exploration = Exploration(Thompson(explored_places=12, pool=12, epsilon=0.0), "i")
    view, asked = view_of(open_shop), asked_of(open_shop)
    answers = recommend_all(view, [asked, replace(asked, exploration=exploration)], 5, NOW)
    assert answers[0].rows == answers[1].rows
    bold = replace(asked, exploration=Exploration(EpsilonGreedy(12, 12, 1.0), "i"))
    (other,) = recommend_all(view, [bold], 5, NOW)
    assert other.rows != answers[0].rows


def test_an_arm_by_value_is_logged_with_its_policy(open_shop: World) -> None:
    policy = Thompson(explored_places=3, pool=6, epsilon=0.5)
    with writing(open_shop, Arms([Arm("control", policy, {"greedy": GREEDY})])) as (service, written):
        for _ in range(5):
            service.for_user("ann", None, EVERYTHING)
    for one in written:
        assert (one.policy, one.policy_version, one.pool) == ("thompson", policy.version, 6)
        assert one.propensities is not None and 0.5 / 6 <= one.propensities[0] <= 0.5 + 0.5 / 6 + 1e-9
        assert one.features is not None
