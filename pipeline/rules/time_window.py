"""When a rule is in force: from and until a moment, on weekdays, at hours of a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.event_fields import refuse_seconds
from pipeline.events import Milliseconds
from pipeline.rules.conditions import RuleData

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOURS = r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$"


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise PydanticCustomError("time_zone", "is no time zone: send a name such as Europe/Berlin") from None
    return name


class TimeWindow(RuleData):
    """A rule is in force while all that is given holds.

    `starts` is included, `ends` is not. `hours` such as ``18:00-24:00`` are those of `time_zone`, the end not
    included; ``22:00-06:00`` goes past midnight, and each of its two days counts as itself for `weekdays`.
    """

    starts: Annotated[Milliseconds, AfterValidator(refuse_seconds)] | None = None
    ends: Annotated[Milliseconds, AfterValidator(refuse_seconds)] | None = None
    weekdays: Annotated[
        tuple[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], ...],
        Field(strict=False, max_length=7),
    ] = ()
    hours: Annotated[str, Field(pattern=_HOURS)] | None = None
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(_known_zone)] = "UTC"

    @field_validator("hours", mode="before")
    @classmethod
    def _two_times(cls, hours: object) -> object:
        if isinstance(hours, str) and not re.search(_HOURS, hours):
            raise PydanticCustomError(
                "hours", "must be two times of the day, such as 09:00-17:30 or 22:00-06:00"
            )
        return hours

    @field_validator("ends")
    @classmethod
    def _after_start(cls, ends: int | None, info: ValidationInfo) -> int | None:
        starts = info.data.get("starts")
        if ends is not None and starts is not None and ends <= starts:
            raise PydanticCustomError("ends", "must be after starts")
        return ends

    def holds(self, time: int) -> bool:
        """Whether a moment, in ms since the epoch, is in the window."""
        if (self.starts is not None and time < self.starts) or (self.ends is not None and time >= self.ends):
            return False
        if not self.weekdays and self.hours is None:
            return True
        weekday, minute = _local(self.time_zone, time // 60_000)
        return (not self.weekdays or DAYS[weekday] in self.weekdays) and self._in_hours(minute)

    def _in_hours(self, minute: int) -> bool:
        if self.hours is None:
            return True
        first, last = (_minutes(text) for text in self.hours.split("-"))
        return first <= minute < last if first < last else minute >= first or minute < last


def _minutes(text: str) -> int:
    hours, minutes = re.split(":", text)
    return 60 * int(hours) + int(minutes)


@lru_cache(64)
def _local(time_zone: str, minute: int) -> tuple[int, int]:
    """Return the weekday, Monday being 0, and the minute of the day in a time zone."""
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).astimezone(ZoneInfo(time_zone))
    return moment.weekday(), 60 * moment.hour + moment.minute
