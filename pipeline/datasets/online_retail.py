"""Read UCI Online Retail: invoice lines of a British gift shop, 2010 to 2011.

The source is Chen, Sain and Guo (2012), https://doi.org/10.24432/C5BW33. Only identified
purchases become Interactions: lines with a customer and a positive quantity that are not cancelled.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.tables import rows
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.events import Interaction, InteractionType, Item, validate

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
ISO_TIME, SPREADSHEET_TIME = "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M"
"""The two date formats in which the data set is distributed; spreadsheets write the month first."""


class _Line(NamedTuple):
    """One invoice line; `location` is ``path:line``, `row` counts the data rows of all files from 1."""

    location: str
    row: int
    invoice: str
    item: str
    description: str
    quantity: float
    time: int
    customer: str

    @property
    def is_identified_purchase(self) -> bool:
        return bool(self.customer) and self.quantity > 0 and not self.invoice.startswith("C")


class OnlineRetail:
    """The data set in one csv or csv.gz file, or in several files read in the given order.

    The whole catalogue comes first, then the purchases by time; lines of the same minute stay
    in file order. An event id consists of the digest and the row, so a line has the same id
    every time it is played.
    """

    name = "online-retail"

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the files' bytes on disk."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def events(self) -> Iterator[Item | Interaction]:
        """Yield the catalogue, then the identified purchases; times are InvoiceDate read as UTC.

        Raises:
            DatasetError: a row has other columns or an invalid value; names file and line.
        """
        descriptions: dict[str, Counter[str]] = {}
        purchases: list[_Line] = []
        for line in self._lines():
            if line.description:
                descriptions.setdefault(line.item, Counter())[line.description] += 1
            if line.is_identified_purchase:
                purchases.append(line)
        purchases.sort(key=lambda line: line.time)

        # Reversed, so that the dict keeps the first purchase of each item.
        for line in {line.item: line for line in reversed(purchases)}.values():
            yield _item(line, descriptions.get(line.item), opening=purchases[0].time)
        for line in purchases:
            yield _interaction(line, self.digest)

    def _lines(self) -> Iterator[_Line]:
        row = 0
        for path in self._files:
            lines = rows(path)
            location, columns = next(lines, (f"{path}:1", []))
            if tuple(columns) != COLUMNS:
                raise DatasetError(f"{location}: the columns must be {','.join(COLUMNS)}")
            for location, cells in lines:
                row += 1
                yield _line(location, row, cells)


def _line(location: str, row: int, cells: list[str]) -> _Line:
    if len(cells) != len(COLUMNS):
        raise DatasetError(f"{location}: {len(cells)} columns instead of {len(COLUMNS)}")
    invoice, item, description, quantity, date, _price, customer, _country = (
        " ".join(cell.split()) for cell in cells
    )
    try:
        return _Line(
            location,
            row,
            invoice,
            item,
            description,
            _quantity(quantity),
            _milliseconds(date),
            _customer(customer) if customer else "",
        )
    except ValueError as error:
        raise DatasetError(f"{location}: {error}") from None


def _quantity(text: str) -> float:
    try:
        quantity = float(text)
    except ValueError:
        quantity = math.nan
    if not math.isfinite(quantity):
        raise ValueError(f"Quantity {text!r} is not a finite number")
    return quantity


def _customer(text: str) -> str:
    number, _, fraction = text.partition(".")  # "17850.0": pandas wrote the column as floats
    if not number.isdecimal() or fraction.strip("0"):
        raise ValueError("CustomerID is not a whole number")  # without the id, which must stay out of logs
    return str(int(number))


@lru_cache(maxsize=1024)  # the lines of an invoice share their date, and strptime is slow
def _milliseconds(date: str) -> int:
    form = SPREADSHEET_TIME if "/" in date else ISO_TIME
    moment = datetime.strptime(date, form).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def _item(line: _Line, descriptions: Counter[str] | None, opening: int) -> Item:
    title = descriptions.most_common(1)[0][0] if descriptions else line.item
    try:
        return validate(Item, {"item": line.item, "title": title, "time": opening})
    except InvalidEvent as error:
        raise DatasetError(f"{line.location}: {error}") from None


def _interaction(line: _Line, digest: str) -> Interaction:
    fields = {
        "event_id": f"{digest[:16]}-{line.row}",
        "user": line.customer,
        "item": line.item,
        "type": InteractionType.PURCHASE,
        "time": line.time,
        "value": line.quantity,
        "session": line.invoice,
    }
    try:
        return validate(Interaction, fields)
    except InvalidEvent as error:
        raise DatasetError(f"{line.location}: {error}") from None
