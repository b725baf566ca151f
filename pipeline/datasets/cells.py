"""Read single cells of recorded data: times, numbers, texts, ids; nothing is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from pipeline.errors import DatasetError
from pipeline.event_fields import LATEST_MS, is_in_seconds

Decimals = Literal[".", ","]
DIVIDED_DATE = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:[ T]+(\d{1,2}):(\d\d)(?::(\d\d))?)?")
"""Two numbers that are day and month in either order, then the year; the time is optional."""
SERIAL_DATE = re.compile(r"\d{5}(?:\.\d+)?")
SPREADSHEET_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
"""Day 0 of spreadsheets, whose day 60 is a 29 February 1900 that never was."""
TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?")
COUNTED_TIME = re.compile(r"(?:\d{9,10}|\d{13}|\d{16}|\d{19})(?:\.\d+)?")
"""As many digits as the units have that count time since 1970, and no date has."""
ZONE_NAME = re.compile(r"\d:\d\d(?::\d\d(?:\.\d+)?)?\s*(?!AM\b|PM\b|Z\b)([A-Z]{2,5}|[A-Z][A-Za-z]+/\w+)\b")
"""A time of day with the name of its zone, such as 10:00 CET."""
NAMES_ZONE = (
    "names its zone, and several are called alike: write an offset such as +01:00, or give the form with "
    "these letters and the zone in [time], as in format = '%Y-%m-%d %H:%M:%S CET' and zone = 'Europe/Paris'"
)
NO_UNIT = "is a number: say what it counts, as in format = 's' or 'ms' in [time]"
MOST_MONTHS = 12
ALONE = "write the number alone, as in 4 for '4 stars'"
WORDS = "write it in digits, or map the column as a text, or as the type of act with its words in [types]"
DECIMAL_COMMA = re.compile(r"-?\d+,(\d{1,2}|\d{4,})")
"""One comma that cannot divide thousands, because three digits would follow it."""
PROOFS: dict[Decimals, re.Pattern[str]] = {
    ".": re.compile(r"-?(\d+\.(\d{1,2}|\d{4,})|\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,})"),
    ",": re.compile(r"-?(\d+,(\d{1,2}|\d{4,})|\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,})"),
}
"""Numbers that prove what begins fractions: the other sign, or none, divides their thousands."""
NUMBER_UNITS = {"s": Decimal(1000), "ms": Decimal(1), "us": Decimal("1e-3"), "ns": Decimal("1e-6")}
"""Milliseconds in the units in which times are counted since 1970."""
NO_VALUE = {"", "nan", "null", "none", "undefined", "n/a", "#n/a", "na", "\\n"}
"""What programs write for a missing value, in lower case."""
NO_TIME = NO_VALUE | {"nat"}
"""The same for a missing time."""

WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
ROUNDED_NUMBER = re.compile(r"-?\d(\.\d+)?[eE]\+\d+")
"""How spreadsheets show a number of many digits: 8.50001E+11."""
SHARED_NUMBER = "is a number of too many digits, which several ids share: write it as text"

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes for a large value that a change left as it was and PostgreSQL therefore did not log:
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-toasted-values"""


