"""The machine's processors: how many there are, and how many threads are to share them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def check(settings: Settings) -> Iterator[Finding]:
    """Compare the threads of a daemon with the cores that this process may use."""
    cores, threads = len(os.sched_getaffinity(0)), settings.model.threads
    if threads > cores:
        text = f"{threads} torch threads on {cores} cores run several times slower than {cores}"
        yield fault("threads", text, f"set `model.threads = {cores}` or less")
    else:
        yield ok("threads", f"{threads} torch threads for each daemon, {cores} cores")
    for name in VARIABLES:
        if _number(os.environ.get(name, "")) > cores:
            yield warning("threads", f"{name} is {os.environ[name]} on {cores} cores", f"`unset {name}`")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
