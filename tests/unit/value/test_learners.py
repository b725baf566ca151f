"""Learners as one: what cannot be learned is counted and changes nothing; names keep states apart."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.config import DqnConfig, TransitionConfig, ValueConfig
from pipeline.value.learners import Skipped, make_learner, make_models
from pipeline.value.port import Decision
from tests.support.decisions import changed, decision, equal, random_decisions

DQN = DqnConfig(width=8, warm_up=8, replay=TransitionConfig(decisions=64, batch=8))
BOTH = ValueConfig(learners=("thompson", "dqn"), least_decisions=0, dqn=DQN)
RANDOM = np.random.default_rng(0)
GOOD = random_decisions(8, np.random.default_rng(1))


def broken(**changes: object) -> Decision:
    return Decision(**{**vars(GOOD[0]), **changes})


def with_value(name: str, value: float) -> Decision:
    array = np.array(getattr(GOOD[0], name))
    array.flat[-1] = value
    return broken(**{name: array})


BAD = {
    "no items": (broken(items=np.zeros((0, 4), np.float32), rewards=np.zeros(0)), Skipped.MISSHAPEN),
    "other features": (broken(items=np.zeros((5, 3), np.float32)), Skipped.MISSHAPEN),
    "other state": (broken(state=np.zeros(2, np.float32)), Skipped.MISSHAPEN),
    "too few rewards": (broken(rewards=np.zeros(4)), Skipped.MISSHAPEN),
    "other others": (broken(others=np.zeros((2, 3), np.float32)), Skipped.MISSHAPEN),
    "NaN reward": (with_value("rewards", np.nan), Skipped.OUT_OF_RANGE),
    "endless reward": (with_value("rewards", np.inf), Skipped.OUT_OF_RANGE),
    "NaN feature": (with_value("items", np.nan), Skipped.OUT_OF_RANGE),
    "huge feature": (with_value("items", 1e7), Skipped.OUT_OF_RANGE),
    "endless state": (with_value("state", -np.inf), Skipped.OUT_OF_RANGE),
    "NaN of another": (with_value("others", np.nan), Skipped.OUT_OF_RANGE),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_learned_is_counted_and_changes_nothing(bad: Decision, reason: Skipped) -> None:
    clean, disturbed = make_learner(BOTH, 3, 4), make_learner(BOTH, 3, 4)
    clean.learn(GOOD, np.random.default_rng(7))
    disturbed.learn([*GOOD[:4], bad, *GOOD[4:]], np.random.default_rng(7))
    assert equal(disturbed.state(), clean.state())
    assert disturbed.skipped == {reason: 1}


def test_a_flood_of_one_user_is_bounded() -> None:
    learner = make_learner(BOTH.replace(decisions_of_user=3), 1, 2)
    own = [decision(np.ones((1, 2)), np.ones(1), user=user) for user in (1, 1, 2, 1, 1, 1)]
    learner.learn(own, RANDOM)
    assert learner.skipped == {Skipped.FLOOD: 2}
    learner.learn(own[:1], RANDOM)
    assert learner.skipped == {Skipped.FLOOD: 2}


def test_without_learners_nothing_is_learned() -> None:
    learner = make_learner(ValueConfig(), 3, 4)
    learner.learn(GOOD, RANDOM)
    assert learner.state() == learner.model() == {}
    assert make_models(learner.model(), 3, 4) == {}


def test_models_go_by_the_names_of_their_learners() -> None:
    learner = make_learner(BOTH, 3, 4)
    learner.learn(GOOD, RANDOM)
    models = make_models(learner.model(), 3, 4)
    assert list(models) == list(BOTH.learners)
    for model in models.values():
        assert model.values(GOOD[0].state, GOOD[0].items, np.zeros(model.normals)).shape == (
            model.normals[0],
            len(GOOD[0].items),
        )
        assert 0 <= model.epsilon <= 1


def test_a_killed_learner_goes_on_to_the_bit() -> None:
    decisions = random_decisions(120, np.random.default_rng(2))
    unbroken, killed, restored = (make_learner(BOTH, 3, 4) for _ in range(3))
    for learner in (unbroken, killed):
        learner.learn(decisions[:80], np.random.default_rng(3))
    restored.load(killed.state())
    for learner in (unbroken, restored):
        learner.learn(decisions[80:], np.random.default_rng(4))
    assert equal(restored.state(), unbroken.state())
    assert equal(restored.model(), unbroken.model())


def test_values_are_published_once_enough_was_learned() -> None:
    learner = make_learner(BOTH.replace(least_decisions=12), 3, 4)
    learner.learn(GOOD, RANDOM)
    assert learner.model() == {}
    restored = make_learner(BOTH.replace(least_decisions=12), 3, 4)
    restored.load(learner.state())
    restored.learn(GOOD[:4], RANDOM)
    assert make_models(restored.model(), 3, 4).keys() == {"thompson", "dqn"}


def test_a_learner_without_a_state_of_its_settings_begins_new(caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint outlives a change of `[value]`: what still fits goes on, and nothing else is lost."""
    learner = make_learner(BOTH, 3, 4)
    learner.learn(GOOD, np.random.default_rng(3))
    wider = BOTH.replace(dqn=DQN.replace(width=16))
    changed_settings = make_learner(wider, 3, 4)
    changed_settings.load(learner.state())
    fresh, found = make_learner(wider, 3, 4).state(), changed_settings.state()
    assert equal(
        {name: found[name] for name in found if name.startswith("dqn.")},
        {name: fresh[name] for name in fresh if name.startswith("dqn.")},
    )
    np.testing.assert_array_equal(found["thompson.moments"], learner.state()["thompson.moments"])
    assert "dqn begins new" in caplog.text
    alone = make_learner(BOTH.replace(learners=("thompson",)), 3, 4)
    alone.load({})
    assert alone.decisions == {"thompson": 0}
    alone.load(learner.state())
    assert alone.decisions == {"thompson": len(GOOD)}


