"""Read the csv files of recorded data sets; an unreadable file raises DatasetError with path and line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from pipeline.errors import DatasetError


def rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a csv or csv.gz file, header first, each with its ``path:line``.

    Raises:
        DatasetError: the content is not gzip (for csv.gz), UTF-8 or csv.
    """
    line = 0
    try:
        with _open(path) as file:
            reader = csv.reader(file, strict=True)
            for cells in filter(None, reader):  # skips blank lines
                line = reader.line_num
                yield f"{path}:{line}", cells
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path}:{line + 1}: not readable as csv: {error}") from error


def _open(path: Path) -> TextIO:
    opener = gzip.open if path.suffix == ".gz" else open
    return cast("TextIO", opener(path, "rt", encoding="utf-8-sig", newline=""))
