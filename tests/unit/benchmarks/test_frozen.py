"""Lists of users at a cut: who gets one, what is looked up in it, and how sure the means are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from benchmarks.frozen import FIGURES, Buyer, at_cuts, clustered, cosine_scores, figures_of, item_cosines
from pipeline.events import Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase

ITEMS = [Item(item=f"i{number}", title=f"red cup {number}") for number in range(30)]
EVENTS = [purchase(f"u{at % 3}", ITEMS[at // 3].item, MINUTE * at, f"s{at // 15}") for at in range(90)]
SOMEBODY = "somebody"


@pytest.fixture
def learner(backbone: Backbone, tmp_path: Path) -> Learner:
    cpu = torch.device("cpu")
    return Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path, 8, cpu), cpu)


def test_users_with_a_past_and_a_next_purchase_get_lists_of_every_scorer(learner: Learner) -> None:
    events = [*EVENTS, purchase(SOMEBODY, "i3", MINUTE * 91)]
    found = at_cuts(learner, ITEMS, events, range(45, 86, 40), 20)
    assert [sorted(one.users) for one in found] == [["u0", "u1", "u2"]] * 2
    scorers = {
        "model",
        "covisitation",
        "popularity",
        "mixture",
        "discovery",
        "item cosine",
        "item cosine + self",
    }
    for one in found:
        assert one.by_scorer.keys() == scorers
        assert all(figures.shape == (3, len(FIGURES)) for figures in one.by_scorer.values())


def test_what_is_learned_stops_at_the_cut(learner: Learner) -> None:
    at_cuts(learner, ITEMS, EVENTS, range(45, 46), 20)
    assert learner.stream.events == 45


def test_bought_items_are_allowed_or_excluded_or_not_looked_up() -> None:
    n = 30
    scores = np.arange(n, 0, -1.0)[None]  # the list is 0 to 19, or 1 to 20 without the bought 0
    back, mixed = (Buyer("u", np.array([0]), np.array(rows)) for rows in ([0, 0], [0, 20, 25, 20]))
    allowed_excluded_new = figures_of(scores, [back])[0]
    assert np.array_equal(allowed_excluded_new, [1, 1, 0, 0, np.nan, np.nan], equal_nan=True)
    assert np.allclose(figures_of(scores, [mixed])[0], [1, 1 / 3, 0, 1 / 3, 1, 1 / 2])


def test_cosines_are_of_the_users_who_bought_both() -> None:
    matrix = sp.csr_array(np.array([[1.0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]))
    cosines = item_cosines(matrix)
    expected = [[0, 2 / 6**0.5, 1 / 3**0.5], [2 / 6**0.5, 0, 1 / 2**0.5], [1 / 3**0.5, 1 / 2**0.5, 0]]
    assert np.allclose(cosines.toarray(), expected)
    buyers = [Buyer("u", np.array([0, 0, 1]), np.array([2]))]
    assert np.allclose(cosine_scores(cosines, buyers), [[expected[0][1], expected[0][1], 3**-0.5 + 2**-0.5]])


def test_a_user_at_several_cuts_is_one_observation() -> None:
    values, alone = np.array([1.0, 0, 1, 0]), ["a", "b", "c", "d"]
    assert np.allclose(clustered(values, alone), (0.5, 0.25))
    assert np.allclose(clustered(values, ["a", "b", "a", "b"]), (0.5, 2**0.5 / 4))
    assert clustered(np.append(values, np.nan), [*alone, "e"]) == clustered(values, alone)
