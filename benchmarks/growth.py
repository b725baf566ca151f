"""How costs grow with catalogue and users: batch, publication, swap, request, memory, snapshot.

    python -m benchmarks.growth --items 1000 --items 10000 --items 100000
    python -m benchmarks.growth --items 10000 --users 1000 --users 10000 --users 1000000
    python -m benchmarks.growth --items 10000 --items 1000000 --together

Each size has a learner and then a server, in processes of their own (see `benchmarks.growth_sides`). With
`--together` one process takes the learners of all sizes in turn, round by round, and another the servers, so
that ratios do not depend on what else the machine does meanwhile; memory of a size is not known then. Times
are those of the processor, which waits actively for a GPU if `model.device` is one. A size that exceeds the
budget of time or memory is reported as such.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from consumers.serve.batching import MOST_AT_ONCE
from pipeline.cli.terminal import ReportOption

SIZES, USERS = (1_000, 10_000, 100_000, 1_000_000), 20_000
POLL_SECONDS = 0.5
PAGE, GIB = os.sysconf("SC_PAGE_SIZE"), 2**30
PROGRAM = """
import json
from pathlib import Path
from pipeline.cli.imports import refuse_unused
refuse_unused()
from benchmarks.growth_sides import {side}
print(json.dumps({side}({items}, {users}, {rounds}, Path({folder!r}))))
"""
"""What measures a side of a size, or of all sizes in turn; it starts as the commands do."""
FIGURES = {
    "batch_ms": "batch of 256, ms",
    "publish_ms": "delta published, ms",
    "read_ms": "256 acts read, ms",
    "apply_ms": "delta applied, ms",
    "apply_mean_ms": "  in the mean",
    "apply_most_ms": "  at most",
    "request_ms": "request, ms",
    "pass_ms": f"pass of {MOST_AT_ONCE} requests, ms",
    "learner_mib": "learner, MiB",
    "server_mib": "server, MiB",
    "full_mb": "full snapshot, MB",
    "delta_mb": "delta, MB",
}
Figures = dict[str, float]


class Size(NamedTuple):
    """Numbers of items and users."""

    items: int
    users: int


REFERENCE = Size(10_000, USERS)


class Budget(NamedTuple):
    """What a side may take."""

    seconds: float
    gib: float


class BudgetExceeded(Exception):
    """A side took more than its budget, or failed."""


class Row(NamedTuple):
    """The figures of a size; `fault` says why some are missing."""

    size: Size
    figures: Figures
    fault: str = ""


def main(
    items: Annotated[list[int], typer.Option(help="Items of each size.")] = [*SIZES],  # noqa: B006
    users: Annotated[list[int], typer.Option(help="Users of each size.")] = [USERS],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Batches that are measured, each with a delta.")] = 20,
    seconds: Annotated[float, typer.Option(help="Seconds by the wall clock that a side may take.")] = 600,
    gib: Annotated[float, typer.Option(help="Memory that a side may take.")] = 12,
    together: Annotated[
        bool, typer.Option("--together", help="Take all sizes in turn, in one process for each side.")
    ] = False,
    report: ReportOption = None,
) -> None:
    """Measure every size; print medians, and in brackets their ratios to those of the size of reference."""
    measured, budget = _together if together else _one_by_one, Budget(seconds, gib)
    rows = [row for own in users for row in measured(items, own, rounds, budget)]
    reference = next((row for row in rows if row.size == REFERENCE), rows[0])
    console = Console()
    console.print(_table(rows, reference.figures))
    for row in rows:
        if row.fault:
            console.print(f"{row.size.items:,} items, {row.size.users:,} users: {row.fault}")
    if report:
        named = [{**row.size._asdict(), **row.figures, "fault": row.fault} for row in rows]
        report.write_text(json.dumps(named, indent=2) + "\n")


def _one_by_one(items: Sequence[int], users: int, rounds: int, budget: Budget) -> list[Row]:
    return [_measured(Size(each, users), rounds, budget) for each in items]


def _together(items: Sequence[int], users: int, rounds: int, budget: Budget) -> list[Row]:
    sizes = [Size(each, users) for each in items]
    with TemporaryDirectory() as folder:
        try:
            learners, servers = (
                _run(side, [*items], users, rounds, Path(folder), budget) for side in ("learners", "servers")
            )
        except BudgetExceeded as error:
            return [Row(size, {}, f"all together {error}") for size in sizes]
    found = zip(sizes, learners, servers, strict=True)
    return [Row(size, learner | server) for size, learner, server in found]


def _measured(size: Size, rounds: int, budget: Budget) -> Row:
    figures = Figures()
    with TemporaryDirectory() as folder:
        for side in ("learner", "server"):
            try:
                figures |= run_side(side, size, rounds, Path(folder), budget)
            except BudgetExceeded as error:
                return Row(size, figures, f"the {side} {error}")
    return Row(size, figures)


def run_side(side: str, size: Size, rounds: int, folder: Path, budget: Budget) -> Figures:
    """Measure a side in a process of its own.

    Raises:
        BudgetExceeded: it took more than its budget, or failed.
    """
    figures: Figures = _run(side, size.items, size.users, rounds, folder, budget)
    return figures


def _run(side: str, items: int | list[int], users: int, rounds: int, folder: Path, budget: Budget) -> Any:
    """Run a function of `benchmarks.growth_sides` in a process of its own; return what it prints.

    Raises:
        BudgetExceeded: it took more than its budget, or failed.
    """
    program = PROGRAM.format(side=side, items=items, users=users, rounds=rounds, folder=str(folder))
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        printed, errors = _finished(process, budget)
    if process.returncode:
        raise BudgetExceeded(f"failed: {errors.strip().splitlines()[-1:]}")
    return json.loads(printed.splitlines()[-1])


def _finished(process: subprocess.Popen[str], budget: Budget) -> tuple[str, str]:
    """Wait for a process; kill it when it exceeds its budget."""
    ends = time.monotonic() + budget.seconds
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            late, large = time.monotonic() > ends, _resident_gib(process.pid) > budget.gib
            if late or large:
                process.kill()
                limit = f"{budget.seconds:,.0f} s" if late else f"{budget.gib:g} GiB"
                raise BudgetExceeded(f"takes more than {limit}") from None


def _resident_gib(process: int) -> float:
    """Return the resident set of a child; 0 once it has ended."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / GIB


def _table(rows: Sequence[Row], reference: Figures) -> Table:
    """Make a table with a column for each size."""
    table = Table("items\nusers", *(f"{size.items:,}\n{size.users:,}" for size, _, _ in rows))
    for name, shown in FIGURES.items():
        table.add_row(shown, *(_cell(row.figures.get(name), reference.get(name)) for row in rows))
    return table


def _cell(figure: float | None, reference: float | None) -> str:
    ratio = f" ({figure / reference:.2f})" if figure and reference else ""
    return "" if figure is None else f"{figure:,.4g}{ratio}"


if __name__ == "__main__":
    typer.run(main)
