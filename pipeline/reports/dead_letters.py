"""Dead letters: read from their topic, listed by reason and newest first, or one of them whole."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics

OLD_CODE = "invalid"
"""Of letters that were written before reasons had a code."""
Letter = dict[str, Any]


def read_letters(event_log: EventLog, topics: Topics) -> list[Letter]:
    """Read all kept dead letters, oldest first, each with its `place`; one that was republished once.

    Raises:
        LogUnavailable: the log does not answer.
    """
    letters: dict[str, Letter] = {}
    for record in read(event_log, topics.dead_letters):
        if record.key is None or record.value is None:
            continue
        try:
            letter = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            continue  # not ours
        letters.pop(record.key, None)
        letters[record.key] = {"code": OLD_CODE, **letter, "place": record.key}
    return list(letters.values())


def letters_page(letters: Sequence[Letter], limit: int) -> RenderableType:
    """Return how many letters there are of each reason, then the newest ones; no value is shown."""
    counts = Table(title=f"{len(letters):,} dead letters", title_justify="left")
    for heading in ("reason", "letters"):
        counts.add_column(heading)
    for code, count in Counter(letter["code"] for letter in letters).most_common():
        counts.add_row(escape(str(code)), f"{count:,}")
    newest = Table(title=f"the newest {min(limit, len(letters))}", title_justify="left")
    for heading in ("place", "appended (UTC)", "reason", "field", "what is wrong"):
        newest.add_column(heading, overflow="fold")
    for letter in reversed(letters[-limit:]):
        when = datetime.fromtimestamp(letter["append_time"] / 1000, UTC).isoformat(" ", "seconds")
        cells = (letter["place"], when, letter["code"], letter["field"], letter["reason"])
        newest.add_row(*(escape(str(cell)) for cell in cells))
    return Group(counts, newest)


def letter_whole(letter: Letter) -> Letter:
    """Return a letter with its value decoded: as JSON or text if it is that, else as base64."""
    value = base64.b64decode(letter["value"])
    return {**letter, "value": _decoded(value, letter["value"]), "complete": len(value) == letter["size"]}


def _decoded(value: bytes, encoded: str) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": encoded}
