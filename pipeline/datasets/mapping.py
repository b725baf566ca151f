"""How the columns of a data set become events: a mapping, read from a TOML file or guessed by `inspect`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.datasets.cells import NUMBER_UNITS, DateForm
from pipeline.errors import DatasetError
from pipeline.events import InteractionType
from pipeline.wording import faults_in

UTF8 = "utf-8"
ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""Formats by the ending of a file's name, without that of its compression."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileFormat(StrEnum):
    """How a file is organised."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class FieldKind(StrEnum):
    """What the values of an attribute or of a context field are."""

    TEXT = "text"
    NUMBER = "number"


class FieldSource(_Part):
    """Where a field of an event comes from; a text or a list stands for `column` alone.

    Attributes:
        column: names of the column, the first that a row has; a dotted path for JSON.
        default: what a row without a value has; a source without a column is a constant.
        split: divides a text into a list of values (attributes), or joins them with ", " (texts).
        kind: of an attribute or a context field.
        scale: what numbers are multiplied by, as 0.01 for a price in cents.
    """

    column: tuple[str, ...] = ()
    default: str | int | float | bool | None = None
    split: str | None = Field(default=None, min_length=1)
    kind: FieldKind = FieldKind.TEXT
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _columns_alone(cls, given: object) -> object:
        return {"column": given} if isinstance(given, str | list | tuple) else given

    @field_validator("column", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if not self.column and self.default is None:
            raise ValueError("name a column, a default, or both")
        return self

    @property
    def name(self) -> str:
        """The column, as messages name it."""
        return self.column[0] if self.column else str(self.default)


class Layout(_Part):
    """How the files are written.

    Attributes:
        files: which files of a folder, as a glob pattern.
        format: of the files; by the endings of their names without it.
        delimiter: between the cells of a csv file; without it the most frequent one of its header.
        columns: names of the columns of csv files that have no header.
        quoted: whether a cell of a csv file may stand in quotes; else they are characters like others.
        decimal: what begins a number's fraction, so that the other sign divides thousands; without it,
            a sign that could be either is refused.
        sorted: the rows are in order of time, and are streamed; an earlier time is refused.
    """

    files: str = "*"
    format: FileFormat | None = None
    delimiter: str | None = Field(default=None, min_length=1)
    encoding: str = UTF8
    columns: tuple[str, ...] = ()
    quoted: bool = True
    decimal: Literal[".", ","] | None = None
    sorted: bool = False


class TimeForm(_Part):
    """How times are written.

    Attributes:
        format: s, ms, us or ns since 1970; day-first, month-first or excel; a pattern of strptime such as
            ``%d.%m.%Y %H:%M``; without it ISO 8601, or day and month in the order that one date proves.
        zone: of times that name none.
        start_ms, step_ms: of the first row, and between rows, where the rows have no time.
    """

    format: str | None = None
    zone: str = "UTC"
    start_ms: int = Field(default=946_684_800_000, ge=0)
    step_ms: int = Field(default=1_000, ge=1)

    @field_validator("format")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        known = [*NUMBER_UNITS, *DateForm]
        if name is not None and name not in known and "%" not in name:
            raise ValueError(f"is {name!r}: write {', '.join(known)}, or a pattern such as %d.%m.%Y %H:%M")
        return name

    @field_validator("zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone is called {name!r}: write a name such as Europe/Berlin") from None
        return name


class InteractionMapping(_Part):
    """Where the fields of an interaction come from. Without `time`, rows are a step of time apart."""

    user: FieldSource
    item: FieldSource
    type: FieldSource
    time: FieldSource | None = None
    value: FieldSource | None = None
    session: FieldSource | None = None
    event_id: FieldSource | None = None
    context: dict[str, FieldSource] = {}

    def sources(self) -> Iterator[FieldSource]:
        """Yield where all fields come from."""
        fields = (self.user, self.item, self.type, self.time, self.value, self.session, self.event_id)
        yield from (source for source in fields if source is not None)
        yield from self.context.values()


class ItemMapping(_Part):
    """Where the fields of an item come from: the same rows, or the files of its own layout.

    `available` is a yes or no, or a number of pieces in stock. `times` says how times are written, if in
    another way than those of the interactions.
    """

    item: FieldSource
    title: FieldSource | None = None
    description: FieldSource | None = None
    category: FieldSource | None = None
    time: FieldSource | None = None
    published: FieldSource | None = None
    expires: FieldSource | None = None
    available: FieldSource | None = None
    attributes: dict[str, FieldSource] = {}
    layout: Layout | None = None
    times: TimeForm | None = None

    def sources(self) -> Iterator[FieldSource]:
        """Yield where all fields come from."""
        fields = (
            self.item,
            self.title,
            self.description,
            self.category,
            self.time,
            self.published,
            self.expires,
            self.available,
        )
        yield from (source for source in fields if source is not None)
        yield from self.attributes.values()


class UserMapping(_Part):
    """Where the attributes of users come from: the same rows, or the files of its own layout."""

    user: FieldSource
    attributes: dict[str, FieldSource] = Field(min_length=1)
    layout: Layout | None = None

    def sources(self) -> Iterator[FieldSource]:
        """Yield where all fields come from."""
        yield self.user
        yield from self.attributes.values()


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


class RowLines(_Part):
    """Makes several rows of one, such as the lines of an order or the items of a list.

    Attributes:
        column: a list, each of whose elements takes its place; or a text that is divided. A dotted path for
            JSON.
        split: divides the text.
        pattern: its named groups become columns of the row; a part that it does not match has none.
    """

    column: str = Field(min_length=1)
    split: str | None = Field(default=None, min_length=1)
    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _has_groups(cls, pattern: str | None) -> str | None:
        if pattern is not None and not _compiled(pattern).groupindex:
            raise ValueError("has no named group: write one as (?P<item>[0-9]+)")
        return pattern

    @property
    def groups(self) -> frozenset[str]:
        """Names of the columns that the pattern makes."""
        return frozenset(re.compile(self.pattern).groupindex) if self.pattern else frozenset()


class DropRule(_Part):
    """Rows that are left out: those whose cell is wholly matched by a pattern, or is a number up to one."""

    column: FieldSource
    matches: str | None = None
    up_to: float | None = None
    reason: str = Field(min_length=1)

    @field_validator("matches")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.matches is None) == (self.up_to is None):
            raise ValueError("give either matches or up_to")
        return self


