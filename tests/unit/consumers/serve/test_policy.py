"""Answers that are recorded are made by the policy, and state the propensities of what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import recommend_all
from consumers.serve.schemas import AnonymousAct, RankingRequest, Recommendations
from consumers.serve.service import RecommendationService
from consumers.serve.user_query import UserQuery
from pipeline.events import Impression, validate
from pipeline.metrics import Series, value_of
from pipeline.policy.arms import CONTROL, Arm, Arms
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import GREEDY, PlackettLuce
from pipeline.rules.compiled import Shaping
from pipeline.rules.rule import Rule, encode_rule
from pipeline.rules.slate import Cap
from tests.support.rules import rule
from tests.support.serve_harness import COLOURS, World
from tests.unit.consumers.serve import test_candidates as candidates

NOW = 1_700_000_900_000
WARM = PlackettLuce(explored_places=3, pool=6, epsilon=0.2, temperature=2.0)
WARM_ALONE = Arms([Arm(CONTROL, WARM, {"greedy": GREEDY, "same": WARM})])
EVERYTHING = RecommendationQuery(12)


class Explored:
    """A service with a policy, and the impressions that it has submitted."""

    def __init__(self, service: RecommendationService, greedy: RecommendationService) -> None:
        self.service, self.greedy = service, greedy
        self.impressions: list[Impression] = []

    def ask(
        self, query: RecommendationQuery = EVERYTHING, user: str = "ann"
    ) -> tuple[Recommendations, Impression]:
        answer = self.service.for_user(user, None, query)
        return answer, self.impressions[-1]


@contextmanager
def exploring(world: World, arms: Arms = WARM_ALONE) -> Iterator[Explored]:
    with world.server() as current:
        world.shown(current)
        submitted: list[Impression] = []
        service = RecommendationService(
            current,
            5,
            lambda fields: submitted.append(validate(Impression, fields)),
            lambda: NOW,
            arms=arms,
        )
        explored = Explored(service, RecommendationService(current, 5, clock=lambda: NOW))
        explored.impressions = submitted
        yield explored


@pytest.fixture(scope="module")
def explored(open_shop: World) -> Iterator[Explored]:
    with exploring(open_shop) as made:
        yield made


def items(answer: Recommendations) -> list[str]:
    return [shown.item for shown in answer.items]


def logits(explored: Explored, query: RecommendationQuery = EVERYTHING) -> dict[str, float]:
    """Logs of the scores of the greedy answer; they differ from logits by a constant."""
    return {
        shown.item: float(np.log(shown.score)) for shown in explored.greedy.for_user("ann", None, query).items
    }


def share(scored: dict[str, float], item: str, left: list[str], policy: PlackettLuce = WARM) -> float:
    """What the docs say of an item's probability among those left."""
    weights = {one: np.exp(scored[one] / policy.temperature) for one in left}
    return float((1 - policy.epsilon) * weights[item] / sum(weights.values()) + policy.epsilon / len(left))


def test_an_impression_states_what_the_policy_did(explored: Explored) -> None:
    scored = logits(explored)
    best = [*scored]
    for _ in range(20):
        answer, impression = explored.ask()
        assert (impression.policy, impression.policy_version) == (WARM.name, WARM.version)
        assert impression.pool == 6
        assert list(impression.items) == items(answer)
        assert list(impression.scores) == [shown.score for shown in answer.items]
        left = best[:6]
        assert impression.propensities is not None
        for item, propensity in zip(impression.items[:3], impression.propensities[:3], strict=True):
            assert propensity == pytest.approx(share(scored, item, left), rel=1e-4)
            left.remove(item)
        assert impression.propensities[3:] == (1.0,) * 9
        assert list(impression.items[3:]) == [item for item in best if item not in impression.items[:3]]


def test_answers_differ_and_one_of_the_same_id_does_not(explored: Explored) -> None:
    answers = [explored.ask(RecommendationQuery(3))[0] for _ in range(20)]
    assert len({tuple(items(answer)) for answer in answers}) > 5
    for answer in answers[:5]:
        again = explored.service.for_user("ann", None, RecommendationQuery(3), answer.impression)
        assert again == answer


def test_what_is_not_recorded_is_greedy(explored: Explored) -> None:
    history = [AnonymousAct.model_validate({"item": item}) for item in ("red-cup", "red-plate")]
    of_history, of_item = zip(
        *(
            (service.for_history(history, None, EVERYTHING), service.similar_to("red-cup", EVERYTHING))
            for service in (explored.service, explored.greedy)
        ),
        strict=True,
    )
    assert of_history[0] == of_history[1] and of_item[0] == of_item[1]
    asked = explored.service.answer_for("ann", None, EVERYTHING)
    assert asked.items == [*logits(explored)]


