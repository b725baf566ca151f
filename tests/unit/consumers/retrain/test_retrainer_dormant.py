"""A user who stays away while a retrain is made and promoted finds everything again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.retraining.comparison import recommended
from pipeline.training.learner import Learner
from tests.support.model_harness import MINUTE, START, THINGS, ModelHarness
from tests.support.retrain_harness import PLAN, candidates, foreseen, make_retrainer, plan_by_hand

AWAY = "dora"
BEFORE = {AWAY: "red", "ann": "red", "bob": "blue", "cyd": "green", "dan": "blue", "eve": "green"}
AFTER = {"ann": "red", "bob": "green", "cyd": "blue", "dan": "green", "eve": "blue"}
"""The colour that each user likes; blue and green change places while one user is away."""
RECORDS_BEFORE, RECORDS_AFTER = 144, 250
WORSE_NATS = 0.1
"""Measured on three shops with and three without others of that taste: the mixture lost at most .005, the
model gained. (With a window of 60 acts and no others the model lost up to .5, the mixture .05.) What is lost
to champions that go on learning without the user, too, does not count."""


def shop(harness: ModelHarness, tastes: dict[str, str], begin: int, records: int) -> None:
    """Users in turn buy something of their colour, in long baskets."""
    random, users = np.random.default_rng(begin), list(tastes)
    for number in range(begin, begin + records):
        user = users[number % len(users)]
        item = f"{tastes[user]}-{THINGS[int(random.integers(len(THINGS)))]}"
        time, session = START + MINUTE * number, f"{user}-{number // 40}"
        harness.act(user, item, event_id=f"shop-{number}", time=time, session=session)


def share(learner: Learner, colour: str) -> tuple[float, float]:
    """What model and mixture give to a colour for the user's next act, in nats."""
    rows = [learner.stream.catalogue.row(f"{colour}-{thing}") for thing in THINGS]
    model, mixture = (math.log(float(said[rows].exp().sum())) for said in foreseen(learner, AWAY))
    return model, mixture


@pytest.mark.parametrize("others", ["with others of that taste", "with no others"])
def test_who_stays_away_is_known_as_well_after_a_promotion(harness: ModelHarness, others: str) -> None:
    tastes = (
        AFTER if others == "with others of that taste" else {u: c for u, c in AFTER.items() if c != "red"}
    )
    harness.stock()
    shop(harness, BEFORE, 0, RECORDS_BEFORE)
    shop(harness, tastes, RECORDS_BEFORE, RECORDS_AFTER)
    with harness.learning() as learning:
        learning.new(15)
        learning.checkpoint()
        learning.new()
    plan = plan_by_hand(harness, PLAN.replace(window_events=100))
    candidates(harness).begin(plan)
    decision = make_retrainer(harness).retrain(plan.name)
    assert decision.outcome == "promoted"  # and so the promotion is ordered
    with harness.learning() as learning:
        learning.recover()
        learning.turns(1)
        assert learning.position.generation == 2
        promoted, champion = learning.learner, harness.rebuilt(f"1-{learning.position.step}").learner
    assert promoted.stream.histories.of(AWAY) == champion.stream.histories.of(AWAY)
    assert len(promoted.stream.histories.of(AWAY)) == harness.settings.learn.stream.history_length
    for learner in (champion, promoted):
        shown = {learner.stream.catalogue.ids[row] for row in recommended(learner, [AWAY], len(THINGS))[0]}
        assert shown == {f"red-{thing}" for thing in THINGS}
    assert share(promoted, "red") != share(champion, "red"), "it was retrained"
    for now, before in zip(share(promoted, "red"), share(champion, "red"), strict=True):
        assert now > before - WORSE_NATS
