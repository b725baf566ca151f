"""Look at files of an unknown data set: recognise or guess their mapping, and show what it would make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.busiest_users import BusiestUsers
from pipeline.datasets.catalogue_file import CatalogueFile
from pipeline.datasets.cells import DateForm
from pipeline.datasets.drops import Drops
from pipeline.datasets.guessing import Samples, guess, is_ambiguous, time_format
from pipeline.datasets.mapped import REPEATED, MappedDataset
from pipeline.datasets.mapping import FieldSource, FileFormat, Layout, Mapping
from pipeline.datasets.presets import OLD_ENCODING, is_readable, recognised
from pipeline.datasets.records import check_rows, files_of, format_of, leave_out, read_rows
from pipeline.datasets.row_reader import cell_of
from pipeline.datasets.tables import is_utf16
from pipeline.datasets.undescribed import UndescribedActs
from pipeline.errors import DatasetError
from pipeline.events import Interaction, Item

UTF16 = "utf-16"
MOST_ROWS = 10_000
EARLIEST_MS = 631_152_000_000
"""1990: shops that kept logs came later."""
DAY_MS = 86_400_000
ENDS_AT_FAULT = "the first row that cannot be read ends the reading, unless the mapping says invalid = 'drop'"
SHARED_ID = "event_id is the same for several rows: leave it out, and it follows from the row"


class Inspection(NamedTuple):
    """What was found.

    Attributes:
        samples: values of the columns in the first `MOST_ROWS` rows.
        mapping: recognised, guessed or given; None if none could be guessed.
        is_known: whether it was recognised or given.
        items, interactions: what the first rows become.
        drops: of the first rows.
        questions: what must be answered before the data set can be read.
        warnings: what looks wrong.
    """

    samples: Samples
    mapping: Mapping | None
    is_known: bool
    items: list[Item]
    interactions: list[Interaction]
    drops: Drops
    questions: list[str]
    warnings: list[str]


def inspect(
    source: Path,
    now: int,
    encoding: str | None = None,
    dates: DateForm | None = None,
    given: Mapping | None = None,
) -> Inspection:
    """Inspect the files at a path.

    Args:
        source: a file, or a folder.
        now: the wall clock in ms.
        encoding: of the files, if it is known.
        dates: form of the dates, if it is known.
        given: the mapping, if there is one.

    Raises:
        DatasetError: there is no file, it has no rows, or it cannot be read at all.
    """
    warnings = list[str]()
    encoding = encoding or _encoding(source, given, warnings)
    known = given or recognised(source, encoding)
    layout = (known.catalogue_layout if known.is_catalogue else known.layout) if known else Layout()
    if encoding is not None:
        layout = layout.model_copy(update={"encoding": encoding})
    check_rows(source, layout)
    samples = _samples(source, layout)
    if known is None:
        mapping, guessed = guess(samples, layout)
        warnings += guessed
    else:
        mapping = known.model_copy(update={"layout": layout})
    if mapping is None:
        return Inspection(samples, None, False, [], [], Drops(), warnings, [])
    if mapping.is_catalogue:
        found = Inspection(samples, mapping, known is not None, [], [], Drops(), [], warnings)
        return _with_items(found, source, mapping, now)
    mapping, questions = _with_time(mapping, samples, dates)
    found = Inspection(samples, mapping, known is not None, [], [], Drops(), questions, warnings)
    return found if questions else _with_events(found, source, mapping, now)


def _encoding(source: Path, given: Mapping | None, warnings: list[str]) -> str | None:
    """The encoding of text that is not UTF-8 is taken for the most frequent other one."""
    layout = given.layout if given else Layout()
    first = files_of(source, layout)[0]
    if given or format_of(first) is FileFormat.PARQUET or is_readable(first, layout):
        return None
    if is_utf16(first):
        return UTF16
    warnings.append(
        f"the text is not UTF-8, and is read as {OLD_ENCODING}: check the titles, or say --encoding"
    )
    return OLD_ENCODING


def _samples(source: Path, layout: Layout) -> Samples:
    samples: Samples = {}
    rows = (row for path in files_of(source, layout) for row in read_rows(path, layout, refuse=leave_out))
    for row in itertools.islice(rows, MOST_ROWS):
        if row.repeats_header:
            continue
        for name, value in _flat(row.cells):
            if value is not None and value != "":
                samples.setdefault(name, []).append(value)
            samples.setdefault(name, [])
    return samples


def _flat(cells: Dictionary[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in cells.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _with_time(mapping: Mapping, samples: Samples, dates: DateForm | None) -> tuple[Mapping, list[str]]:
    """Complete the form of times; ask for what the dates do not prove."""
    source = mapping.acts.time
    if source is None or (mapping.time.format is not None and dates is None):
        return mapping, []
    values = _values(samples, source)
    form = str(dates) if dates else time_format(values)
    if form is None and is_ambiguous(values):
        question = f"{source.name}: day and month cannot be told apart: say --dates day-first or month-first"
        return mapping, [question]
    return mapping.model_copy(update={"time": mapping.time.model_copy(update={"format": form})}), []


def _values(samples: Samples, source: FieldSource) -> list[object]:
    found = cell_of({name: values for name, values in samples.items() if values}, source)
    return found if isinstance(found, list) else []


def _tolerant(mapping: Mapping) -> Mapping:
    return mapping.model_copy(update={"invalid": "drop"})


def _with_events(found: Inspection, source: Path, mapping: Mapping, now: int) -> Inspection:
    """Add what the first rows become."""
    try:
        dataset = MappedDataset(source, _tolerant(mapping), MOST_ROWS)
        events = list(dataset.events())
    except DatasetError as error:
        return found._replace(questions=[*found.questions, str(error)])
    acts = [event for event in events if isinstance(event, Interaction)]
    items = [event for event in events if isinstance(event, Item)]
    warnings = [*found.warnings, *_doubts(acts, items, now)]
    if dataset.drops.counts[REPEATED]:
        warnings.append(SHARED_ID)
    warnings += _ends_at_fault(found, dataset.drops)
    return found._replace(items=items, interactions=acts, drops=dataset.drops, warnings=warnings)


def _with_items(found: Inspection, source: Path, mapping: Mapping, now: int) -> Inspection:
    """Add what the first rows of a catalogue become."""
    try:
        catalogue = CatalogueFile(source, _tolerant(mapping), now)
        items = [item for item in itertools.islice(catalogue.items(), MOST_ROWS) if isinstance(item, Item)]
    except DatasetError as error:
        return found._replace(questions=[str(error)])
    warnings = [*found.warnings, *_doubts_of_items(items), *_ends_at_fault(found, catalogue.drops)]
    return found._replace(items=items, drops=catalogue.drops, warnings=warnings)


def _ends_at_fault(found: Inspection, drops: Drops) -> list[str]:
    """What to say where rows that cannot be read are left out here, and would end the reading."""
    return [ENDS_AT_FAULT] if drops.invalid and found.mapping and found.mapping.invalid == "refuse" else []


def _doubts(acts: list[Interaction], items: list[Item], now: int) -> Iterator[str]:
    """Yield what looks wrong about events."""
    if not acts:
        yield "not one row became an interaction"
        return
    first, last = min(act.time for act in acts), max(act.time for act in acts)
    if first < EARLIEST_MS:
        yield "the first time is before 1990: is the unit of time right (format in [time])?"
    if last > now + DAY_MS:
        yield "the last time is in the future: are the unit and the order of day and month right?"
    for field, values in (("user", {act.user for act in acts}), ("item", {act.item for act in acts})):
        if len(values) == 1 and len(acts) > 1:
            yield f"all rows have the same {field}: is the column right?"
    busiest = BusiestUsers()
    busiest.add(acts)
    if warning := busiest.warning(shows_ids=True):
        yield warning
    if items:
        yield from _doubts_of_items(items)
    if 0 < len(items) < MOST_ROWS:  # of a larger catalogue, only a part was read
        undescribed = UndescribedActs()
        undescribed.add(items, acts)
        if warning := undescribed.warning():
            yield warning


def _doubts_of_items(items: list[Item]) -> Iterator[str]:
    """Yield what looks wrong about items."""
    if not items:
        yield "not one row became an item"
    elif all(item.title == item.item for item in items):
        yield "no item has a title: the model knows items by their titles"