def test_popular_items_are_explored_too(explored: Explored) -> None:
    lists = {tuple(explored.ask(RecommendationQuery(3), "nobody")[1].items) for _ in range(20)}
    assert len(lists) > 5


def test_ranked_actions_are_explored_among_themselves(explored: Explored) -> None:
    actions = ["red-cup", "blue-cup", "green-cup"]
    firsts: Counter[str] = Counter()
    for _ in range(200):  # the least likely first one is drawn in one of 15; none of 200 in one of a million
        ranking = explored.service.rank(RankingRequest(user="ann", actions=actions, shown=3))
        assert sorted(action.item for action in ranking.ranking) == sorted(actions)
        firsts[ranking.ranking[0].item] += 1
        assert explored.impressions[-1].pool == 3
        assert explored.impressions[-1].propensities[2] == 1.0  # type: ignore[index]
    assert len(firsts) == 3


def test_one_candidate_is_certain_and_none_is_no_impression(explored: Explored) -> None:
    _, impression = explored.ask(RecommendationQuery(5, only=frozenset({"red-cup"})))
    assert (impression.items, impression.propensities, impression.pool) == (("red-cup",), (1.0,), 1)
    before = len(explored.impressions)
    nothing = explored.service.for_user("ann", None, RecommendationQuery(5, only=frozenset({"nowhere"})))
    assert (nothing.items, nothing.impression, len(explored.impressions)) == ([], None, before)


def test_a_category_that_is_full_is_out_of_the_draw(explored: Explored) -> None:
    scored, query = logits(explored), RecommendationQuery(3, most_per_category=1)
    pool = [*scored][:6]
    for _ in range(20):
        _, impression = explored.ask(query)
        left, colours = [*pool], {*COLOURS}
        assert impression.propensities is not None
        for item, propensity in zip(impression.items, impression.propensities, strict=True):
            expected = share(scored, item, left) if left else 1.0
            assert propensity == pytest.approx(expected, rel=1e-4)
            colours.remove(item.split("-")[0])
            left = [one for one in left if one.split("-")[0] in colours]


def test_a_diverse_order_is_drawn_by_the_logits_of_its_places(explored: Explored) -> None:
    query = RecommendationQuery(12, diversity=0.6)
    falling = [*logits(explored).values()]
    order = items(explored.greedy.for_user("ann", None, query))
    scored = dict(zip(order, falling, strict=True))
    assert order != [*logits(explored)]
    for _ in range(10):
        _, impression = explored.ask(query)
        left = order[:6]
        assert impression.propensities is not None
        for item, propensity in zip(impression.items[:3], impression.propensities[:3], strict=True):
            assert propensity == pytest.approx(share(scored, item, left), rel=1e-4)
            left.remove(item)
        assert list(impression.items[3:]) == [item for item in order if item not in impression.items[:3]]


def put(world: World, *rules: Rule) -> None:
    with world.log.writer() as writer:
        for one in rules:
            writer.append(world.topics.rules, one.name, encode_rule(one))
        writer.flush()


def test_pins_filters_and_boosts_come_before_the_draw(world: World) -> None:
    world.open()
    put(
        world,
        rule("first", "pin", item="green-lamp", place=2),
        rule("out", "leave_out", items={"ids": ["red-cup"]}),
        rule("more", "boost", nats=1.5, items={"ids": ["blue-cup"]}),
    )
    with exploring(world) as explored:
        scored = logits(explored, RecommendationQuery(11))
        pool = sorted((item for item in scored if item != "green-lamp"), key=lambda item: -scored[item])[:6]
        for _ in range(10):
            _, impression = explored.ask()
            assert impression.items[1] == "green-lamp" and "red-cup" not in impression.items
            assert impression.propensities is not None and impression.propensities[1] == 1.0
            left = [*pool]
            for place in (0, 2, 3):
                expected = share(scored, impression.items[place], left)
                assert impression.propensities[place] == pytest.approx(expected, rel=1e-4)
                left.remove(impression.items[place])
            assert set(impression.propensities[4:]) == {1.0}


def test_an_impression_states_what_shadows_would_have_done(explored: Explored) -> None:
    best = [*logits(explored)]
    for _ in range(10):
        _, impression = explored.ask()
        assert (impression.experiment, impression.arm) == (None, None)
        assert impression.shadows["same"] == impression.propensities
        assert (0 in impression.shadows["greedy"]) == (list(impression.items) != best)


