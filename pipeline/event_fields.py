"""What the door says about a field: reads times in their unambiguous forms, and names a remedy for the rest.

A refusal names the field, what is wrong and what to send instead. It never repeats the value, which may be
data about a person.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, PydanticCustomError, ValidationError
from pydantic_core.core_schema import DictSchema

from pipeline.errors import InvalidEvent, RefusalReason

MAX_FIELD_CHARACTERS = 160
"""Longest part of a field name that an error repeats: the sender chose the name, so it may be hostile."""
MAX_COMPARED_CHARACTERS = 64
"""Longest name that is compared with the known ones: comparing takes quadratic time."""
LATEST_MS = 32_503_680_000_000
"""The year 3000 in ms since the Unix epoch, UTC."""
SECONDS_FROM, SECONDS_UNTIL = 100_000_000, 100_000_000_000
"""Numbers that are seconds rather than milliseconds: as seconds they are March 1973 to the year 5138, as
milliseconds the second day of 1970 to March 1973, before there were shops that kept logs. Smaller numbers
are left alone, because they are times of a clock that starts at 0."""
IN_SECONDS = "is in seconds, not milliseconds: multiply it by 1,000"
FRACTION = "has a fraction: send a whole number of milliseconds"
MICROSECONDS_FROM, NANOSECONDS_FROM, NANOSECONDS_UNTIL = (SECONDS_FROM * 10**n for n in (6, 9, 12))
_AFTER_YEAR, _ZONE = r"-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?", r"[Zz]|[+-]\d\d:?\d\d"
ISO_TIME = re.compile(rf"\d{{4}}{_AFTER_YEAR}(?P<zone>{_ZONE})?")
TIME_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": LATEST_MS},
        {
            "type": "string",
            "format": "date-time",
            "pattern": rf"^(19[7-9]\d|2\d{{3}}){_AFTER_YEAR}({_ZONE})$",
        },
    ]
}
"""What `milliseconds` reads, as JSON Schema."""
TIME_REMEDY = "send milliseconds since 1970 as a number, or ISO 8601 with a zone such as 2026-11-25T20:00:00Z"
VALUES = "values"
"""What stands in the location of a fault within a list of values."""
SHOULD_BE = "Input should be a valid "
REASONS = {
    "missing": RefusalReason.MISSING_FIELD,
    "extra_forbidden": RefusalReason.UNKNOWN_FIELD,
    "enum": RefusalReason.UNKNOWN_TYPE,
    "time_unit": RefusalReason.TIME_UNIT,
    "time_form": RefusalReason.TIME_UNIT,
}
"""Reasons by Pydantic's name of the error; all others are by kind, see `_reason`."""


class EventJsonSchema(GenerateJsonSchema):
    """JSON Schema that bounds the keys of objects; Pydantic's allows any value under a key that is none."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """Return the schema of an object with any number of keys."""
        made = super().dict_schema(schema)
        for values in made.pop("patternProperties", {}).values():
            made["additionalProperties"] = values
            made["propertyNames"] = self.generate_inner(schema["keys_schema"])
        return made


def milliseconds(value: object) -> object:
    """Convert an unambiguous time to ms since the epoch; leave what is none for the schema to refuse.

    Accepted are whole numbers of ms, also written as floats, and ISO 8601 with a zone.

    Raises:
        PydanticCustomError: the time is in another unit, or its form leaves open which moment it is.

    >>> milliseconds("2026-11-25T20:00:00+01:00") == milliseconds(1795633200000.0) == 1795633200000
    True
    """
    if isinstance(value, str):
        return _of_iso(value)
    number = whole(value)
    if type(number) is int:
        _check_unit(number)
    elif isinstance(number, float) and math.isfinite(number):
        raise PydanticCustomError("time_unit", IN_SECONDS if is_in_seconds(number) else FRACTION)
    return number


def whole(value: object) -> object:
    """Convert a whole number that is written as a float: JSON has no integers; leave all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_in_seconds(time: float) -> bool:
    """Whether a time from outside is in seconds; a simulation's own clock may show any time."""
    return SECONDS_FROM <= time < SECONDS_UNTIL


def refuse_seconds(time: int) -> int:
    """Return a time unless it is in seconds; for a schema of data from outside.

    Raises:
        PydanticCustomError: it is.
    """
    if is_in_seconds(time):
        raise PydanticCustomError("time_unit", IN_SECONDS)
    return time


def _check_unit(number: int) -> None:
    if MICROSECONDS_FROM <= number < NANOSECONDS_FROM:
        raise PydanticCustomError("time_unit", "is in microseconds, not milliseconds: divide it by 1,000")
    if NANOSECONDS_FROM <= number < NANOSECONDS_UNTIL:
        raise PydanticCustomError("time_unit", "is in nanoseconds, not milliseconds: divide it by 1,000,000")


