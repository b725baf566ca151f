"""Items of the catalogue as a table."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from rich.console import RenderableType

from pipeline.events import Item
from pipeline.reports.layout import table
from pipeline.wording import counted


def items_page(items: Sequence[Item], limit: int) -> RenderableType:
    """One row per item, at most `limit`; the title says how many there are."""
    shown = f", the first {limit:,}" if len(items) > limit else ""
    headings = ("item", "title", "category", "available", "attributes")
    return table(f"{counted(len(items), 'item')}{shown}", headings, map(_row, items[:limit]), whole=("item",))


def _row(item: Item) -> tuple[str, ...]:
    attributes = ", ".join(
        f"{name}={orjson.dumps(value).decode()}" for name, value in item.attributes.items()
    )
    return item.item, item.title, item.category or "", "yes" if item.available else "no", attributes
