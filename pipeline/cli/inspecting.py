"""The command that looks at a file before it is read: which mapping fits, and what it makes of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.cli.terminal import DatesOption, EncodingOption, MappingOption, console, keep_what_is_read
from pipeline.clock import now_ms
from pipeline.config import load_settings
from pipeline.errors import DatasetError, StorageUnavailable

if TYPE_CHECKING:
    from pipeline.datasets.inspection import Inspection
    from pipeline.datasets.mapping import FieldSource, Mapping

app = typer.Typer()
SHOWN_EVENTS, SHOWN_VALUES, SHOWN_CHARACTERS = 5, 3, 30


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a URL of one.")],
    mapping: MappingOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the mapping to this file.")] = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
) -> None:
    """Look at a file: recognise or guess its mapping, show the first events, drops and warnings."""
    from pipeline.datasets.inspection import inspect as run
    from pipeline.datasets.mapping import load_mapping, to_toml
    from pipeline.datasets.remote import local

    keep_what_is_read([file], [write])
    found = run(local(file), now_ms(), encoding, dates, load_mapping(mapping) if mapping else None)
    console.print(_columns(found))
    if found.mapping is not None:
        origin = found.mapping.name if found.is_known else "guessed, check it"
        _print(f"Mapping ({origin}):\n\n{to_toml(found.mapping)}")
    _print_events(found)
    for warning in (*found.warnings, *_misfits(found)):
        _print(f"warning: {warning}")
    if found.questions or found.mapping is None:
        raise DatasetError("; ".join(found.questions))
    if write is not None:
        _write(write, found.mapping)


def _print(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _columns(found: Inspection) -> Table:
    table = Table("column", "read as", "values")
    read_as = _fields_by_column(found.mapping) if found.mapping else {}
    for name, values in found.samples.items():
        shown = dict.fromkeys(str(value)[:SHOWN_CHARACTERS] for value in values)
        table.add_row(name, ", ".join(read_as.get(name, [])), " · ".join([*shown][:SHOWN_VALUES]))
    return table


def _fields_by_column(mapping: Mapping) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}

    def add(source: FieldSource | None, field: str) -> None:
        for column in source.column if source else ():
            fields.setdefault(column, []).append(field)

    if acts := mapping.interactions:
        for field in ("user", "item", "type", "time", "value", "session", "event_id"):
            add(getattr(acts, field), field)
        for name, source in acts.context.items():
            add(source, f"context.{name}")
    if mapping.items is not None and (mapping.is_catalogue or mapping.titles_are_in_rows):
        if mapping.is_catalogue:
            add(mapping.items.item, "item")
        for field in ("title", "description", "category", "published", "expires", "available"):
            add(getattr(mapping.items, field), field)
        for name, source in mapping.items.attributes.items():
            add(source, f"attributes.{name}")
    return fields


def _print_events(found: Inspection) -> None:
    from pipeline.events import encode
    from pipeline.wording import counted

    for item in found.items[:SHOWN_EVENTS]:
        _print(encode(item).decode())
    for act in found.interactions[:SHOWN_EVENTS]:
        _print(encode(act).decode())
    parts = [counted(len(found.items), "item")]
    if found.mapping is None or not found.mapping.is_catalogue:
        parts.append(counted(len(found.interactions), "interaction"))
    _print(f"The first rows become {' and '.join(parts)}.")
    for line in found.drops.lines():
        _print(line)


def _misfits(found: Inspection) -> Iterator[str]:
    """Yield what of the interactions does not fit the settings."""
    from pipeline.ratings.scale import PositiveActs, RatingScale

    settings = load_settings()
    for check in PositiveActs(settings.signals), RatingScale(settings.learn.ratings):
        check.add(found.interactions)
        if warning := check.warning():
            yield warning


def _write(file: Path, mapping: Mapping) -> None:
    from pipeline.datasets.mapping import to_toml

    try:
        file.write_text(to_toml(mapping), encoding="utf-8")
    except OSError as error:
        raise StorageUnavailable(f"the mapping cannot be written to {file}: {error.strerror}") from None
    readers = "items load" if mapping.is_catalogue else "play, backtest or demo"
    _print(f"Mapping written to {file}: give it to {readers} with --mapping {file}")
