"""Measure what the histories of many users take: memory, and the pause of a garbage collection.

Every user acts `--acts` times, in turn with all others, so that hardly any history was written lately.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.memory import resident
from pipeline.config import SignalsConfig, StreamConfig
from pipeline.events import InteractionType
from pipeline.state.histories import Act, Histories
from pipeline.state.signals import Signals

ITEMS = 2_000
START_MS, ACT_MS = 1_700_000_000_000, 1_000


def main(
    users: Annotated[int, typer.Option(help="Users.")] = 200_000,
    acts: Annotated[int, typer.Option(help="Acts of each.")] = 10,
) -> None:
    """Fold the acts, and print the growth of the resident set, and the time of a full collection."""
    length, console = StreamConfig().history_length, Console()
    histories, remembered = Histories(length), Signals(SignalsConfig(), length).remembered
    gc.freeze()
    before = resident()
    for number in range(1, acts + 1):
        for user, act in _acts(users, number):
            histories.fold(user, act, remembered)
        console.print(f"{users:,} users, {number} acts each: {resident() - before:,.0f} MiB")
    began = time.perf_counter()
    gc.collect()
    seconds = time.perf_counter() - began
    gc.unfreeze()  # before the end, or nanobind complains of leaks
    console.print(f"garbage collection: {1_000 * seconds:,.0f} ms")


def _acts(users: int, number: int) -> Iterator[tuple[str, Act]]:
    """Yield the act of each user that has this number."""
    for user in range(users):
        time_ms = START_MS + ACT_MS * (number * users + user)
        yield f"u{user}", Act(f"i{(7 * user + 13 * number) % ITEMS}", InteractionType.VIEW, time_ms)


if __name__ == "__main__":
    typer.run(main)
