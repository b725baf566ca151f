"""Rows written as csv, JSONL and Parquet, for tests of the readers."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

Row = dict[str, Any]


def as_csv(path: Path, rows: Sequence[Row], number: Callable[[float], str] = str, **form: Any) -> Path:
    """Write rows as a table; floats are written by `number`."""
    encoding = form.pop("encoding", "utf-8")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), **form)
    writer.writeheader()
    for row in rows:
        cells = {key: number(cell) if isinstance(cell, float) else cell for key, cell in row.items()}
        writer.writerow(
            {key: "|".join(cell) if isinstance(cell, list) else cell for key, cell in cells.items()}
        )
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def as_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def pyarrow() -> Any:
    """An extra: without it the test is skipped aloud, except under CI."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("pyarrow", reason="reading Parquet needs millstream[parquet]")
    import_module("pyarrow.parquet")
    return import_module("pyarrow")


def as_parquet(path: Path, rows: Sequence[Row]) -> Path:
    arrow = pyarrow()
    arrow.parquet.write_table(arrow.Table.from_pylist(list(rows)), path)
    return path
