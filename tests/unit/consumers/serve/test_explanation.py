"""Explanations add up, and name acts without which the items are lower."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from consumers.serve.explanation import Explanation
from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer, similar
from consumers.serve.state.serving_state import View
from pipeline.events import InteractionType
from pipeline.state.histories import Act, History
from tests.support.answers import recommend
from tests.support.serve_harness import COLOURS, START, THINGS, World

CONTEXT, NOW = 5, 1_790_000_000_000
EVERYTHING = RecommendationQuery(k=20, explain=True)
T = InteractionType
ANSWERS = 1_000


def ask(view: View, history: History, query: RecommendationQuery = EVERYTHING) -> Answer:
    return recommend(view, history, None, query, CONTEXT, now=NOW)


def explained(view: View, answer: Answer) -> dict[str, Explanation]:
    assert answer.explanations is not None
    ids = [view.index.ids[row] for row in answer.rows]
    return dict(zip(ids, answer.explanations, strict=True))


def scores(view: View, answer: Answer) -> dict[str, float]:
    return dict(zip((view.index.ids[row] for row in answer.rows), answer.scores, strict=True))


def without(history: History, item: str) -> History:
    return tuple(act for act in history if act.item != item)


def random_histories(count: int) -> Sequence[History]:
    """Histories of acts of all types, with repeats, sessions and items that nobody knows."""
    draw = random.Random(11)
    kinds, items = list(T), [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
    return [
        tuple(
            Act(
                draw.choice([*items, "unheard-of"]),
                draw.choice([T.VIEW, T.PURCHASE, *kinds]),
                START + place * draw.choice([1_000, 5_000_000]),
                draw.choice([None, 1.0, 5.0]),
                draw.choice([None, "s1", "s2"]),
            )
            for place in range(draw.randint(0, 12))
        )
        for _ in range(count)
    ]


def test_parts_sum_to_logits_and_logits_to_scores(world: World) -> None:
    world.open()
    with world.server() as current:
        world.act("dan", *["red-lamp", "blue-plate"] * 3)
        view = world.shown(current)
    sources = set()
    for history in random_histories(ANSWERS):
        answer = ask(view, history)
        sources.add(answer.source)
        found = list(explained(view, answer).values())
        for one in found:
            assert math.fsum(one.parts.values()) == pytest.approx(one.logit, abs=1e-4)
        for (one, score), (other, lower) in pairwise(zip(found, answer.scores, strict=True)):
            assert one.logit - other.logit == pytest.approx(math.log(score / lower), abs=1e-4)
    assert sources == {"model", "popular"}


def test_without_the_named_act_an_item_is_lower_by_what_was_said(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
    named = 0
    for history in random_histories(40):
        answer = ask(view, history)
        before = scores(view, answer)
        for item, one in explained(view, answer).items():
            if one.because is None:
                continue
            named += 1
            rest = ask(view, without(history, one.because.act.item))
            after = scores(view, rest)
            assert after[item] < before[item]
            assert after[item] == pytest.approx(one.because.score, rel=1e-4)
            higher = sum(score > after[item] * (1 + 1e-6) for score in after.values())
            assert one.because.place == pytest.approx(1 + higher, abs=1)
    assert named > 100


def test_the_named_act_lowers_more_than_any_other(world: World) -> None:
    world.open()
    with world.server() as current:
        view, history = world.shown(current), current.for_user("ann")[1]
    for item, one in explained(view, ask(view, history)).items():
        after = {act.item: scores(view, ask(view, without(history, act.item)))[item] for act in history}
        lowest = min(after, key=after.__getitem__)
        if one.because is not None:
            assert one.because.act.item == lowest
            assert one.because.act == [act for act in history if act.item == lowest][-1]


def test_a_companion_was_bought_with_the_item(world: World) -> None:
    world.open()
    world.act("ann", "green-lamp")
    with world.server() as current:
        view = world.shown(current)
        history = current.for_user("ann")[1]
    found = explained(view, ask(view, history))
    assert found["green-cup"].companion == "green-lamp"  # cyd buys green things
    before = explained(view, ask(view, history[:-1]))  # ann had bought red things
    assert before["red-cup"].companion in {act.item for act in history[:-1]}


def test_a_rejection_is_a_part(world: World) -> None:
    world.open()
    with world.server() as current:
        world.act("ann", "green-lamp", kind=T.DISLIKE)
        world.act("new", "green-lamp", kind=T.DISLIKE)
        view = world.shown(current)
        answers = [ask(view, current.for_user(user)[1]) for user in ("ann", "new")]
    assert [answer.source for answer in answers] == ["model", "popular"]
    for answer in answers:
        parts = {item: one.parts["rejected"] for item, one in explained(view, answer).items()}
        assert parts.pop("green-lamp") < -1
        assert not any(parts.values())


def test_the_only_item_of_a_history_is_named_where_it_counts(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
    history = (Act("red-cup", T.PURCHASE, START),)
    answer = ask(view, history)
    popular = scores(view, ask(view, ()))
    for item, one in explained(view, answer).items():
        lower = popular[item] < scores(view, answer)[item]
        assert (one.because is not None) == lower
        if one.because is not None:
            assert one.because.act == history[0]
            assert one.because.score == pytest.approx(popular[item])


def test_similar_items_are_explained_by_their_cosine(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
    answer = similar(view, "red-cup", EVERYTHING, now=NOW)
    found = list(explained(view, answer).values())
    assert [one.parts for one in found] == [{"cosine": score} for score in answer.scores]
    assert np.allclose([one.logit for one in found], answer.scores)


def test_nothing_is_explained_unasked(world: World) -> None:
    world.open()
    with world.server() as current:
        view = world.shown(current)
        history = current.for_user("ann")[1]
    unasked = RecommendationQuery(k=20)
    for answer in (
        ask(view, history, unasked),
        ask(view, (), unasked),
        similar(view, "red-cup", unasked, now=NOW),
    ):
        assert answer.explanations is None
    plain, full = ask(view, history, unasked), ask(view, history)
    assert (plain.rows, plain.scores) == (full.rows, full.scores)
