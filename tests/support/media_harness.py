"""A media daemon in the test's process, turn by turn, on a real log and a host of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from consumers.media.maker import VectorMaker
from consumers.media.service import MediaService
from consumers.media.store import MediaStore
from pipeline.config import EncoderName, MediaConfig
from pipeline.errors import MediaReason, MediaRefused
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, LogReader, LogWriter, lag, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.events import Item, ItemChange, decode_item, encode, validate
from pipeline.media.fetching import Fetcher
from pipeline.state.catalogue import read_catalogue
from tests.support.media_host import MediaHost

HOUR_MS = 3_600_000


class Killed(BaseException):
    """The process ended here."""


class CountingEncoder:
    """Encodes to the number of bytes, and counts; refuses what begins with "bad"."""

    def __init__(self) -> None:
        self.encoded: list[bytes] = []

    def encode(self, name: EncoderName, content: bytes) -> NDArray[np.float64]:
        """See `EncoderProcess.encode`."""
        self.encoded.append(content)
        if content.startswith(b"bad"):
            raise MediaRefused(MediaReason.DAMAGED, "bad")
        return np.array([float(len(content)), 0.5])


class Meddler:
    """An event log to whose writers something happens around an append."""

    def __init__(self, log: EventLog, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._log, self._before, self._after = log, before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def writer(self, **options: Any) -> Any:
        """Open a writer that is meddled with."""
        return _MeddledWriter(self._log.writer(**options), self._before, self._after)


class _MeddledWriter:
    def __init__(self, writer: LogWriter, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._writer, self._before, self._after = writer, before, after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()

    def append(self, topic: str, key: str | None, value: bytes | None) -> None:
        self._before()
        self._writer.append(topic, key, value)
        self._writer.flush()
        self._after()

    def flush(self) -> None:
        self._writer.flush()


class MediaHarness:
    """Sends records of items, and lets daemons work on them until there is nothing to do."""

    def __init__(
        self, folder: Path, host: MediaHost, *, url: str = "", prefix: str = "shop", **config: Any
    ) -> None:
        self.host, self.now = host, 1_000.0
        self.topics = Topics(prefix)
        self._stack = ExitStack()
        self.log = self._stack.enter_context(open_log(url or f"sqlite:///{folder}/log.db"))
        self.topics.create(self.log, 2, HOUR_MS, HOUR_MS)
        self._writer = self._stack.enter_context(self.log.writer())
        self.config = MediaConfig.model_validate(
            {
                "encoders": {"photo": "efficientnet-lite0"},
                "hosts": (host.name,),
                "private_addresses": True,
                "fetch_seconds": 20,
                "folder": folder / "media",
                **config,
            }
        )
        self.encoder: Any = CountingEncoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def send(self, item: str, **fields: Any) -> None:
        """Send a whole item if there is a title, else a change; nothing but its id removes it."""
        kind = Item if "title" in fields else ItemChange
        value = encode(validate(kind, {"item": item, **fields})) if fields else None  # type: ignore[arg-type]
        self.append(item, value)

    def append(self, item: str, value: bytes | None) -> None:
        """Send a record as it is."""
        self._writer.append(self.topics.items, item, value)
        self._writer.flush()

    def settle(
        self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
    ) -> None:
        """Start a daemon, and stop it once it has nothing more to do now; do something around each append."""
        stop, log = Event(), Meddler(self.log, before, after)
        with MediaStore(self.config.folder) as store, ThreadPoolExecutor(2) as threads:
            maker = VectorMaker(
                self.config, store, Fetcher(self.config), self.encoder, threads, lambda: self.now
            )
            service = _UntilIdle(
                cast(EventLog, log),
                self.topics.items,
                self.config,
                store,
                maker,
                stop,
                lambda: self.now,
            )
            service.follow()

    def item(self, item: str) -> Item | None:
        """The item as learner and servers see it."""
        catalogue = read_catalogue(self.log, self.topics.items)
        return catalogue.entries[catalogue.row(item)]

    def last(self, item: str) -> Item | ItemChange | None:
        """What is left of the item after compaction."""
        found = read_compacted(self.log, self.topics.items).get(item)
        return decode_item(found.value) if found and found.value else None

    @property
    def records(self) -> int:
        """Records of items that were ever appended."""
        return sum(self.log.end_offsets([self.topics.items]).values())


class _UntilIdle(MediaService):
    def turn(self, reader: LogReader, writer: LogWriter, poll_seconds: float) -> bool:
        is_busy = super().turn(reader, writer, 0.01)
        behind = lag(self._log.end_offsets([self._topic]), reader.positions())
        if not is_busy and not sum(behind.values()):
            self._stop.set()
        return is_busy


def vectors_of(item: Item | ItemChange | None) -> Mapping[str, tuple[float, ...]]:
    """Vectors of an item that is there."""
    assert item is not None
    return item.vectors
