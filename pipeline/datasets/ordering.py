"""Put acts in the order of their times in bounded memory: sorted runs on disk, merged."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO

import orjson

from pipeline.datasets.row_reader import Act
from pipeline.errors import DatasetError

MOST_IN_MEMORY = 500_000
"""Acts that are sorted in memory; about half a kilobyte each."""


class TimeOrder:
    """Acts in the order of time, then of their rows; more than `most` are kept in temporary files."""

    def __init__(self, most: int = MOST_IN_MEMORY) -> None:
        self._most = most
        self._acts: list[Act] = []
        self._runs: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> TimeOrder:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def add(self, act: Act) -> None:
        """Add an act."""
        self._acts.append(act)
        if len(self._acts) >= self._most:
            self._spill()

    def sorted(self) -> Iterator[Act]:
        """Yield all acts in order."""
        self._acts.sort(key=_order)
        return heapq.merge(*map(_read, self._runs), self._acts, key=_order)

    def _spill(self) -> None:
        self._acts.sort(key=_order)
        run = self._stack.enter_context(TemporaryFile())  # noqa: SIM115  # closed with the stack
        run.writelines(orjson.dumps(tuple(act)) + b"\n" for act in self._acts)
        self._runs.append(run)
        self._acts = []


def _order(act: Act) -> tuple[int, int]:
    return act.time, act.number


def _read(run: IO[bytes]) -> Iterator[Act]:
    run.seek(0)
    for line in run:
        yield Act(*orjson.loads(line))


def checked(acts: Iterable[Act]) -> Iterator[Act]:
    """Yield acts that are in order of time already.

    Raises:
        DatasetError: one is earlier than the one before it.
    """
    latest = 0
    for act in acts:
        if act.time < latest:
            raise DatasetError(
                f"{act.place}: its time is before that of an earlier row: leave out sorted = true"
            )
        latest = act.time
        yield act
