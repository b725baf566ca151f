"""Catalogues as csv in the body of a request: a column for each field of an item, others are attributes."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from fastapi import HTTPException

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.event_fields import MAX_FIELD_CHARACTERS
from pipeline.wording import counted

MEDIA_TYPE = "text/csv"
TIMES = frozenset({"time", "published", "expires"})
FIELDS = TIMES | {"item", "title", "description", "category", "available"}
NOT_IN_CSV = frozenset({"attributes", "media", "vectors"})
"""Fields that hold several values, which a cell cannot."""
NUMBER = ":number"
"""Ends the name of a column of numbers; attributes of all other columns are texts."""
_A_TIME = re.compile(r"[0-9]{1,20}")
"""Milliseconds; of more digits than any number of JSON that is read as a whole one."""
_A_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
AVAILABLE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def rows_of(body: bytes) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield line, header and cells of each row.

    Raises:
        HTTPException: 400, it is no csv in UTF-8, or its header has no column `item`, one twice, or one that
            no csv can have; names the line.
    """
    rows, line = csv.reader(io.StringIO(_text(body), newline=""), strict=True), 1
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(header)
        line = rows.line_num + 1
        for cells in rows:
            if cells:
                yield line, header, cells
            line = rows.line_num + 1
    except csv.Error as error:
        fault = f"line {line}: what begins there is no csv that is divided by commas: {error}"
        raise HTTPException(
            400, f"{fault}; a cell that holds quotes stands in quotes, and has each of its own twice"
        ) from None


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise HTTPException(400, f"line {line}: the text is not UTF-8: save it as such") from None


def _check_header(header: list[str]) -> None:
    counts = Counter(name.removesuffix(NUMBER) for name in header)
    if "item" not in header:
        raise HTTPException(400, "line 1: must name the columns, divided by commas; `item` is not among them")
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        named = repr(twice[:MAX_FIELD_CHARACTERS])
        raise HTTPException(400, f"line 1: must name each column once; twice is {named}")
    if unreadable := sorted(NOT_IN_CSV & counts.keys()):
        raise HTTPException(
            400, f"line 1: csv has no column for {', '.join(unreadable)}: send the items as JSON"
        )


def item_of(header: list[str], cells: list[str]) -> dict[str, object]:
    """Return the fields of an item; an empty cell is none.

    Raises:
        InvalidEvent: it has more or fewer cells than there are columns, `available` is neither yes nor no, or
            a number is none.
    """
    if len(cells) != len(header):
        there = counted(len(cells), "cell")
        reason = f"has {there}, and the header {len(header)}: quote those that hold a comma"
        raise InvalidEvent("event", reason, RefusalReason.INVALID)
    fields: dict[str, object] = {}
    attributes: dict[str, str | float] = {}
    for name, text in zip(header, map(str.strip, cells), strict=True):
        if not text:
            continue
        if name in FIELDS:
            fields[name] = _value(name, text)
        else:
            attributes[name.removesuffix(NUMBER)] = _number(name, text) if name.endswith(NUMBER) else text
    return {**fields, **({"attributes": attributes} if attributes else {})}


def _value(field: str, text: str) -> object:
    if field == "available":
        return _available(text)
    return int(text) if field in TIMES and _A_TIME.fullmatch(text) else text


def _available(text: str) -> bool:
    found = AVAILABLE.get(text.lower())
    if found is None:
        raise InvalidEvent("available", "is neither yes nor no: send true or false", RefusalReason.WRONG_TYPE)
    return found


def _number(column: str, text: str) -> float:
    if _A_NUMBER.fullmatch(text) is None:
        reason = "is no number: send digits, with a point before decimals"
        raise InvalidEvent(column[:MAX_FIELD_CHARACTERS], reason, RefusalReason.WRONG_TYPE)
    return float(text)
