"""Measure what a process holds after each step of a learner's and a server's start, before the first event.

Nothing heavy is imported before the steps, so the first row is Python with what prints the table. Anonymous
memory is the process's own. The rest are maps of files (libraries, weights): processes share them, and the
system may drop them.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.imports import refuse_unused
from pipeline.cli.terminal import ReportOption
from pipeline.config import Settings, load_settings

KIB_PER_MIB = 1_024
LIBRARIES = ("numpy", "torch", "transformers.modeling_utils", "peft")


class Held(NamedTuple):
    """After a step: resident set and its anonymous part, in MiB, and the number of modules."""

    step: str
    resident: float
    anonymous: float
    modules: int


class Daemon(StrEnum):
    """Whose start is measured."""

    LEARN = "learn"
    SERVE = "serve"


def main(daemon: Daemon = Daemon.LEARN, report: ReportOption = None) -> None:
    """Take the steps in this process, as the commands do, and print what it holds after each."""
    refuse_unused()
    table, held = Table("after", "resident, MiB", "anonymous, MiB", "modules"), list(_started(daemon))
    for row in held:
        table.add_row(row.step, f"{row.resident:,.0f}", f"{row.anonymous:,.0f}", f"{row.modules:,}")
    Console().print(table)
    if report:
        report.write_text(json.dumps([row._asdict() for row in held], indent=2) + "\n")


def held_mib() -> tuple[float, float]:
    """Return the resident set of this process and its anonymous part, in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return kib["Rss"] / KIB_PER_MIB, kib["Anonymous"] / KIB_PER_MIB


def _started(daemon: Daemon) -> Iterator[Held]:
    """Import what a daemon imports, step by step, then make its model."""
    yield _held("Python")
    for module in (*LIBRARIES, f"consumers.{daemon}.daemon"):
        importlib.import_module(module)
        yield _held(f"import {module}")
    settings = load_settings()
    kept = _learner(settings) if daemon is Daemon.LEARN else _skeleton(settings)
    yield _held(type(kept).__name__)


def _learner(settings: Settings) -> object:
    from pipeline.assembly import make_learner  # noqa: PLC0415 (a step of its own)

    return make_learner(settings)


def _skeleton(settings: Settings) -> object:
    """Make the model that a server fills with what it loads."""
    from pipeline.model.backbone import load_backbone  # noqa: PLC0415 (a step of its own)
    from pipeline.model.device import use_device  # noqa: PLC0415
    from pipeline.model.recommender import Recommender  # noqa: PLC0415

    use_device("cpu", settings.model.threads)
    return Recommender(load_backbone(settings.model.backbone), settings.learn.sizes, settings.learn.seed)


def _held(step: str) -> Held:
    return Held(step, *held_mib(), len(sys.modules))


if __name__ == "__main__":
    typer.run(main)