class DateForm(StrEnum):
    """How dates are written that could be read in more than one way."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"
    EXCEL = "excel"
    """Days since 1899-12-30, as spreadsheets count them."""


class AmbiguousDate(ValueError):
    """A date whose day and month cannot be distinguished without knowing the others."""


def moment(cell: object, form: str | None, zone: tzinfo) -> int:
    """Convert a time of any kind to ms since the epoch.

    Args:
        cell: a time, or a number or text of the form.
        form: a unit of `NUMBER_UNITS`, a `DateForm`, a pattern of strptime, or None for a date that is
            read in the one way that is possible.
        zone: of times that name none.

    Raises:
        AmbiguousDate: it is day and month in an unknown order.
        ValueError: it is no time, one of another form, or one that events cannot have.
    """
    found = _moment(cell, form, zone)
    if found < 0:
        raise ValueError("is before 1970")
    if found > LATEST_MS:
        raise ValueError(
            "is after the year 3000"
            + (f" in {form}: say another format in [time]" if form in NUMBER_UNITS else "")
        )
    return found


def _moment(cell: object, form: str | None, zone: tzinfo) -> int:
    if isinstance(cell, datetime):
        return _of_moment(cell if cell.tzinfo else cell.replace(tzinfo=zone))
    if isinstance(cell, date):
        return _of_moment(datetime(cell.year, cell.month, cell.day, tzinfo=zone))
    if form in NUMBER_UNITS:
        return _of_number(plain_text(cell), form)
    if isinstance(cell, int | float) and form != DateForm.EXCEL:
        raise ValueError(NO_UNIT)
    if form is not None and "%" in form:
        return _of_pattern(plain_text(cell), form, zone)
    return milliseconds(plain_text(cell), None if form is None else DateForm(form), zone)


def plain_text(cell: object) -> str:
    """Convert a cell to text with single spaces; a whole number has no fraction, a list is joined.

    Raises:
        ValueError: it is an object or bytes, or stands for a value that was not sent.

    >>> plain_text(" a \\n b "), plain_text(5.0), plain_text(["a", "b"]), plain_text(None)
    ('a b', '5', 'a b', '')
    """
    match cell:
        case str() if cell == UNAVAILABLE:
            raise ValueError("was not sent, because it did not change: give its table REPLICA IDENTITY FULL")
        case str():
            return " ".join(cell.split())
        case None:
            return ""
        case bool():
            return str(cell).lower()
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime() | date():
            return cell.isoformat()
        case list() | tuple():
            return " ".join(filter(None, map(_part_text, cell)))
        case int() | float() | Decimal():
            return str(cell)
    raise ValueError("is neither text nor number: name one of its parts, as in column = 'user.id'")


def _part_text(cell: object) -> str:
    if isinstance(cell, list | tuple):  # which may be nested deeper than functions can call each other
        raise ValueError("is a list of lists: name one of its parts")
    return plain_text(cell)


@lru_cache(maxsize=1024)  # the lines of an invoice share their date, and parsing is slow
def milliseconds(text: str, form: DateForm | None, zone: tzinfo = UTC) -> int:
    """Convert a date to ms since the epoch.

    Args:
        text: ISO 8601; or of the given form.
        form: of dates that are not ISO 8601.
        zone: of dates that name none.

    Raises:
        AmbiguousDate: it is day and month in an unknown order.
        ValueError: it is no date, or one of another form.
    """
    if form is DateForm.EXCEL and SERIAL_DATE.fullmatch(text):
        naive = SPREADSHEET_EPOCH + timedelta(seconds=round(float(text) * 86_400))
        return _of_moment(naive.replace(tzinfo=zone))
    divided = DIVIDED_DATE.fullmatch(text)
    if divided:
        return _of_moment(_of_divided(divided, form).replace(tzinfo=zone))
    if SERIAL_DATE.fullmatch(text):
        raise ValueError("is a number: if it counts a spreadsheet's days, say --dates excel")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_no_date(text)) from None
    return _of_moment(found if found.tzinfo else found.replace(tzinfo=zone))


def _no_date(text: str) -> str:
    if COUNTED_TIME.fullmatch(text):
        return f"{NO_UNIT}, and write all times in one way"
    if TIME_OF_DAY.fullmatch(text):
        return "is a time without a date: write both into one column"
    if ZONE_NAME.search(text):
        return NAMES_ZONE
    return "is no date: write 2010-12-31 08:26:00, or name the form with --dates or as format in [time]"


def order_of(text: str) -> DateForm | None:
    """Return the order that a date alone proves; None if both are possible, or it is no such date."""
    divided = DIVIDED_DATE.fullmatch(text)
    if divided is None:
        return None
    first, second = int(divided[1]), int(divided[3])
    if (first > MOST_MONTHS) == (second > MOST_MONTHS):
        return None
    return DateForm.DAY_FIRST if first > MOST_MONTHS else DateForm.MONTH_FIRST


def common_order(dates: Iterator[tuple[str, str]], column: str) -> DateForm:
    """Return the order of day and month that a column's dates prove together.

    Args:
        dates: all of them, each with its place.
        column: name of the column.

    Raises:
        DatasetError: nothing proves it, or some dates prove one order and some the other.
    """
    proofs: dict[DateForm, str] = {}
    ambiguous = ""
    for place, text in dates:
        order = order_of(text)
        if order is not None:
            proofs.setdefault(order, f"{place}: {column} {text!r}")
        elif not ambiguous and DIVIDED_DATE.fullmatch(text):
            ambiguous = f"{place}: {column} {text!r}"
    if len(proofs) > 1:
        one, other = proofs.values()
        raise DatasetError(
            f"{one} and {other} have day and month in different orders: write all as one of them"
        )
    if not proofs:
        raise DatasetError(
            f"{ambiguous}: day and month cannot be distinguished here or in any other row; "
            "say --dates day-first or --dates month-first"
        )
    return next(iter(proofs))


def number(text: str, decimal: Decimals | None = None) -> float:
    """Convert a number; a decimal comma is read where it cannot divide thousands.

    Args:
        text: of the number.
        decimal: what begins the fraction; the other sign divides thousands.

    Raises:
        ValueError: it is no finite number, or its comma is ambiguous.
    """
    if decimal is not None:
        text = _without_thousands(text, decimal)
    if DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isfinite(found):
        return found
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+", text):
        raise ValueError("may be a decimal comma or thousands: write it without a comma")
    if decimal is None and (sign := proven_decimal([text])):
        raise ValueError(f"divides thousands: say decimal = '{sign}' in [layout]")
    raise ValueError(f"is not a finite number: {ALONE if any(map(str.isdecimal, text)) else WORDS}")


def proven_decimal(texts: Iterable[str]) -> Decimals | None:
    """Return what begins the fractions of numbers; None if none of them proves it, or some prove another.

    >>> proven_decimal(["1.299,50", "1.000"]), proven_decimal(["1,000"]), proven_decimal(["1,5", "1.5"])
    (',', None, None)
    """
    proofs = {sign for text in texts for sign, proof in PROOFS.items() if proof.fullmatch(text)}
    return proofs.pop() if len(proofs) == 1 else None


def _without_thousands(text: str, decimal: Decimals) -> str:
    """Write a number with a point and no other sign; one that divides no thousands stays, and is refused.

    >>> _without_thousands("1.234,5", ",")
    '1234.5'
    """
    divider = "." if decimal == "," else ","
    whole, sign, fraction = text.partition(decimal)
    if divider in whole and re.fullmatch(rf"[-+]?\d{{1,3}}({re.escape(divider)}\d{{3}})+", whole):
        whole = whole.replace(divider, "")
    if divider in whole or divider in fraction:
        raise ValueError(f"has {divider} where it divides no thousands, and {decimal} begins fractions")
    return f"{whole}.{fraction}" if sign else whole


def scaled(value: float, scale: float) -> float:
    """Multiply as people do, with decimals: 255 cents are 2.55, and not 2.5500000000000003.

    >>> scaled(255, 0.01)
    2.55
    """
    return value if scale == 1 else float(Decimal(repr(value)) * Decimal(repr(scale)))


def identifier(text: str) -> str:
    """Return an id as it was before a program took a column of ids for numbers; empty if it is missing.

    ``17850.0``, as pandas writes whole numbers of a column in which some are missing, is ``17850``.

    Raises:
        ValueError: it is a rounded number, as spreadsheets show long ones.

    >>> identifier("17850.0"), identifier("2.50"), identifier("NULL")
    ('17850', '2.50', '')
    """
    if text.lower() in NO_VALUE:
        return ""
    if ROUNDED_NUMBER.fullmatch(text):
        raise ValueError(SHARED_NUMBER)
    written = WHOLE_NUMBER.fullmatch(text)
    return written[1] if written else text


def _of_divided(found: re.Match[str], form: DateForm | None) -> datetime:
    if form not in (DateForm.DAY_FIRST, DateForm.MONTH_FIRST):
        raise AmbiguousDate("has day and month in an unknown order")
    first, second, year = int(found[1]), int(found[3]), int(found[4])
    day, month = (first, second) if form is DateForm.DAY_FIRST else (second, first)
    hour, minute, whole_seconds = (int(part or 0) for part in found.group(5, 6, 7))
    try:
        return datetime(year, month, day, hour, minute, whole_seconds, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"is no date if it is {form}") from None


def _of_moment(found: datetime) -> int:
    whole = int(found.replace(microsecond=0).timestamp())
    return whole * 1000 + found.microsecond // 1000


def _of_number(text: str, unit: str) -> int:
    try:
        found = int(Decimal(text) * NUMBER_UNITS[unit])
    except (ArithmeticError, ValueError):
        raise ValueError(f"is no number of {unit} since 1970: see format in [time]") from None
    if unit == "ms" and is_in_seconds(found):
        raise ValueError("is in seconds, not milliseconds: say format = 's' in [time]")
    return found


@lru_cache(maxsize=1024)  # as `milliseconds`
def _of_pattern(text: str, pattern: str, zone: tzinfo) -> int:
    try:
        found = datetime.strptime(text, pattern)
    except ValueError:
        remedy = f"; {NAMES_ZONE}" if ZONE_NAME.search(text) and "%z" not in pattern else ""
        raise ValueError(f"is not of the form {pattern!r}{remedy}") from None
    return _of_moment(found if found.tzinfo else found.replace(tzinfo=zone))


def unproven_order() -> DateForm:
    """Refuse to guess the order of day and month, where no other dates could prove it."""
    raise ValueError("has day and month in an unknown order: name the format in [time]")