class Mapping(_Part):
    """How the columns of a data set become events.

    Attributes:
        name: of the data set, in reports.
        invalid: what becomes of a row that cannot be read: refuse ends the reading, drop counts it.
        each: what makes several acts of a row.
        types: types of interaction by what the rows call them; a type's own name needs none.
        drop: rules that leave out rows, the first that applies: rows of acts, or of items or users if the
            mapping makes nothing else.
        interactions: None where the rows describe items or users only, as those of a catalogue's topic.
    """

    name: str = Field(default="mapped", min_length=1, max_length=64)
    invalid: Literal["refuse", "drop"] = "refuse"
    layout: Layout = Layout()
    each: RowLines | None = None
    interactions: InteractionMapping | None = None
    time: TimeForm = TimeForm()
    types: dict[str, Annotated[InteractionType, Field(strict=False)]] = {}
    items: ItemMapping | None = None
    users: UserMapping | None = None
    drop: tuple[DropRule, ...] = ()

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.interactions is None and (self.items is None) == (self.users is None):
            raise ValueError("write a table [interactions], or one of [items] and [users] alone")
        if self.interactions is None and self.each is not None:
            raise ValueError("[each] makes several acts of a row, so it needs a table [interactions]")
        return self

    @property
    def acts(self) -> InteractionMapping:
        """Where the fields of interactions come from.

        Raises:
            DatasetError: the rows describe items only.
        """
        if self.interactions is None:
            raise DatasetError(f"the mapping {self.name} has no table [interactions]: it makes no acts")
        return self.interactions

    @property
    def item_times(self) -> TimeForm:
        """How the times of items are written."""
        return (self.items.times if self.items else None) or self.time

    @property
    def is_catalogue(self) -> bool:
        """Whether the rows describe items and nothing else."""
        return self.interactions is None and self.items is not None

    @property
    def drop_without_acts(self) -> tuple[DropRule, ...]:
        """Rules that leave out rows of items or users; those of a mapping that makes acts are about acts."""
        return self.drop if self.interactions is None else ()

    @property
    def catalogue_layout(self) -> Layout:
        """How the files are written that describe items."""
        return (self.items.layout if self.items else None) or self.layout

    @property
    def titles_are_in_rows(self) -> bool:
        """Whether the items are described by the rows of the interactions."""
        return self.items is not None and self.items.layout is None

    @property
    def users_are_in_rows(self) -> bool:
        """Whether the users are described by the rows of the interactions."""
        return self.users is not None and self.users.layout is None

    def of_rows(self) -> Iterator[FieldSource]:
        """Yield what is read from the rows of the interactions, as they are in their files."""
        made = self.each.groups if self.each else frozenset[str]()
        if self.each:
            yield FieldSource(column=(self.each.column,))
        yield from (source for source in self._read() if made.isdisjoint(source.column))

    def _read(self) -> Iterator[FieldSource]:
        yield from (rule.column for rule in self.drop)
        yield from self.acts.sources()
        if self.items is not None and self.items.layout is None:
            yield from self.items.sources()
        if self.users is not None and self.users.layout is None:
            yield from self.users.sources()


def load_mapping(path: Path) -> Mapping:
    """Read a mapping from a TOML file.

    Raises:
        DatasetError: the file cannot be read, or is no mapping; names the key and the reason.
    """
    try:
        return Mapping.model_validate(tomllib.loads(path.read_text(encoding=UTF8)))
    except OSError as error:
        raise DatasetError(f"the mapping {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise DatasetError(f"the mapping {path} is not TOML: {error}") from None
    except ValidationError as error:
        raise DatasetError(f"the mapping {path}: {faults_in(error, Mapping, 'all of it')}") from None


NESTED = "items", "users"
"""Tables with tables of their own."""


def to_toml(mapping: Mapping) -> str:
    """Write a mapping as TOML, without what is as by default."""
    plain = mapping.model_dump(mode="json", exclude_defaults=True)
    rules = plain.pop("drop", [])
    tables = {key: value for key, value in plain.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if key not in tables]
    for name, table in tables.items():
        inner = {key: table.pop(key) for key in ("layout", "times") if name in NESTED and key in table}
        lines += _table(f"[{name}]", table)
        lines += [line for key, part in inner.items() for line in _table(f"[{name}.{key}]", part)]
    for rule in rules:
        lines += _table("[[drop]]", rule)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(heading: str, table: dict[str, object]) -> list[str]:
    return ["", heading, *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _toml(value: object) -> str:
    match value:
        case {"column": [str(column)], **rest} if not rest:
            return json.dumps(column)
        case {"column": list(columns), **rest} if not rest:
            return _toml(columns)
        case dict():
            return "{" + ", ".join(f"{_key(key)} = {_toml(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