def test_an_impression_names_the_arm_of_its_user(open_shop: World) -> None:
    arms = Arms([Arm(CONTROL, GREEDY, share=0.5), Arm("warm", WARM, share=0.5)], "warmer")
    with exploring(open_shop, arms) as explored:
        for number in range(20):
            _, impression = explored.ask(user=f"stranger {number}")
            arm = arms.of(f"stranger {number}")
            assert (impression.experiment, impression.arm) == ("warmer", arm.name)
            assert impression.policy == arm.policy.name
        assert {impression.arm for impression in explored.impressions} == {CONTROL, "warm"}


def test_an_explanation_says_what_chance_did(explored: Explored, exposed: Callable[[], Series]) -> None:
    def counts() -> np.ndarray[Any, Any]:
        series = exposed()
        return np.array(
            [
                value_of(series, "millstream_shown_items_total", policy=WARM.name, choice=choice)
                for choice in ("explored", "best")
            ]
        )

    before, best, chance = counts(), [*logits(explored)], 0
    for _ in range(10):
        answer, impression = explored.ask(RecommendationQuery(4, explain=True))
        for place, shown in enumerate(answer.items):
            left = [item for item in best if item not in impression.items[:place]]
            assert shown.explanation is not None and impression.propensities is not None
            assert shown.explanation.explored == (shown.item != left[0])
            assert shown.explanation.propensity == impression.propensities[place]
            chance += shown.explanation.explored
    assert chance > 5
    assert (counts() - before).tolist() == [chance, 40 - chance]
    greedy = explored.greedy.for_user("ann", None, RecommendationQuery(4, explain=True))
    assert {
        (one.explanation.propensity, one.explanation.explored) for one in greedy.items if one.explanation
    } == {(1.0, False)}


records = candidates.records


def test_a_certain_answer_of_candidates_is_drawn_from_the_true_pool(records: Any) -> None:
    exact, few = candidates.view_of(records, candidates.EXACT), candidates.view_of(records, candidates.FEW)
    certain, policy = 0, PlackettLuce(explored_places=3, pool=3, epsilon=0.1, temperature=1.0)
    for seed in range(150):
        history, query = candidates.asked(Random(seed))
        asked = UserQuery(history, None, query, exploration=Exploration(policy, f"i{seed}"))
        (one,), (other,) = (recommend_all(view, [asked], 5, candidates.NOW) for view in (exact, few))
        assert one.is_exact and len(one.rows) == len(other.rows)
        if other.is_exact:
            certain += 1
            assert one.rows == other.rows
            assert one.slate.propensities == pytest.approx(other.slate.propensities, rel=1e-4)
    assert 20 < certain < 150


def test_what_is_drawn_from_does_not_depend_on_the_draw(records: Any) -> None:
    """Within caps a drawn list may be too short where that of the best is not, and the other way round."""
    view, policy = candidates.view_of(records, candidates.FEW), PlackettLuce(3, 10, 0.5, 5.0)
    lengths = []
    for seed in (0, 2, 8, 10):
        random = np.random.default_rng(seed)
        history, _ = candidates.asked(Random(seed))
        query = RecommendationQuery(6, frozenset(random.choice(candidates.ITEMS, 2, replace=False).tolist()))
        masks = random.random((3, len(view.index))) < 0.7
        shaping = Shaping(caps=tuple(Cap("cap", 1, view.index.columns.of(None), mask) for mask in masks))
        asked = UserQuery(history, None, query, shaping=shaping)
        explored = [replace(asked, exploration=Exploration(policy, f"{seed}-{n}")) for n in range(20)]
        found = recommend_all(view, explored, 5, candidates.NOW)
        assert len({answer.slate.drawn.pool for answer in found}) == 1
        lengths.append({len(answer.rows) for answer in found})
    assert {5, 6} in lengths, "lengths do depend on the draw"


def test_another_policy_is_used_from_the_next_answer_on(open_shop: World) -> None:
    with exploring(open_shop) as explored:
        assert explored.ask()[1].policy_version == WARM.version
        cold = replace(WARM, temperature=0.5)
        explored.service.use(Arms([Arm(CONTROL, cold, {"greedy": GREEDY})]))
        answer, impression = explored.ask()
        assert impression.policy_version == cold.version
        assert set(impression.shadows) == {"greedy"}
        left = [*logits(explored)][:6]
        assert impression.propensities is not None
        expected = share(logits(explored), items(answer)[0], left, cold)
        assert impression.propensities[0] == pytest.approx(expected, rel=1e-4)
