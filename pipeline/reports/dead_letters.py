"""Dead letters: read from their topic, listed by reason and newest first, or one of them whole."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich.console import Group, RenderableType

from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.reports.layout import table
from pipeline.reports.numbers import utc
from pipeline.wording import counted
from producers.redelivery import Redelivery

OLD_CODE = "invalid"
"""Of letters that were written before reasons had a code."""
SHOWN_REFUSALS = 10
Letter = dict[str, Any]


def read_letters(event_log: EventLog, topics: Topics) -> list[Letter]:
    """Read all kept dead letters, oldest first, each with its `place`; one that was republished once.

    Raises:
        LogUnavailable: the log does not answer.
    """
    return letters_of(read(event_log, topics.dead_letters))


def letters_of(records: Iterable[Record]) -> list[Letter]:
    """Return the letters of records of their topic; one that was sent once more since is none any more."""
    letters: dict[str, Letter] = {}
    for record in records:
        if record.key is None:
            continue
        letters.pop(record.key, None)
        letter = _letter(record.key, record.value or b"")
        if letter is not None:
            letters[record.key] = letter
    return list(letters.values())


def _letter(place: str, value: bytes) -> Letter | None:
    try:
        letter = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None  # it was sent once more, or is not ours
    return {"code": OLD_CODE, **letter, "place": place} if isinstance(letter, dict) else None


def letters_page(letters: Sequence[Letter], limit: int) -> RenderableType:
    """Return how many letters there are of each reason, then the newest ones; no value is shown."""
    counts = [(code, f"{count:,}") for code, count in counts_by_reason(letters)]
    return Group(
        table(counted(len(letters), "dead letter"), ("reason", "letters"), counts),
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


def counts_by_topic(letters: Sequence[Letter]) -> list[tuple[str, int]]:
    """Count the letters of each topic, most first."""
    return Counter(str(letter["topic"]) for letter in letters).most_common()


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


def redelivery_page(found: Sequence[Redelivery], sent: bool) -> RenderableType:
    """Say how many letters were, or would be, sent once more, and which stay, by reason."""
    accepted = sum(one.refusal is None for one in found)
    verb = "sent once more" if sent else "would be accepted"
    refused = [one for one in found if one.refusal is not None]
    counts = Counter(str(one.refusal.code) for one in refused if one.refusal)
    rows = [
        (one.place, str(one.refusal.code), f"{one.refusal.field}: {one.refusal.reason}")
        for one in refused[-SHOWN_REFUSALS:]
        if one.refusal
    ]
    why = ", ".join(f"{code} {count:,}" for code, count in counts.most_common())
    lines = [f"{accepted:,} {verb}; {len(refused):,} refused again" + (f": {why}" if why else "")]
    headings = ("place", "reason", "what is wrong")
    return Group(*lines, *([table("refused again", headings, rows, whole=headings[:2])] if rows else []))
