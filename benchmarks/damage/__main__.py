"""Damage a tiny shop's files and records, thousands of times; nothing may be believed, and nobody may end.

    python -m benchmarks.damage --cases 2000 --seed 0

Each case damages one snapshot, announcement, history, checkpoint, candidate, order or journal entry: under
its old seal, as disks do it, or with a seal that fits, as a forger does it. A server answers requests all the
time; after each case the newest good snapshot must be served. Servers and learners are started in between.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.damage.learning import CheckpointCases, ControlCases, journal_case
from benchmarks.damage.outcome import Outcome, Verdict
from benchmarks.damage.shop import Shop, opened
from benchmarks.damage.starts import StartCases
from benchmarks.damage.targets import HistoryCases, SnapshotCases
from benchmarks.damage.watch import Watch
from tests.support.tiny_backbone import tiny_backbone

Case = Callable[[Random, bool], Outcome]


class Result(NamedTuple):
    """The outcomes, the answers meanwhile, and what was wrong besides."""

    outcomes: list[Outcome]
    answers: int
    failures: list[str]
    touched: list[str]
    seconds: float

    @property
    def findings(self) -> list[str]:
        """Everything that must not be."""
        found = [f"{o.target}, {o.damage}: {o.detail}" for o in self.outcomes if o.verdict is Verdict.FINDING]
        return [*found, *self.failures, *self.touched]


def run(folder: Path, cases: int, seed: int) -> Result:
    """Run cases on a shop in an empty folder."""
    began = time.monotonic()
    with opened(folder, tiny_backbone(folder / "backbone")) as shop:
        watch = Watch(folder, shop.bait)
        draw = list(_cases(shop))
        outcomes = [_outcome(shop, draw, Random(f"{seed}/{number}")) for number in range(cases)]
        touched = watch.end()
        shop.client.close()
        return Result(outcomes, shop.client.answers, shop.client.failures, touched, time.monotonic() - began)


def _cases(shop: Shop) -> Iterator[Case]:
    """Yield the kinds of case, each as often as its share."""
    snapshots, histories = SnapshotCases(shop), HistoryCases(shop)
    checkpoints, control, starts = CheckpointCases(shop), ControlCases(shop), StartCases(shop, histories)
    yield from 8 * [
        snapshots.full,
        snapshots.delta,
        snapshots.layer,
        snapshots.announcement,
        histories.record,
    ]
    yield from 16 * [checkpoints.newest, control.record]
    journal: Case = partial(journal_case, shop)
    yield from 6 * [control.candidate, control.plan, journal]
    yield from (starts.server, starts.newest_checkpoint, starts.all_checkpoints, starts.journal)


def _outcome(shop: Shop, cases: list[Case], random: Random) -> Outcome:
    """Run one case; an error that nobody foresaw is a finding, and so is a server that has ended."""
    is_forged = random.random() < 0.5
    case = random.choice(cases)
    try:
        outcome = case(random, is_forged)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what is looked for)
        detail = f"{type(error).__name__}: {error}"
        outcome = Outcome(str(case), "", is_forged, Verdict.FINDING, detail)
    if shop.server.running.done():
        raise RuntimeError(f"the server has ended after {outcome}")
    return outcome


def table_of(outcomes: Iterable[Outcome]) -> Table:
    """Count by what was damaged, under which seal, and what became of it."""
    counted = Counter((o.target, "fits" if o.is_forged else "is the old one", o.verdict) for o in outcomes)
    table = Table("damaged", "its seal", "cases", *Verdict)
    for target, seal in sorted({key[:2] for key in counted}):
        cells = [counted[target, seal, verdict] for verdict in Verdict]
        table.add_row(target, seal, str(sum(cells)), *map(str, cells))
    totals = [sum(1 for o in outcomes if o.verdict is verdict) for verdict in Verdict]
    table.add_row("all", "", str(sum(totals)), *map(str, totals))
    return table


def main(cases: int = 2_000, seed: int = 0) -> None:
    """Print the table and the findings; exit status 1 if there are any."""
    torch.set_num_threads(1)
    logging.getLogger("pipeline").setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())
    console = Console(width=160)
    with TemporaryDirectory() as folder:
        found = run(Path(folder), cases, seed)
    console.print(table_of(found.outcomes))
    console.print(
        f"{found.answers} answers meanwhile, {len(found.failures)} not right; {len(found.touched)} files "
        f"outside touched; {found.seconds:.0f} s"
    )
    for finding in found.findings:
        console.print(finding, markup=False)
    raise typer.Exit(bool(found.findings))


if __name__ == "__main__":
    typer.run(main)
