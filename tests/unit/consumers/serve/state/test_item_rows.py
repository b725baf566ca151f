"""What is gathered from overlaid columns is what a copy of all rows has."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from consumers.serve.state.item_rows import ItemRows, Overlay
from pipeline.model.encoded_vectors import EncodedVectors, int8_codes
from pipeline.model.item_table import Rows

SNAPSHOT = Rows(torch.arange(12.0).view(4, 3), torch.arange(12.0).view(4, 3) / 2, torch.arange(4.0))
ENCODED = EncodedVectors(*map(torch.from_numpy, int8_codes(SNAPSHOT.content.numpy())))
NEWER = Overlay(np.array([1, 5]), np.array([2, 0]), torch.full((3, 3), 7.0) + torch.arange(3.0)[:, None])


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("newer", [None, NEWER])
def test_gathering_is_looking_up_in_a_copy(size: int, newer: Overlay | None) -> None:
    if newer is not None and size == 4:
        newer = newer._replace(rows=np.array([1, 3]))
    items = ItemRows(SNAPSHOT, size, newer)
    for rows in (
        torch.arange(size),
        torch.tensor([[size - 1, 0], [1, 1]]),
        torch.tensor([], dtype=torch.long),
    ):
        for sparse, dense in zip(items.sparse, items.dense, strict=True):
            assert torch.equal(sparse[rows], dense[rows])
            assert (len(sparse), *sparse.shape) == (len(dense), *dense.shape)
    expected = 0.0 if size == 6 else 9.0
    assert items.dense.content[size - 1, 0] == (expected if newer is None else 7.0)
    assert torch.equal(SNAPSHOT.content, torch.arange(12.0).view(4, 3))


def test_encoded_columns_are_gathered_and_copied_as_the_same_numbers() -> None:
    content, residual = (cast("Tensor", replace(ENCODED)) for _ in range(2))
    snapshot = Rows(content, residual, SNAPSHOT.bias)
    for newer in (None, NEWER._replace(values=NEWER.values.half())):
        items = ItemRows(snapshot, 6, newer)
        rows = torch.arange(6)
        for sparse, dense in zip(items.sparse, items.dense, strict=True):
            assert torch.equal(sparse[rows], dense[rows])
            assert torch.equal(sparse.index_select(0, rows), dense)
        assert torch.equal(items.dense.residual[:4], ENCODED.float())
        torch.testing.assert_close(items.dense.residual[:4], SNAPSHOT.content, atol=11 / 254, rtol=0)
    assert ItemRows(snapshot, 4).dense.content.dtype == torch.float32
