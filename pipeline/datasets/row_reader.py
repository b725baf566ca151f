"""Convert the rows of a data set to the fields of events, as a mapping says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.datasets import mapping as mappings
from pipeline.datasets.cells import (
    NO_TIME,
    NO_VALUE,
    SHARED_NUMBER,
    AmbiguousDate,
    DateForm,
    identifier,
    moment,
    number,
    plain_text,
    scaled,
)
from pipeline.datasets.mapping import DropRule, FieldKind, FieldSource, Layout, TimeForm
from pipeline.datasets.records import Cells, Row
from pipeline.errors import RefusalReason
from pipeline.events import InteractionType

MOST_SHOWN = 40
"""Characters of a cell that a message repeats."""
MOST_EXACT = 2.0**53
"""Above it floating-point numbers skip whole ones; JSON's of over 64 bits are read as such, too."""
YES, NO = {"true", "yes", "y", "t"}, {"false", "no", "n", "f"}
TYPES = {str(kind): kind for kind in InteractionType}
Fields = dict[str, object]


class InvalidField(ValueError):
    """A cell that cannot be read.

    Attributes:
        column: name of the column.
        problem: what is wrong, without the value.
        reason: column and problem.
        detail: the same with the value; it is not shown where it names a person.
        code: the reason in one word.
    """

    def __init__(
        self,
        column: str,
        shown: str | None,
        reason: object,
        code: RefusalReason = RefusalReason.WRONG_TYPE,
    ) -> None:
        self.column = column
        self.problem = str(reason)
        self.code = code
        self.reason = f"{column} {reason}"
        self.detail = f"{column} {reason}" if shown is None else f"{column} {shown[:MOST_SHOWN]!r} {reason}"
        super().__init__(self.detail)


class Act(NamedTuple):
    """The fields of one interaction.

    Attributes:
        time: ms since the epoch.
        number: of the row among all rows of all files, from 0.
        file: number of the file.
        place: ``path:line`` of the row.
        fields: all others, by their names in the event.
    """

    time: int
    number: int
    file: int
    place: str
    fields: Fields


class Drop(NamedTuple):
    """A row that is no act.

    Attributes:
        reason: why it is none.
        field: the column at fault; None if a rule of the mapping leaves the row out on purpose.
        code: the reason in one word, where a column is at fault.
    """

    reason: str
    field: str | None = None
    code: RefusalReason = RefusalReason.INVALID


class CellReader:
    """Reads single fields from rows.

    `order` finds the order of day and month of a data set's dates, when first it is needed.
    """

    def __init__(self, times: TimeForm, layout: Layout, order: Callable[[], DateForm]) -> None:
        self._form = times.format
        self._zone = ZoneInfo(times.zone)
        self._decimal = layout.decimal
        self._order = order

    def text(self, cells: Cells, source: FieldSource) -> str:
        """Return a text, empty if it is missing."""
        found = cell_of(cells, source)
        try:
            text = plain_text(found)
        except ValueError as error:
            raise InvalidField(source.name, None, error) from None
        return ", ".join(filter(None, text.split(source.split))) if source.split else text

    def identifier(self, cells: Cells, source: FieldSource) -> str:
        """Return an id, empty if it is missing or what programs write for a missing one.

        A message never repeats it, because it may be a user's.
        """
        found = cell_of(cells, source)
        if isinstance(found, float) and not math.isnan(found):
            _check_number(found, source)
        try:
            return identifier(self.text(cells, source))
        except ValueError as error:
            raise InvalidField(source.name, None, error) from None

    def number(self, cells: Cells, source: FieldSource) -> float | None:
        """Return a number, None if it is missing."""
        found = cell_of(cells, source)
        if isinstance(found, int | float):
            found = repr(float(found))
            decimal = None
        else:
            found, decimal = self.text(cells, source), self._decimal
        if found.lower() in NO_VALUE:
            return None
        try:
            return scaled(number(found, decimal), source.scale)
        except ValueError as error:
            raise InvalidField(source.name, found, error) from None

    def time(self, cells: Cells, source: FieldSource) -> int | None:
        """Return a time in ms, None if it is missing."""
        found = cell_of(cells, source)
        if found is None or (isinstance(found, str | float) and str(found).strip().lower() in NO_TIME):
            return None
        try:
            try:
                return moment(found, self._form, self._zone)
            except AmbiguousDate:
                return moment(found, self._order(), self._zone)
        except ValueError as error:
            shown = self.text(cells, source)
            raise InvalidField(source.name, shown, error, RefusalReason.TIME_UNIT) from None

    def flag(self, cells: Cells, source: FieldSource) -> bool | None:
        """Return a yes or no, or whether a number of pieces is positive; None if it is missing."""
        text = self.text(cells, source).lower()
        if text in YES or text in NO:
            return text in YES
        try:
            pieces = self.number(cells, source)
        except InvalidField:
            problem = "is neither yes nor no, nor a number of pieces"
            raise InvalidField(source.name, text, problem) from None
        return None if pieces is None else pieces > 0

    def value(self, cells: Cells, source: FieldSource) -> object:
        """Return an attribute or a context field: text, number or list; None if it is missing."""
        if source.kind is FieldKind.NUMBER:
            return self.number(cells, source)
        found = cell_of(cells, source)
        if isinstance(found, list | tuple):
            return self._texts(found, source)
        if source.split and isinstance(found, str):
            return [" ".join(part.split()) for part in found.split(source.split) if part.strip()]
        return self.text(cells, source) or None

    def _texts(self, found: Iterable[object], source: FieldSource) -> list[str]:
        try:
            return [text for part in found if (text := plain_text(part))]
        except ValueError as error:
            raise InvalidField(source.name, None, error) from None


