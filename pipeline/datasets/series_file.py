"""Series of items in a file: JSONL whose lines have an item and its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.datasets.records import check_rows, files_of, read_rows
from pipeline.datasets.users_file import JSONL
from pipeline.errors import DatasetError
from pipeline.events import Finite, Id
from pipeline.wording import faults_in


class SeriesLine(BaseModel):
    """A line of the file: an item, and the numbers of its series in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    item: Id
    series: Annotated[tuple[Finite, ...], Field(strict=False)]


class PlacedSeries(NamedTuple):
    """A line, and its ``path:line``."""

    place: str
    line: SeriesLine


def read_series(source: Path) -> Iterator[PlacedSeries]:
    """Yield the series of a file, or of the files of a folder.

    Raises:
        DatasetError: there is no file or no line, or a line has no series; names file, line, field, reason.
    """
    check_rows(source, JSONL)
    for file in files_of(source, JSONL):
        for row in read_rows(file, JSONL):
            try:
                yield PlacedSeries(row.place, SeriesLine.model_validate(row.cells))
            except ValidationError as error:
                raise DatasetError(f"{row.place}: {faults_in(error, SeriesLine, 'the line')}") from None
