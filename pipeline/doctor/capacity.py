"""Memory: what learner and server need for the catalogue and the users that the log holds, at most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.wording import counted

GIB = 2**30
PROCESS_BYTES, ITEM_BYTES, USER_BYTES = 10**9, 10_000, 600
"""Measured (docs/benchmarks.md#memory): a process with torch, an item of 50,000, a user with ten acts."""
PROCESSES = 2
"""Learner and server."""
MANY_ITEMS = 20_000
"""A catalogue that grows beyond it leaves gaps in the memory of glibc."""
CROWDED = 0.8
"""Share of the memory that daemons may take before somebody should look."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check(opened: EventLog, topics: Topics, settings: Settings) -> Iterator[Finding]:
    """Compare an estimate with the memory of this machine.

    Items and users are at most the records of their compacted topics, which also hold superseded ones.
    """
    items, users = (_records(opened, topic) for topic in (topics.items, topics.histories))
    needed = PROCESSES * (PROCESS_BYTES + items * ITEM_BYTES + users * USER_BYTES)
    there = _memory()
    text = (
        f"learner and server need some {needed / GIB:,.1f} GiB of {there / GIB:,.1f} GiB, for at most"
        f" {counted(items, 'item')} and {counted(users, 'user')}"
    )
    if needed > there:
        yield fault("memory", text, "add memory, or run learner and server on two machines")
    elif needed > CROWDED * there:
        yield warning("memory", text, "add memory before the catalogue or the users grow")
    else:
        yield ok("memory", text)
    if items > MANY_ITEMS and "jemalloc" not in os.environ.get("LD_PRELOAD", ""):
        text = f"with {items:,} items, glibc keeps gaps in its memory of up to a GB"
        yield warning("memory", text, "`apt install libjemalloc2`, and preload it: docs/operations.md#memory")


def _records(opened: EventLog, topic: str) -> int:
    begin = opened.begin_offsets([topic])
    return sum(end - begin[source] for source, end in opened.end_offsets([topic]).items())


def _memory() -> int:
    """Bytes that this machine, or the container, has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_limits(LIMITS)])


def _limits(files: Iterable[Path]) -> Iterator[int]:
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            yield int(text)
