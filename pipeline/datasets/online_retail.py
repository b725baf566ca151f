"""Read UCI Online Retail and exports like it: invoice lines of a British gift shop, 2010 to 2011.

The source is Chen, Sain and Guo (2012), https://doi.org/10.24432/C5BW33. Only identified
purchases become Interactions: lines with a customer and a positive quantity that are not cancelled.
All other lines are counted by the reason.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.cells import AmbiguousDate, DateForm, common_order, customer, milliseconds, number
from pipeline.datasets.drops import Drops
from pipeline.datasets.tables import DEFAULT_ENCODING, Table, rows
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
ALIASES = {"Invoice": "InvoiceNo", "Customer ID": "CustomerID", "Price": "UnitPrice"}
"""Other names of the columns, those of Online Retail II."""
NEEDED = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID")
CANCELLATION = re.compile(r"[Cc]\d+")
"""Invoices that take an earlier one back; ``CA-2016-152156`` is an invoice like any other."""
ID_BYTES = 12


class _Line(NamedTuple):
    """One invoice line; `location` is ``path:line``."""

    location: str
    invoice: str
    item: str
    description: str
    quantity: float
    date: str
    customer: str | None


class _Purchase(NamedTuple):
    location: str
    user: str
    item: str
    time: int
    quantity: float
    invoice: str

    @property
    def content(self) -> str:
        """What makes a purchase the same one in another export."""
        return "\x1f".join((self.user, self.item, str(self.time), repr(self.quantity), self.invoice))


class OnlineRetail:
    """The data set in one csv or csv.gz file, or in several files read in the given order.

    The whole catalogue comes first, then the purchases by time; lines of the same minute stay in
    file order. An event id consists of a digest of the purchase and a number that counts equal
    ones within a file: an invoice may have the same line twice. So an export that has grown, is
    packed or written in another form gives the same ids, and exports that overlap are read once.

    Attributes:
        drops: rows left out in the last iteration, by reason.
    """

    name = "online-retail"

    def __init__(
        self, files: Sequence[Path], encoding: str = DEFAULT_ENCODING, dates: DateForm | None = None
    ) -> None:
        self._tables = [Table(path, encoding) for path in files]
        self._given = dates
        self.drops = Drops()

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the files' bytes on disk."""
        digest = hashlib.sha256()
        for table in self._tables:
            digest.update(table.path.read_bytes())
        return digest.hexdigest()

    def events(self) -> Iterator[Item | Interaction]:
        """Yield the catalogue, then the identified purchases; dates without a zone are UTC.

        Raises:
            DatasetError: a row has other columns or an invalid value; names file, line, column,
                value and remedy. A customer's id is never repeated.
        """
        self.drops = Drops()
        descriptions: dict[str, Counter[str]] = {}
        purchases: dict[str, _Purchase] = {}
        for table in self._tables:
            occurrences = Counter[str]()
            for line in self._lines(table):
                if line.description:
                    descriptions.setdefault(line.item, Counter())[line.description] += 1
                purchase = self._purchase(line)
                if purchase is not None:
                    self._add(purchase, occurrences, purchases)
        ordered = sorted(purchases.items(), key=lambda entry: entry[1].time)

        # Reversed, so that the dict keeps the first purchase of each item.
        for purchase in {purchase.item: purchase for _, purchase in reversed(ordered)}.values():
            yield _item(purchase, descriptions.get(purchase.item), opening=ordered[0][1].time)
        for event_id, purchase in ordered:
            yield _interaction(purchase, event_id)

    def _add(self, purchase: _Purchase, occurrences: Counter[str], purchases: dict[str, _Purchase]) -> None:
        digest = hashlib.blake2b(purchase.content.encode(), digest_size=ID_BYTES).hexdigest()
        occurrences[digest] += 1
        event_id = f"{digest}-{occurrences[digest]}"
        if event_id in purchases:
            self.drops.add("in an earlier file already", purchase.location)
        else:
            purchases[event_id] = purchase

    def _purchase(self, line: _Line) -> _Purchase | None:
        """Return the purchase of a line; count the line if it is none."""
        reason = _drop_reason(line)
        if reason is not None or line.customer is None:
            self.drops.add(reason or "no customer", line.location)
            return None
        time = self._milliseconds(line)
        return _Purchase(line.location, line.customer, line.item, time, line.quantity, line.invoice)

    def _milliseconds(self, line: _Line) -> int:
        try:
            try:
                return milliseconds(line.date, self._given)
            except AmbiguousDate:
                return milliseconds(line.date, self._order)
        except ValueError as error:
            raise DatasetError(f"{line.location}: InvoiceDate {line.date[:40]!r} {error}") from None

    @cached_property
    def _order(self) -> DateForm:
        """The order of day and month; all dates are read once more for it."""
        cells = (cell for table in self._tables for cell in self._rows(table))
        return common_order(((place, row["InvoiceDate"]) for place, row in cells), "InvoiceDate")

    def _lines(self, table: Table) -> Iterator[_Line]:
        for location, row in self._rows(table):
            if all(row[name] in (name, *_aliases(name)) for name in NEEDED):
                self.drops.add("the header again", location)
                continue
            yield _line(location, row)

    def _rows(self, table: Table) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the rows below the header, by column, with their place."""
        lines = rows(table)
        location, header = next(lines, (f"{table.path}:1", []))
        names = column_names(header)
        if names is None:
            raise DatasetError(f"{location}: the columns must be {','.join(COLUMNS)}")
        for location, cells in lines:
            if len(cells) != len(header):
                raise DatasetError(f"{location}: {len(cells)} columns instead of {len(header)}")
            yield location, {name: " ".join(cells[index].split()) for name, index in names.items()}


def column_names(header: Sequence[str]) -> Mapping[str, int] | None:
    """Return where each needed column is, in any order and among others; None if one is missing or twice."""
    found = [ALIASES.get(name.strip(), name.strip()) for name in header]
    if any(found.count(name) != 1 for name in NEEDED):
        return None
    return {name: found.index(name) for name in NEEDED}


def _aliases(name: str) -> list[str]:
    return [alias for alias, meant in ALIASES.items() if meant == name]


def _drop_reason(line: _Line) -> str | None:
    if CANCELLATION.fullmatch(line.invoice):
        return "a cancelled invoice (C and digits)"
    if line.customer is None:
        return "no customer"
    if line.quantity <= 0:
        return "the quantity is not positive"
    return None if line.date else "no InvoiceDate"


def _line(location: str, row: Mapping[str, str]) -> _Line:
    try:
        user = customer(row["CustomerID"])
    except ValueError as error:
        # Without the id, which must stay out of logs.
        raise DatasetError(f"{location}: CustomerID {error}") from None
    try:
        quantity = number(row["Quantity"])
    except ValueError as error:
        raise DatasetError(f"{location}: Quantity {row['Quantity'][:40]!r} {error}") from None
    return _Line(
        location, row["InvoiceNo"], row["StockCode"], row["Description"], quantity, row["InvoiceDate"], user
    )


def _item(purchase: _Purchase, descriptions: Counter[str] | None, opening: int) -> Item:
    title = descriptions.most_common(1)[0][0] if descriptions else purchase.item
    try:
        return validate(Item, {"item": purchase.item, "title": title, "time": opening})
    except InvalidEvent as error:
        raise DatasetError(f"{purchase.location}: {error}") from None


def _interaction(purchase: _Purchase, event_id: str) -> Interaction:
    fields = {
        "event_id": event_id,
        "user": purchase.user,
        "item": purchase.item,
        "type": InteractionType.PURCHASE,
        "time": purchase.time,
        "value": purchase.quantity,
        "session": purchase.invoice,
    }
    try:
        return validate(Interaction, fields)
    except InvalidEvent as error:
        raise DatasetError(f"{purchase.location}: {error}") from None
