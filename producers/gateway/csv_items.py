"""Catalogues as csv in the body of a request: a column for each field of an item, others are attributes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from fastapi import HTTPException

from pipeline.errors import InvalidEvent, RefusalReason

MEDIA_TYPE = "text/csv"
FIELDS = frozenset({"item", "title", "description", "category"})
TIMES = frozenset({"time", "published", "expires"})
AVAILABLE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def rows_of(body: bytes) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield line, header and cells of each row.

    Raises:
        HTTPException: 400, it is no csv in UTF-8, or its header has no column `item`, or one twice.
    """
    try:
        rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(rows, [])]
        if "item" not in header or len(set(header)) < len(header):
            raise HTTPException(400, "the first line names the columns, `item` among them, each once")
        line = 2
        for cells in rows:
            if cells:
                yield line, header, cells
            line = rows.line_num + 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise HTTPException(400, f"the body is no csv in UTF-8, divided by commas: {error}") from None


def item_of(header: list[str], cells: list[str]) -> dict[str, object]:
    """Return the fields of an item; an empty cell is none.

    Raises:
        InvalidEvent: it has more or fewer cells than there are columns, or `available` is neither yes nor no.
    """
    if len(cells) != len(header):
        reason = f"has {len(cells)} cells, and there are {len(header)} columns: quote those that hold a comma"
        raise InvalidEvent("event", reason, RefusalReason.INVALID)
    fields: dict[str, object] = {}
    attributes: dict[str, str] = {}
    for name, text in zip(header, map(str.strip, cells), strict=True):
        if not text:
            continue
        if name in FIELDS:
            fields[name] = text
        elif name in TIMES:
            fields[name] = int(text) if text.isdecimal() else text
        elif name == "available":
            fields[name] = _available(text)
        else:
            attributes[name] = text
    return {**fields, **({"attributes": attributes} if attributes else {})}


def _available(text: str) -> bool:
    found = AVAILABLE.get(text.lower())
    if found is None:
        raise InvalidEvent("available", "is neither yes nor no: send true or false", RefusalReason.WRONG_TYPE)
    return found
