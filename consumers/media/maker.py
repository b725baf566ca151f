"""Make vectors of media that are due: fetch some at a time, encode them one by one, note what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.media.remedies import REMEDIES
from consumers.media.store import ItemMedium, MediaStore, digest_of
from pipeline import metrics
from pipeline.config import EncoderName, MediaConfig
from pipeline.errors import MediaRefused
from pipeline.media.encoders import spec_of

log = logging.getLogger(__name__)


class _Fetching(Protocol):
    def fetch(self, url: str) -> bytes:
        """See `Fetcher.fetch`."""


class _Encoding(Protocol):
    def encode(self, name: EncoderName, content: bytes) -> NDArray[np.float64]:
        """See `EncoderProcess.encode`."""


class VectorMaker:
    """Makes vectors; for one thread, which alone writes the store."""

    def __init__(
        self,
        config: MediaConfig,
        store: MediaStore,
        fetcher: _Fetching,
        encoders: _Encoding,
        threads: Executor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`threads` are for fetching; `clock` is in seconds."""
        self._config, self._store, self._fetcher = config, store, fetcher
        self._encoders, self._threads, self._clock = encoders, threads, clock

    def make(self) -> int:
        """Make vectors of some media that are due; return how many that were.

        Raises:
            EncoderUnavailable: nothing can be encoded now.
            StorageUnavailable: see `MediaStore`.
        """
        due = self._store.due(self._clock(), self._config.fetches)
        unknown = [one for one in due if not self._note_known(one)]
        for medium, content in zip(unknown, self._threads.map(self._fetched, unknown), strict=True):
            self._note(medium, content)
        metrics.PENDING_MEDIA.set(self._store.pending())
        return len(due)

    def _note_known(self, medium: ItemMedium) -> bool:
        """Whether a medium was fetched for another item in the meantime."""
        content = self._store.content_at(medium.name, medium.url)
        if content:
            self._put(medium._replace(content=content, due=None))
        return bool(content)

    def _fetched(self, medium: ItemMedium) -> bytes | MediaRefused:
        """Fetch in a thread of its own."""
        try:
            return self._fetcher.fetch(medium.url)
        except MediaRefused as refused:
            return refused

    def _note(self, medium: ItemMedium, content: bytes | MediaRefused) -> None:
        try:
            if isinstance(content, MediaRefused):
                raise content
            self._put(self._encoded(medium, content))
        except MediaRefused as refused:
            self._put(self._refused(medium, refused))

    def _put(self, medium: ItemMedium) -> None:
        with self._store.transaction():
            self._store.put_medium(medium)
            self._store.uncheck(medium.item)

    def _encoded(self, medium: ItemMedium, content: bytes) -> ItemMedium:
        """Make the vector of a content, unless there is one."""
        name, digest = self._config.encoders[medium.name], digest_of(content)
        encoder = spec_of(name).digest
        if self._store.vector(encoder, digest) is None:
            vector = self._encoders.encode(name, content)
            with self._store.transaction():
                self._store.put_vector(encoder, digest, vector.tolist())
            metrics.MEDIA_VECTORS.labels(name).inc()
        return medium._replace(content=digest, due=None)

    def _refused(self, medium: ItemMedium, refused: MediaRefused) -> ItemMedium:
        """Try again later what may be there later, and not for ever."""
        attempts = medium.attempts + 1
        if refused.is_passing and attempts < self._config.attempts:
            metrics.MEDIA_RETRIES.labels(refused.reason).inc()
            pause = self._config.retry_seconds * 2 ** (attempts - 1)
            return medium._replace(attempts=attempts, due=self._clock() + pause)
        return given_up(medium._replace(attempts=attempts), refused)


def given_up(medium: ItemMedium, refused: MediaRefused) -> ItemMedium:
    """Return a medium that gets no vector; count it, and say why."""
    metrics.REFUSED_MEDIA.labels(refused.reason).inc()
    log.warning(
        "item %r is served without its %r: %s; %s",
        medium.item,
        medium.name,
        refused,
        REMEDIES[refused.reason],
    )
    return medium._replace(reason=refused.reason, due=None)
