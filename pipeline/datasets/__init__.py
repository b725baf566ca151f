"""Recorded data sets and the simulated shop: the sources of events for `play` and `backtest`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline.datasets import online_retail
from pipeline.datasets.online_retail import OnlineRetail
from pipeline.datasets.shop import Shop, ShopSettings
from pipeline.datasets.tables import rows
from pipeline.errors import DatasetError
from pipeline.events import Event

__all__ = ["Dataset", "OnlineRetail", "Shop", "ShopSettings", "open_dataset"]

SUPPORTED = (
    f"a csv or csv.gz file, or a folder of them, with the columns {','.join(online_retail.COLUMNS)}, "
    "or the simulated shop as 'shop' or 'shop:seed=7,drift=abrupt'"
)


class Dataset(Protocol):
    """A finite or endless, repeatable sequence of events: every iteration yields the same ones."""

    @property
    def name(self) -> str:
        """Short name for reports, such as ``online-retail``."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of the content; event ids are derived from it and the event's row."""
        ...

    def events(self) -> Iterator[Event]:
        """Yield all events in order of time.

        An item precedes the first interaction with it; an impression, if any, precedes the
        interactions that name it.

        Raises:
            DatasetError: a row of the recorded data is invalid.
        """
        ...


def open_dataset(source: str) -> Dataset:
    """Open the data set at a path, recognised by its columns, or the simulated shop.

    Args:
        source: a file, a folder of files, or ``shop`` with optional settings, as in
            ``shop:seed=7,drift=abrupt``.

    Raises:
        DatasetError: the source does not exist or is not supported; names what was found and what
            is supported.
    """
    if source.partition(":")[0] == Shop.name:
        return Shop(ShopSettings.parse(source.partition(":")[2]))
    files = _files(Path(source))
    columns = _columns(files[0])
    if columns != online_retail.COLUMNS:
        raise DatasetError(
            f"{files[0]}: found the columns {','.join(columns) or 'none'}; supported is {SUPPORTED}"
        )
    return OnlineRetail(files)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DatasetError(f"{path}: found neither a file nor a folder; supported is {SUPPORTED}")
    files = sorted(file for file in path.iterdir() if file.name.endswith((".csv", ".csv.gz")))
    if not files:
        raise DatasetError(f"{path}: found no csv file in this folder; supported is {SUPPORTED}")
    return files


def _columns(path: Path) -> tuple[str, ...]:
    try:
        _, columns = next(rows(path), ("", []))
    except DatasetError as error:
        raise DatasetError(f"{error}; supported is {SUPPORTED}") from error
    return tuple(columns)
