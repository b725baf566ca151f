"""The file of an item table is a safetensors file of its columns, in parts of bounded size."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load

from pipeline.checkpoints.table_file import table_parts
from pipeline.model import captured_columns
from pipeline.model.captured_columns import CapturedColumns


@pytest.mark.parametrize("rows", [0, 1, 10])
def test_a_table_is_read_as_it_was_written(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_columns, "AT_ONCE", 4)
    columns = {"content": torch.randn(rows, 3), "bias": torch.randn(rows), "residual": torch.randn(rows, 3)}
    parts = [bytes(part) for part in table_parts(CapturedColumns(columns))]
    read = load(b"".join(parts))
    assert read.keys() == columns.keys()
    assert all(torch.equal(read[name], column) for name, column in columns.items())
    assert max(map(len, parts[1:])) <= 4 * 3 * 4
