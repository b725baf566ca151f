"""The machine's processors: how many there are, how many threads are to share them, and the GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning

ASK_SECONDS = 120
ASK = "import sys; from pipeline.model.device import use_device; use_device(sys.argv[1], threads=1)"
"""What a daemon does with its device; in a process of its own, because torch takes seconds to load."""
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
    if settings.model.device.startswith("cuda"):
        yield _gpu(settings.model.device)


def _gpu(name: str) -> Finding:
    """Let another process use the device as a daemon would."""
    remedy = "set `model.device` to auto or cpu"
    command = [sys.executable, "-c", ASK, name]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return fault("device", f"torch does not answer about {name} within {ASK_SECONDS} s", remedy)
    if asked.returncode == 0:
        return ok("device", f"torch finds {name}")
    _, _, said = asked.stderr.strip().rpartition("\n")[2].partition(": ")
    return fault("device", said.partition(": ")[0] or f"torch cannot use {name}", remedy)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
