"""Read the rows of csv, JSONL and Parquet files alike: cells by the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

import orjson

from pipeline.datasets.mapping import ENDINGS, FieldSource, FileFormat, Layout
from pipeline.datasets.tables import JSON, JSON_REMEDY, Table, check_encoding, compression_of, lines, rows
from pipeline.errors import DatasetError, EmptyData
from pipeline.wording import counted

ANY_FILE = Layout().files
"""Files of any name; a README.txt beside other files is none of them."""
BATCH_ROWS = 4_096
"""Rows of a Parquet file that are in memory at a time."""
PARQUET_REMEDY = "reading Parquet needs pyarrow: pip install 'millstream[parquet]'"

Cells = Mapping[str, object]
"""The cells of a row by column; texts, or values with the types of JSON or Parquet."""

NEEDS_MAPPING = (
    "; without --mapping, each line is a JSON object: for any other file, give the mapping that "
    "`millstream inspect FILE --write mapping.toml` writes"
)
Refuse = Callable[[str, str, str], None]
"""Called with place, fault and details of a row without cells; the row is left out unless this raises."""


class Row(NamedTuple):
    """A row of a file; `place` is its ``path:line``. `repeats_header` has no cells of its own."""

    place: str
    cells: Cells
    repeats_header: bool = False


def format_of(path: Path) -> FileFormat | None:
    """The format by the ending of a file's name; None for other files."""
    name = path.name.removesuffix(compression_of(path))
    ending = ENDINGS.get(Path(name).suffix.lower())
    return FileFormat(ending) if ending else None


def files_of(source: Path, layout: Layout) -> list[Path]:
    """Return the data files at a path in the order of their names; numbers in them count as numbers.

    Raises:
        DatasetError: there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DatasetError(f"{source}: found neither a file nor a folder")
    matching = [file for file in source.glob(layout.files) if file.is_file() and not _is_hidden(file, source)]
    found = [file for file in matching if layout.format or format_of(file)]
    if not found:
        raise DatasetError(
            f"{source}: found no data file in this folder"
            + (f" whose name is as {layout.files}" if layout.files != ANY_FILE else "")
        )
    if layout.files == ANY_FILE:
        found = [file for file in found if Path(file.name.lower()).suffix != ".txt"] or found
    return sorted(found, key=lambda file: [_by_name(part) for part in file.relative_to(source).parts])


def _is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file or a folder on the way to it has a name with a dot in front, as backups have."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _by_name(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]


def refuse(place: str, fault: str, details: str) -> NoReturn:
    """Raise the fault of a row.

    Raises:
        DatasetError: always.
    """
    raise DatasetError(f"{place}: {fault}{details}")


def refuse_line(place: str, fault: str, details: str) -> NoReturn:
    """Raise the fault of a line that no mapping says how to read, with the remedy.

    Raises:
        DatasetError: always.
    """
    refuse(place, fault, details + NEEDS_MAPPING)


def leave_out(place: str, fault: str, details: str) -> None:
    """Leave a row out without counting it, as where rows are only looked at."""


def read_rows(
    path: Path, layout: Layout, needed: Iterable[FieldSource] = (), refuse: Refuse = refuse
) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        path: of the file.
        layout: how it is written.
        needed: sources whose columns must be there, unless they have a default.
        refuse: what is done about a row with too few or too many cells, or a line that is no JSON object.

    Raises:
        DatasetError: the file cannot be read, or lacks a needed column or has it twice.
    """
    match layout.format or format_of(path) or FileFormat.CSV:
        case FileFormat.CSV:
            return _csv_rows(path, layout, list(needed), refuse)
        case FileFormat.JSONL:
            return _json_rows(path, layout, refuse)
        case FileFormat.PARQUET:
            return _parquet_rows(path, list(needed))


