"""A process beside the daemon that decodes and encodes: what a hostile file breaks or stalls is not ours.

It has no network of its own to use and a limit of memory. It is ended when a file takes too long, and another
one begins with the next file.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from pipeline.config import EncoderName, MediaConfig
from pipeline.errors import EncoderUnavailable, MediaReason, MediaRefused
from pipeline.media.encoder import ContentEncoder, Vector
from pipeline.media.encoders import load_encoder

MOST_MEMORY = 3 << 30
"""Bytes that the process may fill: some 500 MB are torch and models, the rest is for what is decoded."""
START_SECONDS = 120.0
"""In which it imports torch and loads models, on a busy machine."""
TRIES = 2
"""The process may have been ended for another reason, such as the system's lack of memory."""
SPAWN = get_context("spawn")
"""A forked process would share locks and files with the daemon."""
READY = b"ready"

Work = Callable[[Connection, MediaConfig], None]


class EncoderProcess:
    """Encodes in the other process, one file at a time; for one thread."""

    def __init__(self, config: MediaConfig, work: Work | None = None) -> None:
        """Start nothing yet; `work` is what the process does, a function of a module."""
        self._config = config
        self._work = work or encode_until_closed
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def encode(self, name: EncoderName, content: bytes) -> Vector:
        """Return the vector of a content, see `ContentEncoder.encode`.

        Raises:
            MediaRefused: the encoder refuses it, or it took too long, or ended the process.
            EncoderUnavailable: the process does not start.
        """
        for _ in range(TRIES):
            connection = self._open()
            try:
                return self._ask(connection, name, content)
            except (EOFError, OSError):
                self.close()
        raise MediaRefused(MediaReason.CRASHED, "it ended the process that decodes")

    def _ask(self, connection: Connection, name: EncoderName, content: bytes) -> Vector:
        connection.send((name, content))
        if not connection.poll(self._config.encode_seconds):
            self.close()
            text = "not decoded within media.encode_seconds"
            raise MediaRefused(MediaReason.TOO_LARGE, text)
        answer = connection.recv()
        if isinstance(answer, MediaRefused):
            raise answer
        return np.array(answer, dtype=np.float64)

    def _open(self) -> Connection:
        if self._connection is None:
            ours, theirs = SPAWN.Pipe()
            self._process = SPAWN.Process(target=self._work, args=(theirs, self._config), daemon=True)
            self._process.start()
            theirs.close()  # so that its end shows as the end of the connection
            self._connection = ours
            self._wait_until_ready(ours)
        return self._connection

    def _wait_until_ready(self, connection: Connection) -> None:
        try:
            if connection.poll(START_SECONDS) and connection.recv() == READY:
                return
        except (EOFError, OSError):
            pass
        self.close()
        raise EncoderUnavailable("the process that encodes media did not start: what it wrote says why")

    def close(self) -> None:
        """End the process, if there is one."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


def encode_until_closed(connection: Connection, config: MediaConfig) -> None:
    """Encode what comes by a connection, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the daemon ends this one
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, below
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    encoders = {name: load_encoder(name, config) for name in set(config.encoders.values())}
    connection.send(READY)
    while True:
        try:
            name, content = connection.recv()
        except EOFError:
            return
        connection.send(_answer(encoders[name], content))


def _answer(encoder: ContentEncoder, content: bytes) -> list[float] | MediaRefused:
    try:
        vector = encoder.encode(content)
    except MediaRefused as refused:
        return refused
    except MemoryError:
        return MediaRefused(MediaReason.TOO_LARGE, "out of memory")
    if not np.isfinite(vector).all():
        return MediaRefused(MediaReason.OUT_OF_BOUNDS, "its vector is not finite")
    found: list[float] = vector.tolist()
    return found
