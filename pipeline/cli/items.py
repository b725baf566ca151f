"""Commands for the catalogue: load, list, show, search, remove; and encode series of its items."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import (
    DatesOption,
    EncodingOption,
    MappingOption,
    console,
    folded,
    log_of_settings,
    print_drop_lines,
    progress_bar,
    report_file,
    write_file,
)
from pipeline.clock import now_ms
from pipeline.errors import DatasetError

if TYPE_CHECKING:
    from pipeline.events import Item
    from pipeline.state.catalogue import Catalogue

app = typer.Typer()
items_app = typer.Typer(help="Load, list, show, search and remove items.", no_args_is_help=True)
app.add_typer(items_app, name="items")
DECIMALS = 5
"""Of a vector's numbers: a model reads them as float16."""
LimitOption = Annotated[int, typer.Option(min=1, help="How many to show.")]


@items_app.command("load")
def load_items(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a URL of one.")],
    mapping: MappingOption = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
) -> None:
    """Read a catalogue and append its items to the log, after every row was checked.

    Without --mapping, FILE is JSONL whose lines are items or changes of items, as in docs/events.md.
    """
    from pipeline.datasets import adjusted
    from pipeline.datasets.catalogue_file import CatalogueFile
    from pipeline.datasets.mapping import load_mapping
    from pipeline.datasets.remote import local
    from pipeline.wording import counted

    found = load_mapping(mapping) if mapping else None
    catalogue = CatalogueFile(local(file), found and adjusted(found, encoding, dates), now_ms())
    records = list(catalogue.records())
    with (
        log_of_settings() as (event_log, topics, _),
        event_log.writer() as writer,
        progress_bar("loading", len(records)) as progress,
    ):
        for item, wire in progress.track(records, task_id=progress.task_ids[0]):
            writer.append(topics.items, item, wire)
        writer.flush()
    print_drop_lines(catalogue.drops, len(records), "an item")
    console.print(f"{counted(len(records), 'item')} added to {topics.items}, or replaced there")


@items_app.command("series")
def encode_item_series(
    file: Annotated[Path, typer.Argument(help="JSONL, or a folder of it.")],
    name: Annotated[str, typer.Option(help="The name of the vectors, as learn.sizes.vectors has it.")],
    write: Annotated[Path, typer.Option(callback=report_file, help="Write the changes of items to it.")],
    width: Annotated[int, typer.Option(min=1, max=1_024, help="Numbers of a vector.")] = 64,
) -> None:
    """Make vectors of series of numbers, as changes of items for `items load`.

    A line of FILE is such as {"item": "a-sensor", "series": [0.5, 1, 0.25]}, with 9 to 65,536 numbers.
    """
    from pipeline.config.model import VECTOR_NAME
    from pipeline.datasets.series_file import read_series
    from pipeline.events import ItemChange, encode, validate
    from pipeline.model.content.series import encode_series

    if file.resolve() in (write.resolve(), *write.resolve().parents):
        raise DatasetError(f"--write {write} is what is read, or in it: name a file elsewhere")
    if not re.fullmatch(VECTOR_NAME, name):
        raise typer.BadParameter("is no name of vectors such as shape or load_curve", param_hint="--name")
    lines, found_at = list[bytes](), dict[str, str]()
    for place, line in read_series(file):
        if (first := found_at.setdefault(line.item, place)) != place:
            raise DatasetError(f"{place}: item: its series is at {first}, too; leave one of them out")
        try:
            vector = encode_series(line.series, width).round(DECIMALS).tolist()
        except ValueError as error:
            raise DatasetError(f"{place}: series: {error}") from None
        lines.append(encode(validate(ItemChange, {"item": line.item, "vectors": {name: vector}})))
    write_file(write, b"\n".join(lines) + b"\n")
    console.print(f"encoded {len(lines):,} series: load them with millstream items load {write}")


@items_app.command("list")
def list_items(limit: LimitOption = 20) -> None:
    """Count the items of the catalogue, and list them by id."""
    from pipeline.reports.catalogue import items_page

    console.print(items_page(_known(_catalogue()), limit), soft_wrap=True)


@items_app.command("search")
def search_items(
    words: Annotated[list[str], typer.Argument(help="Words; a title has all of them.")],
    limit: LimitOption = 20,
) -> None:
    """List the items whose titles have all words, in any order and case."""
    from pipeline.reports.catalogue import items_page

    wanted = [folded(word) for word in words]
    found = [one for one in _known(_catalogue()) if all(word in folded(one.title) for word in wanted)]
    console.print(items_page(found, limit), soft_wrap=True)


@items_app.command("show")
def show_item(item: str) -> None:
    """Print an item as JSON."""
    console.print_json(orjson.dumps(_entry(item).model_dump()).decode())


@items_app.command("remove")
def remove_item(
    item: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an item from the catalogue: it is not recommended any more, until it is loaded again."""
    title = _entry(item).title
    if not yes:
        typer.confirm(f"Remove {item} ({title})?", abort=True)
    with log_of_settings() as (event_log, topics, _), event_log.writer() as writer:
        writer.append(topics.items, item, None)
        writer.flush()
    console.print(f"{item} is removed", markup=False)


def _catalogue() -> Catalogue:
    from pipeline.state.catalogue import read_catalogue

    with log_of_settings() as (event_log, topics, _):
        return read_catalogue(event_log, topics.items)


def _known(catalogue: Catalogue) -> list[Item]:
    """The items that are in the catalogue, and not removed, by id."""
    from pipeline.state.catalogue import REMOVED

    rows = zip(catalogue.entries, catalogue.digests, strict=True)
    found = [entry for entry, digest in rows if entry is not None and digest != REMOVED]
    return sorted(found, key=lambda entry: entry.item)


def _entry(item: str) -> Item:
    from pipeline.event_fields import nearest

    found = {entry.item: entry for entry in _known(_catalogue())}
    if item not in found:
        hint = f"; the nearest is {near!r}" if (near := nearest(item, found)) else ""
        raise typer.BadParameter(f"no item has the id {item!r}{hint}")
    return found[item]