def check_rows(source: Path, layout: Layout, refuse: Refuse = refuse) -> None:
    """Check that the files at a path have a row, beside a header; `refuse` raises the first fault otherwise.

    Raises:
        DatasetError: they have none that can be read.
    """
    files = files_of(source, layout)
    faults: list[tuple[str, str, str]] = []

    def note(place: str, fault: str, details: str) -> None:
        if not faults:
            faults.append((place, fault, details))

    if all(row.repeats_header for file in files for row in read_rows(file, layout, refuse=note)):
        if faults:
            refuse(*faults[0])
        named = f"{files[0]} has" if len(files) == 1 else f"the {len(files)} files in {source} have"
        raise EmptyData(
            f"{named} no rows, so there is nothing to read: export the data again, or name others"
        )


def check_headers(files: Iterable[Path], layout: Layout, needed: Iterable[FieldSource]) -> None:
    """Check what each file says before its rows: that it can be read, and has the needed columns.

    So it is refused before any work begins, and not when its turn comes.

    Raises:
        DatasetError: as `read_rows`.
    """
    sources = list(needed)
    for path in files:
        next(read_rows(path, layout, sources, leave_out), None)


def columns_of(path: Path, layout: Layout) -> list[str]:
    """Return the names of a file's columns, in JSONL those of the first row; empty if there are none.

    Raises:
        DatasetError: the file cannot be read.
    """
    match layout.format or format_of(path) or FileFormat.CSV:
        case FileFormat.CSV if layout.columns:
            return list(layout.columns)
        case FileFormat.CSV:
            _, header = next(rows(table_of(path, layout)), ("", []))
            return [name.strip() for name in header]
    first = next(read_rows(path, layout), None)
    return list(first.cells) if first else []


def table_of(path: Path, layout: Layout) -> Table:
    """How a file of text is read by a layout."""
    return Table(path, check_encoding(layout.encoding), layout.delimiter, layout.quoted)


def _csv_rows(path: Path, layout: Layout, needed: Sequence[FieldSource], refuse: Refuse) -> Iterator[Row]:
    found = rows(table_of(path, layout))
    place, header = str(path), list(layout.columns)
    if not header:
        first = next(found, None)
        if first is None:
            return  # an empty file has no rows
        place, cells = first
        header = [name.strip() for name in cells]
        if JSON.match(",".join(header)):
            raise DatasetError(f"{place}: {JSON_REMEDY}")
    check_columns(place, header, needed)
    for place, cells in found:
        if len(cells) != len(header):
            refuse(place, f"{counted(len(cells), 'column')} instead of {len(header)}", "")
            continue
        yield Row(place, dict(zip(header, cells, strict=True)), [cell.strip() for cell in cells] == header)


def _json_rows(path: Path, layout: Layout, refuse: Refuse) -> Iterator[Row]:
    for place, line in lines(table_of(path, layout)):
        try:
            cells = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            refuse(place, "not JSON", f": {error}")
            continue
        if isinstance(cells, dict):
            yield Row(place, cells)
        else:
            refuse(place, "is no JSON object: each line must be one", "")


def _parquet_rows(path: Path, needed: Sequence[FieldSource]) -> Iterator[Row]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise DatasetError(f"{path}: {PARQUET_REMEDY}") from None
    if not path.stat().st_size:
        return  # no rows, as in text
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            check_columns(str(path), columns, needed)
            for batch in file.iter_batches(BATCH_ROWS, columns=_read_columns(columns, needed)):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}:{number}", cells)
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path}:{number + 1}: not readable as Parquet: {error}") from error


def _read_columns(columns: Sequence[str], needed: Sequence[FieldSource]) -> list[str] | None:
    """Only what is needed is decoded; all columns if nothing is named."""
    named = {name for source in needed for column in source.column for name in (column, column.split(".")[0])}
    return [column for column in columns if column in named] or None


def check_columns(place: str, header: Sequence[str], needed: Iterable[FieldSource]) -> None:
    """Check that each needed column is there once, by one of its names.

    Raises:
        DatasetError: one is missing or there twice; names what is needed and what was found.
    """
    required = [source for source in needed if source.column and source.default is None]
    for source in required:
        names = {name for column in source.column for name in (column, column.split(".")[0])}
        count = sum(name in names for name in header)
        if count != 1:
            every = dict.fromkeys(source.name for source in required)
            problem = f"{source.name} is {'twice' if count else 'not'} among {','.join(header) or 'none'}"
            raise DatasetError(f"{place}: the columns must be {','.join(every)}: {problem}")
