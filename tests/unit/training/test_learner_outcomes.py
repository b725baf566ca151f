"""A learner hands on what came of the answers that a batch closes, whether the batch is learned or folded."""

from __future__ import annotations

import pytest

from pipeline.config import RewardsConfig
from pipeline.events import Interaction, InteractionType
from pipeline.state.join_state import Leftover, ShownImpression
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.impressions import impression
from tests.support.model_harness import ModelHarness

START, WINDOW = 1_700_000_000_000, 30 * 60_000


@pytest.fixture
def learner(harness: ModelHarness) -> Learner:
    return harness.learner()


def click(name: str, item: str = "mug", **others: str) -> Interaction:
    fields = {"event_id": name, "user": "ann", "item": item, "type": InteractionType.CLICK, "time": START}
    return Interaction.model_validate(fields | others)


def batch(
    step: int, *acts: Interaction, at: int, shown: str | None = None, learns: bool = True
) -> MicroBatch:
    """Acts, and before them an impression, all appended at a time after the start."""
    impressions = [] if shown is None else [(START + at, impression(shown))]
    return MicroBatch(1, step, [], acts, learns, [START + at] * len(acts), impressions)


def rewards(closed: list[ShownImpression]) -> dict[str, tuple[float, ...]]:
    return {one.impression.impression_id: one.rewards for one in closed}


@pytest.mark.parametrize("learns", [True, False])
def test_a_batch_closes_what_its_time_has_passed(learner: Learner, learns: bool) -> None:
    learner.score_and_learn(batch(1, click("e1", impression="a"), at=0, shown="a", learns=learns))
    assert learner.stream.closed == []
    learner.score_and_learn(batch(2, click("e2", "cup"), at=WINDOW, learns=learns))
    assert learner.stream.closed == []
    learner.score_and_learn(batch(3, click("e3", impression="a"), at=WINDOW + 1, shown="b", learns=learns))
    assert rewards(learner.stream.closed) == {"a": (1, 1)}
    assert learner.stream.left == {Leftover.LATE: 1}
    learner.score_and_learn(batch(4, click("e4"), at=WINDOW + 2, learns=learns))
    assert (learner.stream.closed, learner.stream.left) == ([], {})


def test_of_equal_times_what_was_shown_comes_first(learner: Learner) -> None:
    learner.score_and_learn(batch(1, click("e1"), at=5, shown="a"))
    learner.score_and_learn(batch(2, at=WINDOW + 6, shown="b"))
    assert rewards(learner.stream.closed) == {"a": (1, 0)}


def test_a_clock_that_went_back_closes_nothing_early(learner: Learner) -> None:
    learner.score_and_learn(batch(1, at=WINDOW, shown="a"))
    learner.score_and_learn(batch(2, at=0, shown="b"))
    learner.score_and_learn(batch(3, click("e1", impression="b"), at=2 * WINDOW))
    assert learner.stream.closed == []
    learner.score_and_learn(batch(4, at=2 * WINDOW + 1, shown="c"))
    assert rewards(learner.stream.closed) == {"a": (0, 0), "b": (1, 0)}


def test_rewards_are_those_of_the_settings(harness: ModelHarness) -> None:
    dear = harness.settings.model_copy(update={"rewards": RewardsConfig(click=7.0)})
    with ModelHarness(dear) as other:
        learner = other.learner().another()
    learner.score_and_learn(batch(1, click("e1"), at=0, shown="a"))
    learner.score_and_learn(batch(2, at=WINDOW + 1, shown="b"))
    assert rewards(learner.stream.closed) == {"a": (7, 0)}
