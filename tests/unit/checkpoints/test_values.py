"""Values are learned from what was shown and what was not; a restored learner knows both, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DqnConfig, TransitionConfig, ValueConfig
from pipeline.events import encode
from pipeline.training.learner import Learner
from pipeline.value.features import ITEM, OTHERS, STATE, pack, rounded
from pipeline.value.port import Vectors
from tests.support.impressions import impression
from tests.support.model_harness import OPEN, ModelHarness, tiny_settings

SHOWN = "red-cup", "blue-plate"
ANSWERS = 20
KEPT = len(SHOWN) + OTHERS
VALUE = ValueConfig(
    learners=("thompson", "dqn"),
    least_decisions=0,
    dqn=DqnConfig(
        width=8,
        warm_up=2,
        decisions_per_update=1,
        replay=TransitionConfig(decisions=16, actions=KEPT, batch=4),
    ),
)


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    """A log of answers whose impressions say what else could have been shown, and of purchases."""
    settings = tiny_settings(tmp_path, backbone_folder).model_copy(update={"value": VALUE})
    with ModelHarness(settings) as harness:
        harness.stock()
        for number in range(ANSWERS):
            shown = impression(f"i{number}", "ann", SHOWN, features=pack(*features_of(number)))
            harness.writer.append(harness.topics.impressions, "ann", encode(shown))
            harness.writer.flush()
            harness.act("ann", SHOWN[number % 2], impression=f"i{number}")
            harness.shop(3)
        yield harness


def features_of(number: int) -> tuple[Vectors, Vectors, Vectors]:
    """Features of a state, of the shown items, and of those that could have been shown."""
    random = np.random.default_rng(number)
    sizes = (STATE,), (len(SHOWN), ITEM), (OTHERS, ITEM)
    state, items, others = (rounded(random.normal(size=size).astype(np.float32)) for size in sizes)
    return state, items, others


def test_a_learner_goes_on_from_a_checkpoint_with_what_was_not_shown(harness: ModelHarness) -> None:
    with harness.learning() as first:
        first.new(3)
        first.checkpoint()
        kept_at_checkpoint = replayed(first.learner)
        first.new()
    with harness.learning() as second:
        assert 0 < len(replayed(second.learner)) == len(kept_at_checkpoint)
        np.testing.assert_array_equal(replayed(second.learner), kept_at_checkpoint)
        second.recover()
        assert second.digest() == first.digest()
    before, after = (learning.learner.values.state() for learning in (first, second))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert int(after["dqn.adam.steps"][0]) > 0
    assert harness.rebuilt().digest == first.digest()


def test_what_was_not_shown_is_in_the_replay_as_the_impression_has_it(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new()
        state, actions = learning.learner.values.state(), replayed(learning.learner)
    assert (state["dqn.replay.shown"] == len(SHOWN)).all()
    assert (state["dqn.replay.known"] == KEPT).all()
    added = int(state["dqn.replay.added"][0])
    assert added == ANSWERS - OPEN
    for number in range(added):
        _, _, others = features_of(number)
        np.testing.assert_array_equal(actions[number % len(actions)][len(SHOWN) :], others)


def replayed(learner: Learner) -> np.ndarray:
    """Features ``[n, KEPT, ITEM]`` of what the replay of the DQN keeps."""
    actions: np.ndarray = np.asarray(learner.values.state()["dqn.replay.actions"])
    return actions
