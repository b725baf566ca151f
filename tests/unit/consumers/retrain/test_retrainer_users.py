"""A retrain that adds attributes of users: after a champion that read none comes a model that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import ModelSizes, Settings
from pipeline.events import User, encode
from pipeline.retraining.candidates import Candidate
from tests.support.model_harness import ModelHarness, tiny_settings
from tests.support.retrain_harness import PLAN, candidates, make_retrainer, plan_by_hand
from tests.support.retrain_harness import state_of_candidate as state_of

COUNTRY = "user's country"
USERS = 120
"""Each of two acts, so that half of all acts are somebody's first."""


def reading(settings: Settings, *names: str) -> Settings:
    sizes = settings.learn.sizes.replace(user_attributes=names)
    return settings.model_copy(update={"learn": settings.learn.replace(sizes=sizes)})


def described(harness: ModelHarness, users: int, begin: int = 0) -> None:
    """Append users, each with a country, and two acts, of which the country tells the colour."""
    for number in range(begin, begin + users):
        user, german = f"new{number}", number % 2
        record = User(user=user, attributes={"country": "DE" if german else "FR"})
        harness.writer.append(harness.topics.users, user, encode(record))
        colour = "red" if german else "blue"
        for act, thing in enumerate(("cup", "plate")):
            harness.act(user, f"{colour}-{thing}", event_id=f"{user}-{act}")


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    """A model that was born without attributes, and whose settings declare one since."""
    plain = tiny_settings(tmp_path, backbone_folder)
    with ModelHarness(reading(plain, "country")) as made:
        made.stock()
        described(made, USERS)
        with made.learning(plain) as learning:
            learning.new(3)
            learning.checkpoint()
        with made.learning() as learning:
            learning.recover()
            learning.new(4)
            learning.checkpoint()
            learning.new()
            assert COUNTRY not in learning.learner.recommender.figures(), "a model keeps its sizes"
        yield made


def retrained(harness: ModelHarness, model: ModelSizes | None = None) -> Candidate:
    """A promoted candidate."""
    plan = plan_by_hand(harness, PLAN)
    candidate = candidates(harness).begin(plan.model_copy(update={"name": "one"}))
    decision = make_retrainer(harness, model=model).retrain("one")
    assert decision.outcome == "promoted", decision.reasons
    return candidate


def test_the_candidate_has_learned_what_attributes_say(harness: ModelHarness) -> None:
    learner, _ = state_of(harness, retrained(harness))
    assert learner.config.sizes.user_attributes == ("country",)
    assert learner.recommender.figures()[COUNTRY].length > 0
    assert len(learner.stream.profiles) == USERS


def test_without_it_in_the_settings_nothing_is_added(harness: ModelHarness) -> None:
    sizes = harness.settings.learn.sizes.replace(user_attributes=())
    learner, _ = state_of(harness, retrained(harness, sizes))
    assert COUNTRY not in learner.recommender.figures()


def test_it_is_adopted_learns_on_and_is_rebuilt_to_the_bit(harness: ModelHarness) -> None:
    retrained(harness)
    with harness.learning() as learning:
        learning.recover()
        generation = learning.position.generation
        learning.turns(1)
        assert learning.position.generation == generation + 1
        before = learning.learner.recommender.figures()[COUNTRY]
        described(harness, 20, begin=USERS)
        learning.new()
        assert learning.learner.recommender.figures()[COUNTRY] != before
        assert len(learning.learner.stream.profiles) == USERS + 20
        kept = learning.digest()
        learning.publish(harness.publisher())
    # Not from nothing, because the champion was born of other settings.
    assert harness.rebuilt(from_nothing=False).digest == kept
    with harness.learning() as second:
        second.recover()
        assert second.digest() == kept
