"""The item table learns the rows it is given and no others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.config import RowRates
from pipeline.model.item_table import ItemTable

WIDTH = 4
RATES = RowRates(residual=0.1, bias=0.2)


def table_of(size: int) -> ItemTable:
    table = ItemTable(WIDTH, torch.device("cpu"), RATES)
    table.grow(size)
    return table


def test_a_step_touches_only_the_given_rows() -> None:
    table = table_of(5)
    before = table.state()
    table.apply(torch.tensor([3, 1]), torch.ones(2, WIDTH), torch.ones(2))
    for name, column in table.state().items():
        changed = (column != before[name]).reshape(5, -1).any(dim=1)
        assert changed.tolist() == ([False] * 5 if name == "content" else [False, True, False, True, False])


def test_two_adagrad_steps_by_hand() -> None:
    table = table_of(1)
    gradients = [torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[4.0, 0.0, 0.0, 0.0]])]
    for gradient in gradients:
        table.apply(torch.tensor([0]), gradient, gradient[:, 0])
    squares = [30 / 4, 30 / 4 + 16 / 4]  # the mean squared gradient of a row, added up
    residual = -sum(RATES.residual * g / s**0.5 for g, s in zip(gradients, squares, strict=True))
    assert isinstance(residual, Tensor)
    torch.testing.assert_close(table.all().residual, residual)
    assert table.all().bias.item() == pytest.approx(-RATES.bias * (1 / 1 + 4 / 17**0.5))


def test_a_row_without_gradient_stays_finite() -> None:
    table = table_of(1)
    table.apply(torch.tensor([0]), torch.zeros(1, WIDTH), torch.zeros(1))
    assert table.all().residual.tolist() == [[0] * WIDTH]
    assert table.all().bias.tolist() == [0]


def test_a_gradient_that_dwarfs_all_others_does_not_stop_its_row_for_good() -> None:
    table, rows = table_of(5), torch.arange(5)
    huge = torch.ones(5, WIDTH)
    huge[2] = 1e16
    table.apply(rows, huge, torch.zeros(5))
    before = table.all().residual.clone()
    for _ in range(10):
        table.apply(rows, torch.ones(5, WIDTH), torch.zeros(5))
    moved = (table.all().residual - before).abs().mean(dim=1)
    assert moved[2] > moved[1] / 10


def test_growing_keeps_what_was_learned_and_begins_with_zero() -> None:
    table = table_of(2)
    table.set_content(torch.tensor([0, 1]), torch.ones(2, WIDTH))
    table.apply(torch.tensor([0]), torch.ones(1, WIDTH), torch.ones(1))
    learned = table.all().residual[0].clone()
    for size in range(3, 20):
        table.grow(size)
        assert len(table) == table.all().bias.shape[0] == size
    torch.testing.assert_close(table.all().residual[0], learned)
    assert not table.all().residual[1:].any()
    assert table.all().content.sum(dim=1).tolist() == [WIDTH, WIDTH] + [0] * 17


def test_rows_are_copies_that_collect_gradients() -> None:
    table = table_of(3)
    rows = table.rows(torch.tensor([2]))
    torch.autograd.backward((rows.residual + rows.bias.unsqueeze(1)).sum())
    assert rows.residual.grad is not None
    assert rows.bias.grad is not None
    assert rows.bias.grad.tolist() == [WIDTH]
    assert not rows.content.requires_grad
    with torch.no_grad():
        rows.residual.add_(1)
    assert not table.all().residual.any()


def test_a_loaded_table_continues_like_the_first_and_does_not_change_the_state() -> None:
    first, second = table_of(3), table_of(0)
    first.apply(torch.tensor([1]), torch.ones(1, WIDTH), torch.ones(1))
    state = first.state()
    kept = {name: column.clone() for name, column in state.items()}
    second.load(state)
    for table in (first, second):
        table.apply(torch.tensor([0, 1]), torch.full((2, WIDTH), 0.5), torch.ones(2))
    for name, column in second.state().items():
        assert torch.equal(column, first.state()[name])
        assert torch.equal(state[name], kept[name])


def test_text_is_what_vectors_follow() -> None:
    table = ItemTable(WIDTH, torch.device("cpu"), RATES, content=WIDTH + 2)
    table.grow(1)
    table.set_content(torch.tensor([0]), torch.tensor([[1.0, 2, 3, 4, 5, 6]]))
    rows = table.rows(torch.tensor([0]))
    assert (rows.text.tolist(), rows.residual.shape) == ([[1, 2, 3, 4]], (1, WIDTH))
    assert rows.content.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_columns_of_another_width_are_refused() -> None:
    table = ItemTable(WIDTH, torch.device("cpu"), RATES, content=WIDTH + 2)
    with pytest.raises(ValueError, match="content is not as wide"):
        table.load(table_of(3).state())


@pytest.mark.parametrize("is_loaded", [False, True])
def test_padded_rows_are_zero_and_a_growing_table_has_few_shapes(is_loaded: bool) -> None:
    table, shapes = table_of(0), set[int]()
    for size in range(1, 600):
        table.grow(size)
        newest = torch.tensor([size - 1])
        table.set_content(newest, torch.ones(1, WIDTH))
        table.apply(newest, torch.ones(1, WIDTH), torch.ones(1))
        seen = table
        if is_loaded:
            seen = table_of(0)
            seen.load(table.state())
        rows = seen.padded()
        shapes.add(len(rows.bias))
        assert not any(bool(column[size:].any()) for column in rows)
        assert all(torch.equal(padded[:size], own) for padded, own in zip(rows, seen.all(), strict=True))
    assert len(shapes) <= 16 + 8 * 6, "16 small ones, then 8 each time that the size doubles"
