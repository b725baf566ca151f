"""Each rating is predicted from what came before it; what is learned is restored to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor

from pipeline.config import RatingsConfig
from pipeline.ratings.acts import UserRatings
from pipeline.ratings.learner import RatingLearner
from pipeline.ratings.model import Floats, RatedItems, predicted
from pipeline.value.port import Arrays

CONFIG = RatingsConfig()
SIZE, WIDTH = 40, 4
CONTENT: Floats = np.random.default_rng(0).normal(size=(SIZE, WIDTH)) / 2


def content(rows: NDArray[np.int64]) -> Floats:
    return CONTENT[rows]


def of_user(rows: ArrayLike, values: ArrayLike, first_new: int = 0) -> UserRatings:
    return UserRatings(np.array(rows), np.array(values, dtype=np.float64), first_new, first_new)


def learner(config: RatingsConfig = CONFIG) -> RatingLearner:
    made = RatingLearner(config, WIDTH)
    made.grow(SIZE)
    return made


def taught(batches: int = 3, config: RatingsConfig = CONFIG) -> RatingLearner:
    """A learner after some batches of users who like what their content says."""
    made, random = learner(config), np.random.default_rng(1)
    for _ in range(batches):
        rows = [random.permutation(SIZE)[:6] for _ in range(30)]
        made.learn([of_user(r, 3.5 + CONTENT[r] @ [1.0, -1.0, 0.0, 0.0]) for r in rows], content)
    return made


def test_predictions_are_those_of_a_server_that_knows_the_ratings_before() -> None:
    made = taught()
    rows, values = [3, 9, 4, 7], [1.0, 5.0, 2.0, 4.0]
    items = RatedItems(content(np.array(rows)), made.effects(np.array(rows)))
    expected = [
        predicted(made.head, RatedItems(*(part[: n + 1] for part in items)), np.array(values[:n]), CONFIG)
        for n in range(1, 4)
    ]
    made.learn([of_user(rows, values, first_new=1)], content)
    np.testing.assert_allclose(made.errors.errors, np.array(expected) - values[1:])
    assert made.errors.known.tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [1e308, -1e308, 1e9])
def test_a_rating_far_beyond_the_scale_is_an_error_as_large_as_the_scale(value: float) -> None:
    made = taught()
    made.learn([of_user([3], [value])], content)
    assert np.abs(made.errors.errors).tolist() == [CONFIG.highest - CONFIG.lowest]


def test_the_text_of_an_item_that_nobody_rated_predicts_it() -> None:
    made, unrated = taught(batches=20, config=CONFIG.replace(text=1.0)), np.array([[1.0, -1.0, 0.0, 0.0]])
    found = RatedItems(unrated, np.zeros(1)).expected(made.head)
    assert found == pytest.approx(5.5, abs=0.3)


def test_an_item_rated_lower_than_its_text_says_is_expected_lower() -> None:
    made = taught()
    before = made.effects(np.array([5, 6]))
    made.learn([of_user([5], [0.5]) for _ in range(10)], content)
    after = made.effects(np.array([5, 6]))
    assert after[0] < before[0] - 0.5
    assert after[1] == before[1]


def test_users_who_rate_much_do_not_count_as_many_users() -> None:
    """A constant learned from one user with 40 low ratings and 40 with one high rating each."""
    made = learner(CONFIG.replace(lasting=1.0))
    low = of_user(list(range(SIZE)), [1.0] * SIZE)
    made.learn([low, *(of_user([row], [5.0]) for row in range(SIZE))], content)
    assert made.head[0] > 4


def test_a_user_counts_once_in_the_effect_of_an_item() -> None:
    once, again = learner(), learner()
    once.learn([of_user([5], [0.5])], content)
    again.learn([of_user([5] * 30, [0.5] * 30)], content)
    again.learn([of_user([5] * 31, [0.5] * 31, first_new=30)], content)
    assert again.effects(np.array([5])) == once.effects(np.array([5]))


def test_an_effect_follows_a_change_however_many_ratings_came_before() -> None:
    made = learner(CONFIG.replace(remembered=20))
    for value in (5.0, 1.0):
        for _ in range(10):
            made.learn([of_user([5], [value]) for _ in range(30)], content)
    assert made.effects(np.array([5]))[0] < -1


def test_a_rating_on_another_scale_shows_in_the_errors() -> None:
    """Of what is clipped, a perfect prediction would have none."""
    made = learner()
    made.learn([of_user([5], [5.0 + 3.0])], content)
    assert made.errors.errors[0] < -3
    assert made.effects(np.array([5]))[0] < 1
    made.learn([], content)
    assert made.errors.errors.size == 0


def test_a_restored_learner_goes_on_to_the_bit() -> None:
    made, again = taught(), learner()
    again.load(made.state(), SIZE)
    batch = [of_user([1, 2, 3], [5.0, 2.0, 4.0]), of_user([4, 2], [1.0, 2.0], first_new=1)]
    for one in (made, again):
        one.learn(batch, content)
    assert all(np.array_equal(again.state()[name], array) for name, array in made.state().items())
    assert np.array_equal(made.errors.errors, again.errors.errors)
    assert np.array_equal(made.model(), again.model())


def test_before_the_first_rating_there_is_no_state_and_no_model() -> None:
    made = learner()
    assert (dict(made.state()), made.model().size) == ({}, 0)
    again = RatingLearner(CONFIG, WIDTH)
    again.load({}, SIZE)
    assert np.array_equal(again.effects(np.arange(SIZE)), np.zeros(SIZE))


def test_a_state_does_not_move_with_the_learner() -> None:
    made = taught()
    state = made.state()
    before = {name: array.copy() for name, array in state.items()}
    made.learn([of_user([1], [5.0])], content)
    assert all(np.array_equal(state[name], array) for name, array in before.items())


def test_the_rows_that_changed_are_those_that_were_rated() -> None:
    made = learner()
    made.learn([of_user([7, 3], [5.0, 4.0])], content)
    assert made.take_changed().tolist() == made.rated_rows().tolist() == [3, 7]
    made.learn([of_user([7, 9], [5.0, 4.0], first_new=1)], content)
    assert made.take_changed().tolist() == [9]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("moments", lambda array: array[:-1]),
        ("moments", lambda array: array * np.nan),
        ("moments", np.triu),
        ("moments", lambda array: -array),
        ("sums", lambda array: array[1:]),
        ("sums", lambda array: array + 1e13),
        ("counts", lambda array: array - 100),
        ("learned", lambda array: array - 10**6),
        ("learned", lambda array: array.astype(np.float64)),
    ],
)
def test_what_is_no_state_is_refused(name: str, change: object) -> None:
    assert callable(change)
    state: Arrays = {**taught().state()}
    with pytest.raises(ValueError, match=r"\w"):
        learner().load({**state, name: change(state[name])}, SIZE)


def test_a_state_with_an_array_missing_is_refused() -> None:
    state = dict(taught().state())
    del state["sums"]
    with pytest.raises(ValueError, match="sums"):
        learner().load(state, SIZE)


def test_the_head_is_solved_for_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    solved = list[int]()

    def counted(matrix: Floats, **options: bool) -> object:
        solved.append(len(matrix))
        return cho_factor(matrix, **options)

    monkeypatch.setattr("pipeline.ratings.learner.cho_factor", counted)
    made = learner()
    assert not solved, "before the first rating"
    for _ in range(2):
        made.learn([], content)
    assert not solved, "of batches without ratings"
    for _ in range(2):
        made.learn([of_user([3, 4], [5.0, 2.0]), of_user([5], [1.0])], content)
    assert len(solved) == 2, "once a batch, whoever rates in it"
    again = RatingLearner(CONFIG, WIDTH)
    again.load(made.state(), SIZE)
    np.testing.assert_array_equal(again.head, made.head)
    np.testing.assert_array_equal(made.head, made.head)
    assert len(solved) == 4, "once for each"
