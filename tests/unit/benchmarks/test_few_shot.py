"""Few-shot likes in a short form: what an example is, that nothing leaks, and who finds what was planted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.few_shot import (
    HISTORY,
    SHARE,
    Data,
    Examples,
    IdModel,
    LikeModel,
    Rows,
    TowerModel,
    auc,
    by_ratings,
    compared,
    drawn,
    examples_in,
    fitted,
    pretrained,
)
from pipeline.events import Interaction, InteractionType, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import learner_config

ITEMS = [Item(item=f"i{n}", title="red cup" if n % 2 else "blue plate") for n in range(40)]


@pytest.fixture
def new(backbone: Backbone, tmp_path: Path) -> Callable[[], Learner]:
    cpu = torch.device("cpu")
    return lambda: Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path, 8, cpu), cpu)


def rating(number: int, user: str, value: float) -> Interaction:
    kind = InteractionType.RATING
    return Interaction(
        event_id=f"e{number}", user=user, item=f"i{number}", type=kind, time=number, value=value
    )


def easily_pleased_or_not(seed: int, n: int) -> Examples:
    """Users who like nearly everything, or nearly nothing."""
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(len(ITEMS))[: HISTORY + 1] for _ in range(n)])
    liked = random.random((n, HISTORY + 1)) < random.choice([0.1, 0.9], size=(n, 1))
    return Examples(rows, liked, np.array([f"u{number}" for number in range(n)]))


@pytest.fixture
def data() -> Data:
    views = [rating(number, f"u{number % 4}", 1.0) for number in range(len(ITEMS))]
    bare = [one.model_copy(update={"type": InteractionType.VIEW, "value": None}) for one in views]
    return Data(ITEMS, bare, *map(easily_pleased_or_not, range(3), (64, 8, 200)))


def test_an_example_is_a_rating_of_the_part_with_ten_before_it_of_the_same_user() -> None:
    ratings = [rating(number, "one" if number % 2 else "other", number % 6) for number in range(26)]
    found = examples_in(ratings, 22, 24, lambda item: int(item[1:]))
    assert found.users.tolist() == ["other", "one"]
    assert found.rows.tolist() == [list(range(2, 23, 2)), list(range(3, 24, 2))]
    assert found.liked.tolist() == [[n % 6 > 3 for n in rows] for rows in found.rows.tolist()]
    assert not len(examples_in(ratings, 0, 20, lambda item: int(item[1:])).rows), "no user has ten before"


def test_an_examples_own_label_is_not_read(data: Data, new: Callable[[], Learner]) -> None:
    learner = pretrained(new(), data)
    content = learner.table.all().content.double().numpy()
    makes: list[Callable[[], LikeModel]] = [partial(TowerModel, learner), partial(IdModel, len(ITEMS), True)]
    asked = data.tested
    liked = asked.liked.copy()
    liked[:, -1] ^= True
    for predict in [*(fitted(make, data.learned, 0) for make in makes), by_ratings(content, data.learned, 0)]:
        np.testing.assert_array_equal(predict(asked), predict(asked._replace(liked=liked)))


def test_how_easily_users_are_pleased_is_found_by_who_reads_likes(
    data: Data, new: Callable[[], Learner]
) -> None:
    found = compared(data, [new() for _ in range(3)], ks=[32], seeds=1)
    means = {name: float(by_k[0].mean()) for name, by_k in found.items()}
    assert min(means[SHARE], means["ratings"]) > 0.8
    assert means["tower"] > 0.7
    assert abs(means["SASRec, ids"] - 0.5) < 0.15


def test_learning_leaves_the_learner_as_it_was(data: Data, new: Callable[[], Learner]) -> None:
    learner = pretrained(new(), data)
    before = {name: part.detach().clone() for name, part in learner.recommender.learned().items()}
    fitted(partial(TowerModel, learner), data.learned, 0)
    for name, part in learner.recommender.learned().items():
        torch.testing.assert_close(part.detach(), before[name], rtol=0, atol=0)


def test_a_draw_follows_from_seed_and_number(data: Data) -> None:
    rows: list[Rows] = [drawn(data.learned, 16, seed).rows for seed in (0, 0, 1)]
    assert (rows[0] == rows[1]).all() and (rows[0] != rows[2]).any()


def test_auc_counts_ties_half() -> None:
    yes = np.array([True, False, True, False])
    assert auc(np.array([3.0, 1, 2, 2]), yes) == 3.5 / 4
