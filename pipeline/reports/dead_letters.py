"""Dead letters: read from their topic, listed by reason and newest first, or one of them whole."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Group, RenderableType

from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.reports.layout import table, utc

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
        letter = letter_of(record)
        if letter is not None:
            letters.pop(letter["place"], None)
            letters[letter["place"]] = letter
    return list(letters.values())


def letter_of(record: Record) -> Letter | None:
    """Read a record of the dead-letters topic; None if it is none of ours."""
    if record.key is None or record.value is None:
        return None
    try:
        letter = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return None
    return {"code": OLD_CODE, **letter, "place": record.key} if isinstance(letter, dict) else None


def letters_page(letters: Sequence[Letter], limit: int) -> RenderableType:
    """Return how many letters there are of each reason, then the newest ones; no value is shown."""
    counts = [(code, f"{count:,}") for code, count in counts_by_reason(letters)]
    return Group(
        table(f"{len(letters):,} dead letters", ("reason", "letters"), counts),
        table(
            f"the newest {min(limit, len(letters))}",
            ("place", "reason", "when appended (UTC), and what is wrong"),
            map(_row, reversed(letters[-limit:])),
            whole=("place", "reason"),
        ),
    )


def counts_by_reason(letters: Sequence[Letter]) -> list[tuple[str, int]]:
    """Count the letters of each reason, most first."""
    return Counter(str(letter["code"]) for letter in letters).most_common()


def _row(letter: Letter) -> tuple[str, ...]:
    fault = f"{letter['field']}: {letter['reason']}"
    return str(letter["place"]), str(letter["code"]), f"{utc(letter['append_time'])}\n{fault}"


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