def test_a_learner_that_is_new_has_learned_nothing() -> None:
    """Whatever the others have learned: nothing ranks by values that were never learned."""
    old = make_learner(BOTH.replace(learners=("thompson",), least_decisions=5), 3, 4)
    old.learn(GOOD, RANDOM)
    both = make_learner(BOTH.replace(least_decisions=5, dqn=DQN.replace(warm_up=0)), 3, 4)
    both.load(old.state())
    assert both.decisions == {"thompson": len(GOOD), "dqn": 0}
    assert make_models(both.model(), 3, 4).keys() == {"thompson"}
    wider = make_learner(BOTH.replace(least_decisions=5, dqn=DQN.replace(warm_up=0, width=16)), 3, 4)
    both.learn(GOOD, RANDOM)
    assert make_models(both.model(), 3, 4).keys() == {"thompson", "dqn"}
    wider.load(both.state())
    assert wider.decisions == {"thompson": 2 * len(GOOD), "dqn": 0}
    assert make_models(wider.model(), 3, 4).keys() == {"thompson"}


def test_a_network_before_its_first_update_is_not_published() -> None:
    learner = make_learner(BOTH.replace(dqn=DQN.replace(warm_up=12)), 3, 4)
    learner.learn(GOOD, RANDOM)
    assert make_models(learner.model(), 3, 4).keys() == {"thompson"}
    learner.learn(GOOD, RANDOM)
    assert make_models(learner.model(), 3, 4).keys() == {"thompson", "dqn"}


def test_one_absurd_decision_does_not_blind_a_learner() -> None:
    """Features far beyond what was seen are cut off before they count in means and spreads."""
    decisions = random_decisions(200, np.random.default_rng(5))
    calm, shaken = make_learner(BOTH, 3, 4), make_learner(BOTH, 3, 4)
    for learner in (calm, shaken):
        learner.learn(decisions, np.random.default_rng(6))
    absurd = broken(items=np.full((5, 4), 9e5, np.float32), state=np.full(3, -9e5, np.float32))
    shaken.learn([absurd], np.random.default_rng(7))
    for name in ("thompson.spread", "dqn.item_spread", "dqn.state_spread"):
        found, expected = (np.asarray(one.model()[name], np.float64) for one in (shaken, calm))
        assert (found < 2 * expected).all(), name


def test_a_model_of_no_learner_or_with_a_wrong_array_is_refused() -> None:
    model = make_learner(BOTH, 3, 4).model()
    with pytest.raises(ValueError, match="stranger"):
        make_models(changed(model, **{"stranger.weights": np.zeros(1, np.float32)}), 3, 4)
    with pytest.raises(ValueError, match="thompson: weights"):
        make_models(changed(model, **{"thompson.weights": np.zeros(1, np.float32)}), 3, 4)
    with pytest.raises(ValueError, match="thompson: centre"):
        make_models(model, 3, 5)


def test_a_learner_is_named_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        ValueConfig(learners=("thompson", "thompson"))
