"""A catalogue in files: items that a mapping makes of rows, or JSONL of items and changes of items."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pipeline.datasets.cells import DateForm, common_order, plain_text
from pipeline.datasets.drops import Drops
from pipeline.datasets.mapping import FieldSource, FileFormat, ItemMapping, Layout, Mapping, TimeForm
from pipeline.datasets.records import (
    Refuse,
    Row,
    check_headers,
    check_rows,
    files_of,
    leave_out,
    read_rows,
    refuse,
    refuse_line,
)
from pipeline.datasets.row_reader import CellReader, DropRules, InvalidField, ItemReader, cell_of
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.events import Item, ItemChange, build_item, check_units, encode, validate

ENVELOPE = {"v": Item.version, "kind": Item.kind}
"""What a line of JSONL may leave out."""
JSONL = Layout(format=FileFormat.JSONL)
NO_ITEMS = "the mapping {} has no table [items]: it says nothing about items"


class CatalogueFile:
    """The items in a file, or in the files of a folder, in their order.

    Attributes:
        drops: rows left out in the last iteration, by reason.
    """

    def __init__(self, source: Path, mapping: Mapping | None, time: int) -> None:
        """Open the files.

        Args:
            source: a file, or a folder.
            mapping: of its columns; None for JSONL whose lines are items or changes of items.
            time: in ms, of items that have none.

        Raises:
            DatasetError: there is no such file, one lacks a column, or the mapping has no items.
        """
        if mapping is not None and mapping.items is None:
            raise DatasetError(NO_ITEMS.format(mapping.name))
        self._mapping, self._time = mapping, time
        self._layout = mapping.catalogue_layout if mapping else JSONL
        self._files = [source] if source.is_file() else files_of(source, self._layout)
        self.drops = Drops()
        check_rows(source, self._layout, refuse if mapping else refuse_line)
        check_headers(self._files, self._layout, self._sources)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the wire form of each item, or change of one.

        Raises:
            DatasetError: a row is invalid; names file, line, field, reason and remedy.
        """
        return ((item.item, wire) for item, wire in self._encoded())

    def items(self) -> Iterator[Item | ItemChange]:
        """Yield each item, or change of one.

        Raises:
            DatasetError: as `records`.
        """
        return (item for item, _ in self._encoded())

    def _encoded(self) -> Iterator[tuple[Item | ItemChange, bytes]]:
        """Yield items with their wire forms: one may be too large."""
        self.drops = Drops()
        for row in self._rows(self._refuse_row):
            try:
                for item in self._read(row):
                    yield item, encode(item)
            except (InvalidEvent, InvalidField) as error:
                self.drops.refuse(row.place, error, self._mapping)

    def _read(self, row: Row) -> Iterator[Item | ItemChange]:
        if self._reader is None:
            made = build_item({**ENVELOPE, **row.cells})
            check_units(made)
            yield made
            return
        reason = "the header again" if row.repeats_header else self._rules.reason_for(row.cells)
        item = "" if reason else self._reader.item(row.cells)
        if not item:
            self.drops.add(reason or "an item without id", row.place)
            return
        title = self._reader.title(row.cells) or item
        fields = {"item": item, "title": title, "time": self._time, **self._reader.others(row.cells)}
        yield validate(Item, fields)

    def _refuse_row(self, place: str, fault: str, details: str) -> None:
        if self._mapping is None:
            refuse_line(place, fault, details)
        self.drops.refuse_row(place, fault, fault + details, self._mapping)

    def _rows(self, refuse: Refuse) -> Iterator[Row]:
        return (row for file in self._files for row in read_rows(file, self._layout, self._sources, refuse))

    @cached_property
    def _sources(self) -> list[FieldSource]:
        sources = list(self._fields.sources()) if self._fields else []
        return sources + [rule.column for rule in self._mapping.drop_without_acts] if self._mapping else []

    @property
    def _fields(self) -> ItemMapping | None:
        return self._mapping.items if self._mapping else None

    @cached_property
    def _reader(self) -> ItemReader | None:
        return ItemReader(self._fields, self._cells) if self._fields else None

    @cached_property
    def _rules(self) -> DropRules:
        return DropRules(self._mapping.drop_without_acts if self._mapping else (), self._cells)

    @cached_property
    def _cells(self) -> CellReader:
        times = self._mapping.item_times if self._mapping else TimeForm()
        return CellReader(times, self._layout, lambda: self._order)

    @cached_property
    def _order(self) -> DateForm:
        """The order of day and month; all dates are read once more for it."""
        fields = self._fields
        times = (fields.time, fields.published, fields.expires) if fields else ()
        sources = [source for source in times if source is not None]
        cells = (
            (row.place, plain_text(cell_of(row.cells, source)))
            for row in self._rows(leave_out)
            for source in sources
        )
        return common_order(cells, sources[0].name)