def _check_number(found: float, source: FieldSource) -> None:
    if abs(found) > MOST_EXACT:
        raise InvalidField(source.name, None, SHARED_NUMBER)
    if not found.is_integer():
        raise InvalidField(source.name, None, "is a number with a fraction: write ids as text")


class DropRules:
    """The rules of a mapping that leave out rows."""

    def __init__(self, rules: Iterable[DropRule], cells: CellReader) -> None:
        self._cells = cells
        self._rules = [(rule, None if rule.matches is None else re.compile(rule.matches)) for rule in rules]

    def reason_for(self, cells: Cells) -> str | None:
        """Return the reason of the first rule that leaves a row out; None if none does.

        Raises:
            InvalidField: the cell of a rule is to be a number, and is none.
        """
        for rule, pattern in self._rules:
            if pattern is not None:
                applies = pattern.fullmatch(self._cells.text(cells, rule.column)) is not None
            else:
                applies = self._required_number(cells, rule.column) <= (rule.up_to or 0)
            if applies:
                return rule.reason
        return None

    def _required_number(self, cells: Cells, source: FieldSource) -> float:
        found = self._cells.number(cells, source)
        if found is None:
            raise InvalidField(source.name, self._cells.text(cells, source), "is not a finite number")
        return found


class ActReader:
    """Reads interactions from rows."""

    def __init__(self, mapping: mappings.Mapping, cells: CellReader) -> None:
        self._mapping = mapping
        self._fields = mapping.acts
        self._cells = cells
        self._types = {**TYPES, **mapping.types}
        self._rules = DropRules(mapping.drop, cells)

    def read(self, row: Row, number: int, file: int) -> Act | Drop:
        """Return the act of a row, or why the row is left out.

        Raises:
            InvalidField: a cell cannot be read.
        """
        reason = self._rules.reason_for(row.cells)
        if reason:
            return Drop(reason)
        user = self._cells.identifier(row.cells, self._fields.user)
        item = self._cells.identifier(row.cells, self._fields.item)
        time = self._time(row.cells, number)
        if not user or not item or time is None:
            missing = self._fields.user if not user else self._fields.item if not item else self._fields.time
            name = missing.name if missing else "time"
            return Drop(f"no {name}", name, RefusalReason.MISSING_FIELD)
        kind = self._types.get(called := self._cells.text(row.cells, self._fields.type)) or self._types.get(
            called.lower()
        )
        if kind is None:
            name = self._fields.type.name
            return Drop(f"{name} is no type that [types] names", name, RefusalReason.UNKNOWN_TYPE)
        fields = {"user": user, "item": item, "type": str(kind), **dict(self._others(row.cells))}
        return Act(time, number, file, row.place, fields)

    @cached_property
    def has_types(self) -> bool:
        """Whether the type comes from a column, and so tells acts apart."""
        return bool(self._fields.type.column)

    def _time(self, cells: Cells, number: int) -> int | None:
        if self._fields.time is None:
            return self._mapping.time.start_ms + self._mapping.time.step_ms * number
        return self._cells.time(cells, self._fields.time)

    def _others(self, cells: Cells) -> Iterator[tuple[str, object]]:
        if self._fields.value is not None:
            yield "value", self._cells.number(cells, self._fields.value)
        for name, source in (("session", self._fields.session), ("event_id", self._fields.event_id)):
            if source is not None and (text := self._cells.identifier(cells, source)):
                yield name, text
        context = _present(
            (name, self._cells.value(cells, source)) for name, source in self._fields.context.items()
        )
        if context:
            yield "context", context


class ItemReader:
    """Reads the fields of items from rows."""

    def __init__(self, mapping: mappings.ItemMapping, cells: CellReader) -> None:
        self._fields = mapping
        self._cells = cells

    def item(self, cells: Cells) -> str:
        """Return an item's id, empty if it is missing."""
        return self._cells.identifier(cells, self._fields.item)

    def title(self, cells: Cells) -> str:
        """Return an item's title, empty if it is missing."""
        return self._cells.text(cells, self._fields.title) if self._fields.title else ""

    def others(self, cells: Cells) -> Fields:
        """Return all other fields that have values.

        Raises:
            InvalidField: a cell cannot be read.
        """
        fields = self._fields
        texts = (("description", fields.description), ("category", fields.category))
        times = (("time", fields.time), ("published", fields.published), ("expires", fields.expires))
        found = _present((name, self._cells.text(cells, source) or None) for name, source in texts if source)
        found |= _present((name, self._cells.time(cells, source)) for name, source in times if source)
        found |= _present(
            [("available", self._cells.flag(cells, fields.available))] if fields.available else []
        )
        attributes = ((name, self._cells.value(cells, source)) for name, source in fields.attributes.items())
        named = _present(attributes)
        return {**found, "attributes": named} if named else found


def cell_of(cells: Cells, source: FieldSource) -> object:
    """Return the value of a source in a row: of its first column that has one, else its default."""
    for column in source.column:
        found = cells[column] if column in cells else _inside(cells, column)
        if found is not None and not (isinstance(found, str) and not found.strip()):
            return found
    return source.default


def _inside(cells: object, path: str) -> object:
    for name in path.split("."):
        cells = cells.get(name) if isinstance(cells, Mapping) else None
    return cells


def _present(fields: Iterable[tuple[str, object]]) -> Fields:
    return {name: value for name, value in fields if value is not None}
