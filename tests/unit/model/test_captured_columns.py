"""Captured columns stay as they were, whatever changes while they are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import RowRates
from pipeline.model import captured_columns
from pipeline.model.captured_columns import CapturedColumns
from pipeline.model.item_table import RESERVED, ItemTable

WIDTH, SIZE = 3, 20


@pytest.fixture
def table() -> ItemTable:
    table = ItemTable(WIDTH, torch.device("cpu"), RowRates())
    table.grow(SIZE)
    learn(table, [2, 3, 5], seed=0)
    return table


def learn(table: ItemTable, rows: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    table.set_content(torch.tensor(rows), torch.randn(len(rows), WIDTH, generator=random))
    table.apply(torch.tensor(rows), torch.randn(len(rows), WIDTH, generator=random), torch.ones(len(rows)))


def assert_equal(captured: CapturedColumns, expected: dict[str, Tensor]) -> None:
    assert captured.keys() == expected.keys()
    for name, column in expected.items():
        assert torch.equal(captured[name], column)
        assert captured.form(name) == (column.shape, column.dtype)


def test_what_changes_after_a_capture_is_not_in_it(table: ItemTable) -> None:
    expected, captured = table.state(), table.captured()
    for seed in range(1, 4):  # rows that change again were kept already
        learn(table, [3, 5, 7], seed)
    table.grow(2 * RESERVED)  # moves the columns
    learn(table, [0, 3, SIZE + 1], seed=4)
    assert_equal(captured, expected)
    assert not torch.equal(table.all().residual[:SIZE], expected["residual"])


def test_each_capture_is_of_its_own_moment(table: ItemTable) -> None:
    first, before = table.captured(), table.state()
    learn(table, [3, 4], seed=1)
    second, between = table.captured(), table.state()
    learn(table, [4, 5], seed=2)
    assert_equal(first, before)
    assert_equal(second, between)


def test_rows_may_change_while_they_are_read(table: ItemTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_columns, "AT_ONCE", 4)
    expected, captured = table.state(), table.captured()

    def read() -> Iterator[Tensor]:
        for number, part in enumerate(captured.parts("residual")):
            yield part
            learn(table, [3, (4 * number + 6) % SIZE, SIZE - 1], seed=number)

    parts = [*read()]
    assert [len(part) for part in parts] == [4] * (SIZE // 4)
    assert torch.equal(torch.cat(parts), expected["residual"])


def test_a_dropped_capture_costs_nothing_more(table: ItemTable, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list[np.ndarray]()
    monkeypatch.setattr(CapturedColumns, "keep", lambda self, name, rows: kept.append(rows))
    captured = table.captured()
    learn(table, [1], seed=1)
    assert len(kept) == 5  # columns
    del captured
    learn(table, [1], seed=1)
    assert len(kept) == 5
