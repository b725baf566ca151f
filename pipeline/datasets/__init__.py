"""Recorded data sets and the simulated shop: the sources of events for `play` and `backtest`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Protocol

from pipeline.datasets.cells import DateForm
from pipeline.datasets.drops import Drops
from pipeline.datasets.mapped import MappedDataset
from pipeline.datasets.mapping import Layout, Mapping, load_mapping
from pipeline.datasets.presets import recognised
from pipeline.datasets.records import check_rows, columns_of, files_of
from pipeline.datasets.remote import local
from pipeline.datasets.shop import Shop, ShopSettings
from pipeline.datasets.tables import check_encoding
from pipeline.errors import DatasetError, EmptyData
from pipeline.events import Event

__all__ = ["Dataset", "DateForm", "Drops", "MappedDataset", "Mapping", "Shop", "ShopSettings", "open_dataset"]

KNOWN = (
    "the columns InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID (Online Retail), or as "
    "MovieLens, session files, RetailRocket, Yoochoose, Amazon Reviews 2023 or MIND have them"
)
SUPPORTED = (
    "a csv, JSONL or Parquet file, or a folder of them, with {known}; any other columns with --mapping, "
    "which `millstream inspect` writes; or the simulated shop as 'shop' or 'shop:seed=7,drift=abrupt'"
)


class Dataset(Protocol):
    """A finite or endless, repeatable sequence of events: every iteration yields the same ones."""

    @property
    def name(self) -> str:
        """Short name for reports, such as ``online-retail``."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of the content."""
        ...

    @property
    def drops(self) -> Drops:
        """Rows that the last iteration left out, by reason."""
        ...

    def events(self) -> Iterator[Event]:
        """Yield all events in order of time.

        An item precedes the first interaction with it; an impression, if any, precedes the
        interactions that name it.

        Raises:
            DatasetError: a row of the recorded data is invalid.
        """
        ...


def open_dataset(
    source: str,
    encoding: str | None = None,
    dates: DateForm | None = None,
    mapping: Path | None = None,
) -> Dataset:
    """Open the data set at a path, read by a mapping or recognised by its files, or the simulated shop.

    Args:
        source: a file, a folder of files, an fsspec URL of one, or ``shop`` with optional settings, as in
            ``shop:seed=7,drift=abrupt``.
        encoding: of the files, instead of the mapping's.
        dates: the form of dates that could be read in more than one way, instead of the mapping's.
        mapping: file of the mapping.

    Raises:
        DatasetError: the source does not exist, has no rows or is not supported, or the mapping does not fit;
            names what was found and what is supported.
    """
    if source.partition(":")[0] == Shop.name:
        return Shop(ShopSettings.parse(source.partition(":")[2]))
    if encoding is not None:
        check_encoding(encoding)
    path = local(source)
    found = load_mapping(mapping) if mapping else recognised(path, encoding)
    if found is None:
        _refuse(path, encoding)
    found = adjusted(found, encoding, dates)
    check_rows(path, found.layout)
    return MappedDataset(path, found)


def adjusted(mapping: Mapping, encoding: str | None, dates: DateForm | None) -> Mapping:
    """Return a mapping with another encoding of the interactions' files, or form of dates."""
    if encoding is not None:
        layout = mapping.layout.model_copy(update={"encoding": encoding})
        mapping = mapping.model_copy(update={"layout": layout})
    if dates is not None:
        time = mapping.time.model_copy(update={"format": str(dates)})
        mapping = mapping.model_copy(update={"time": time})
    return mapping


def _refuse(path: Path, encoding: str | None) -> NoReturn:
    """Raise that no row is there; or, of rows, what was found and what is supported."""
    try:
        check_rows(path, Layout() if encoding is None else Layout(encoding=encoding))
    except EmptyData:
        raise
    except DatasetError:
        pass  # rows, but in another form
    raise DatasetError(_unsupported(path, encoding))


def _unsupported(path: Path, encoding: str | None) -> str:
    """Say what was found and what is supported."""
    supported = SUPPORTED.format(known=KNOWN)
    layout = Layout() if encoding is None else Layout(encoding=encoding)
    try:
        first = files_of(path, layout)[0]
        found = f"{first}: found the columns {','.join(columns_of(first, layout)) or 'none'}"
    except DatasetError as error:
        found = str(error)
    return f"{found}; supported is {supported}"
