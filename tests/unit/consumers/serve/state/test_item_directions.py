"""Directions that are kept are those that are computed, of a snapshot's rows and of newer ones."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from consumers.serve.state.item_directions import ItemDirections
from consumers.serve.state.item_rows import ItemRows, Overlay
from pipeline.model.item_table import Rows
from pipeline.model.recommender import Recommender
from pipeline.value.port import Vectors

KNOWN, WIDTH = 8, 3


class Adding:
    """Has an item's vector be content and residual together; counts the rows that it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def item_vectors(self, rows: Rows) -> torch.Tensor:
        self.asked.append(len(rows.bias))
        return rows.content + rows.residual


def items(size: int = KNOWN, newer: Overlay | None = None) -> ItemRows:
    random = torch.Generator().manual_seed(0)
    content, residual = torch.randn(2, KNOWN, WIDTH, generator=random)
    content[5], residual[5] = 0, 0
    return ItemRows(Rows(content, residual, torch.zeros(KNOWN)), size, newer)


def made(most: int) -> tuple[ItemDirections, Adding]:
    model = Adding()
    return ItemDirections(cast("Recommender", model), KNOWN, WIDTH, most), model


def expected(of: ItemRows, rows: NDArray[np.int64]) -> Vectors:
    dense = of.dense
    vectors = (dense.content + dense.residual)[rows]
    found: Vectors = torch.nn.functional.normalize(vectors, dim=1).numpy()
    return found


@pytest.mark.parametrize("most", [2, 4, 16])
def test_directions_are_those_of_the_vectors_whatever_there_is_room_for(most: int) -> None:
    (directions, _), of, random = made(most), items(), np.random.default_rng(0)
    for _ in range(50):
        rows = random.choice(KNOWN, size=random.integers(0, KNOWN + 1), replace=False)
        np.testing.assert_allclose(directions.at(of, rows), expected(of, rows), rtol=1e-6)
    assert not directions.at(of, np.array([5])).any(), "what has neither a text nor weights has none"


def test_each_is_computed_once_as_long_as_there_is_room() -> None:
    (directions, model), of = made(4), items()
    for rows in ([1, 3], [3, 2], [1, 2, 3]):
        directions.at(of, np.array(rows))
    assert model.asked == [2, 1]
    directions.at(of, np.array([1, 6, 7]))
    assert model.asked == [2, 1, 3], "there was no room for two more, so all are forgotten"
    directions.at(of, np.array([7, 6]))
    directions.at(of, np.array([0, 1, 2, 3, 4]))
    assert model.asked == [2, 1, 3, 5], "more than are ever kept"


def test_what_is_newer_than_the_snapshot_is_computed_each_time() -> None:
    newer = Overlay(np.array([2, 9]), np.array([1, 0]), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
    (directions, model), before, of = made(16), items(), items(10, newer)
    rows = np.array([9, 1, 2, 8])
    directions.at(before, np.array([1, 2]))
    for _ in range(2):
        np.testing.assert_allclose(directions.at(of, rows), expected(of, rows), rtol=1e-6)
    assert model.asked == [2, 3, 3]
    assert of.are_newer(rows).tolist() == [True, False, True, True]