def _of_iso(text: str) -> int:
    found = ISO_TIME.fullmatch(text)
    if found is None:
        if text.strip().lstrip("-").isdecimal():
            raise PydanticCustomError("time_form", "is text, not a valid integer: send it without quotes")
        raise PydanticCustomError("time_form", f"is neither a valid integer nor a valid time: {TIME_REMEDY}")
    if found["zone"] is None:
        raise PydanticCustomError("time_form", f"has no time zone: {TIME_REMEDY}")
    try:
        moment = datetime.fromisoformat(text.upper().replace(" ", "T"))
    except ValueError:
        raise PydanticCustomError("time_form", f"is no date of the calendar: {TIME_REMEDY}") from None
    # Not through a float, which would round some thousandths.
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000 + moment.microsecond // 1_000


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to a name, ignoring case and separators; None if none is close.

    >>> nearest("excludeSeen", ["k", "exclude", "exclude_seen"])
    'exclude_seen'
    """
    if len(name) > MAX_COMPARED_CHARACTERS:
        return None
    plain = {_plain(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def invalid_event(error: ValidationError, kind: str, fields: Sequence[str], remedy: str) -> InvalidEvent:
    """Convert Pydantic's first error, with one reason for each member where the field is a union.

    Args:
        error: of one event.
        kind: of the event, as people say it.
        fields: that an event of the kind has.
        remedy: what to do with a field that it does not have.
    """
    problems = error.errors(include_url=False, include_context=False)
    # Fields nest at most two levels deep; any further part of `loc` names a member of a union.
    location = problems[0]["loc"][:2]
    here = [problem for problem in problems if problem["loc"][:2] == location]
    field = ".".join(str(part) for part in location) or "event"
    hint = _hint(here[0], kind, fields, remedy) if len(here) == 1 else _hint_of_value(here)
    reason = f"{_said(here)}: {hint}" if hint else _said(here)
    return InvalidEvent(field[:MAX_FIELD_CHARACTERS], reason, _reason(here))


def _said(problems: Sequence[ErrorDetails]) -> str:
    """Say what a value should be: if it has the type of one member of a union, what that member asks for."""
    of_its_type = [problem["msg"] for problem in problems if not problem["type"].endswith("_type")]
    first, *others = dict.fromkeys(of_its_type or [problem["msg"] for problem in problems])
    said = " or ".join([first, *(other.removeprefix(SHOULD_BE) for other in others)])
    return said.replace("Tuple should", "List should").replace(" after validation", "")


def _hint_of_value(problems: Sequence[ErrorDetails]) -> str | None:
    """Say what to send instead of a value that has the type of no member of a union."""
    if not all(problem["type"].endswith("_type") for problem in problems):
        return None
    match problems[0]["input"]:
        case None:
            return "leave it out where it is not known"
        case dict():
            return "give each of its values a name of its own, such as size.width"
        case list() if VALUES in problems[0]["loc"]:
            return "send all values in one list"
    return None


def _hint(problem: ErrorDetails, kind: str, fields: Sequence[str], remedy: str) -> str | None:
    match problem["type"]:
        case "extra_forbidden":
            near = nearest(str(problem["loc"][-1]), fields)
            known = f"{kind} has only {', '.join(fields)}; {remedy}"
            return f"did you mean {near}? {known}" if near else known
        case "missing" if len(problem["loc"]) == 1:
            name = str(problem["loc"][0])
            meant = nearest(name, [sent for sent in problem["input"] if sent not in fields])
            return f"{meant} is unknown, did you mean {name}?" if meant else None
        case "string_type" if _is_number(problem["input"]):
            return "it is a number, send it as a string, in quotes"
        case "float_type" if isinstance(problem["input"], str):
            return "it is text, send a number, without quotes"
        case _ if problem["input"] is None:
            return "null is no value, leave out what is not known"
        case "enum":
            return _nearest_type(problem)
    return None


def _nearest_type(problem: ErrorDetails) -> str | None:
    sent = problem["input"]
    near = nearest(sent, re.findall(r"'(\w+)'", problem["msg"])) if isinstance(sent, str) else None
    return f"the nearest is {near!r}" if near else None


def _reason(problems: Sequence[Mapping[str, Any]]) -> RefusalReason:
    kind = str(problems[0]["type"])
    if kind in REASONS:
        return REASONS[kind]
    if kind == "string_type" and len(problems) == 1 and _is_number(problems[0]["input"]):
        return RefusalReason.NUMERIC_ID
    return RefusalReason.WRONG_TYPE if kind.endswith(("_type", "_parsing")) else RefusalReason.OUT_OF_BOUNDS


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
