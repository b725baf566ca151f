"""Read csv files and lines of text; an unreadable file raises DatasetError with path and line."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TextIO, cast

from pipeline.errors import DatasetError

DEFAULT_ENCODING = "utf-8-sig"
"""UTF-8, with or without a byte-order mark."""
DELIMITERS = ",;\t|"
COMPRESSIONS: dict[str, Callable[..., IO[str] | IO[bytes]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
UNREADABLE = (EOFError, OSError, zlib.error, lzma.LZMAError)
MOST_HEADER_BYTES = 65_536
SIGNATURES = {
    b"\x1f\x8b": "is packed by gzip: its name must end in .gz",
    b"BZh": "is packed by bzip2: its name must end in .bz2",
    b"\xfd7zXZ": "is packed by xz: its name must end in .xz",
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it, or pack it by gzip",
    b"PK\x03\x04": "is a zip archive, as the xlsx of a spreadsheet is: save it as csv, or unpack it",
    b"\xd0\xcf\x11\xe0": "is the xls of a spreadsheet: save it as csv",
    b"PAR1": "is Parquet: its name must end in .parquet",
}
"""What files begin with that are no text."""
UTF16_MARKS = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
JSON = re.compile(r'[\[{]\s*(["{\[]|$)')
"""How JSON begins, and no header does."""
JSON_REMEDY = "it looks like JSON: write one object in each line, in a file whose name ends in .jsonl"
QUOTES_REMEDY = "where quotes are characters like others, say quoted = false in [layout]"
ENCODING_REMEDY = "save the file as UTF-8, or name its encoding, as in --encoding cp1252"


class Table(NamedTuple):
    """How a file of text is read; without a delimiter, it is the most frequent one of the header."""

    path: Path
    encoding: str = DEFAULT_ENCODING
    delimiter: str | None = None
    quoted: bool = True


def check_encoding(name: str) -> str:
    """Return an encoding's name as files are opened with.

    Raises:
        DatasetError: Python does not know the encoding.
    """
    try:
        found = codecs.lookup(name).name
    except LookupError:
        raise DatasetError(
            f"encoding {name!r} is unknown; known are utf-8, cp1252, latin-1, utf-16 …"
        ) from None
    return DEFAULT_ENCODING if found == "utf-8" else found


def rows(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a file, header first, each with its ``path:line``; the line is the row's first.

    A delimiter of several characters divides without regard to quotes.

    Raises:
        DatasetError: the content is not of the compression, of the encoding, or csv.
    """
    path, line = table.path, 1
    try:
        delimiter = table.delimiter or _delimiter(table)
        with _open(table) as file:
            if len(delimiter) > 1:
                yield from ((f"{path}:{line}", cells) for line, cells in _divided(file, delimiter))
                return
            quotes = '"' if table.quoted else None
            reader = csv.reader(file, strict=True, delimiter=delimiter, quotechar=quotes)
            for cells in reader:
                if cells:  # a blank line is no row
                    yield f"{path}:{line}", cells
                line = reader.line_num + 1
    except UnicodeError:
        raise DatasetError(_undecodable(table)) from None
    except csv.Error as error:
        remedy = JSON_REMEDY if JSON.match(_header(table)) else QUOTES_REMEDY
        raise DatasetError(f"{path}:{line}: not readable as csv: {error}; {remedy}") from error
    except UNREADABLE as error:
        raise DatasetError(f"{path}:{line}: not readable as csv: {error}") from error


def lines(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each with its ``path:line``.

    Raises:
        DatasetError: the content is not of the compression or of the encoding.
    """
    number = 0
    try:
        with _open(table) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{table.path}:{number}", line
    except UnicodeError:
        raise DatasetError(_undecodable(table)) from None
    except UNREADABLE as error:
        raise DatasetError(f"{table.path}:{number + 1}: not readable: {error}") from error


def compression_of(path: Path) -> str:
    """The ending of a compressed file's name; empty if it is not compressed."""
    return path.suffix if path.suffix in COMPRESSIONS else ""


def is_utf16(path: Path) -> bool:
    """Whether a file begins with a byte-order mark of UTF-16; one that cannot be unpacked does not."""
    try:
        with _opener(path)(path, "rb") as file:
            return cast("IO[bytes]", file).read(2) in UTF16_MARKS
    except UNREADABLE:
        return False


def _divided(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(file, start=1):
        if text.strip():
            yield line, text.rstrip("\r\n").split(delimiter)


def _delimiter(table: Table) -> str:
    return max(DELIMITERS, key=_header(table).count)


def _header(table: Table) -> str:
    with _open(table) as file:
        return file.readline(MOST_HEADER_BYTES)


def _undecodable(table: Table) -> str:
    """Name the first line that is not of the encoding; decoding reads ahead of the rows."""
    if is_utf16(table.path):
        return f"{table.path}:1: the text is UTF-16: say --encoding utf-16, or save the file as UTF-8"
    line = 0
    try:
        for line, _ in enumerate(codecs.iterdecode(_raw_lines(table), table.encoding), start=1):  # noqa: B007
            pass
    except UnicodeError:
        line += 1
    shown = "UTF-8" if table.encoding == DEFAULT_ENCODING else table.encoding
    return f"{table.path}:{line}: not readable as csv: the text is not {shown}: {ENCODING_REMEDY}"


def _raw_lines(table: Table) -> Iterator[bytes]:
    with _opener(table.path)(table.path, "rb") as file:
        yield from cast("IO[bytes]", file)


def _open(table: Table) -> TextIO:
    with table.path.open("rb") as file:
        beginning = file.read(max(map(len, SIGNATURES)))
    for signature, fault in () if compression_of(table.path) else SIGNATURES.items():
        if beginning.startswith(signature):
            raise DatasetError(f"{table.path} {fault}")
    opened = _opener(table.path)(table.path, "rt", encoding=table.encoding, newline="")
    return cast("TextIO", opened)


def _opener(path: Path) -> Callable[..., IO[str] | IO[bytes]]:
    return COMPRESSIONS.get(path.suffix, open)
