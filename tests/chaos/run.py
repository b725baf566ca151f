"""Chaos: daemons are killed, frozen and starved at random, and after each round everything is audited.

    python -m tests.chaos.run --rounds 20 --engine sqlite --seed 0

A round plays events while some faults, drawn from a deck that the seed has shuffled, happen one
after the other or at the same time; then all goes on, and once everything is learned, `audit`
must find nothing. The run fails on any finding, and, if it has 20 rounds or more, on any fault
that was never reached. A model lives for some rounds, or until a finding; the folder of one with
findings is kept.
"""

from __future__ import annotations

import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.kafka.broker import Broker
from tests.chaos.faults import Fault, faults
from tests.chaos.world import BEHIND, World
from tests.support.tiny_backbone import tiny_backbone

DISK_BYTES = 256 * 2**20
ROUNDS_OF_A_MODEL = 10
FAULTS_OF_A_ROUND = 4
ENOUGH_ROUNDS = 20
"""Rounds in which every fault must be reached."""
POLL_SECONDS = 0.05
LAST, LAST_SHARE = 1_000_000, 0.2
"""Numbers of events after which nothing comes, and the share of rounds that end with one."""
Engine = Literal["sqlite", "kafka"]


class Deck:
    """All faults, shuffled; shuffled again once all were drawn. One that was not reached comes back soon."""

    def __init__(self, cards: list[Fault], dice: random.Random) -> None:
        self._cards, self._dice = cards, dice
        self._waiting: list[Fault] = []

    def draw(self, amount: int) -> list[Fault]:
        """Return the next faults."""
        drawn: list[Fault] = []
        while len(drawn) < amount:
            if not self._waiting:
                self._waiting = self._dice.sample(self._cards, len(self._cards))
            drawn.append(self._waiting.pop(0))
        return drawn

    def put_back(self, fault: Fault) -> None:
        """Let a fault that was not reached come again after some others."""
        self._waiting.insert(min(len(self._waiting), 2 * FAULTS_OF_A_ROUND), fault)


@dataclass
class Outcome:
    """What came of a run: rounds, how often each fault was reached, answers, findings."""

    faults: list[str]
    rounds: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def unreached(self) -> list[str]:
        """The faults that were never reached."""
        return [name for name in self.faults if not self.reached[name]]

    def table(self) -> Table:
        """How often each fault was reached."""
        table = Table(
            title=f"{self.rounds} rounds in {self.seconds:.0f} s, {self.answers:,} answers, "
            f"{len(self.findings)} findings",
            title_justify="left",
        )
        table.add_column("fault")
        table.add_column("reached", justify="right")
        for name in sorted({*self.faults, *self.reached}):
            table.add_row(escape(name), str(self.reached[name]))
        return table


class Run:
    """Rounds on one engine."""

    def __init__(self, engine: Engine, seed: int, folder: Path, console: Console) -> None:
        self._folder, self._console, self._seed = folder, console, seed
        self._dice = random.Random(seed)
        self._end_by = math.inf
        self._stack = ExitStack()
        self._disk, can_fill = self._stack.enter_context(small_disk(folder / "disk"))
        self._broker = Broker(folder / "kafka", quick_start=True) if engine == "kafka" else None
        if self._broker:
            self._stack.enter_context(self._broker)
        self._backbone = tiny_backbone(folder / "backbone")
        cards = faults(on_kafka=engine == "kafka", can_fill=can_fill)
        self._deck = Deck(cards, self._dice)
        self.outcome = Outcome([*(fault.name for fault in cards), BEHIND])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def rounds(self, amount: int, minutes: float = math.inf) -> Outcome:
        """Run so many rounds, or as many as can begin in so many minutes."""
        began = time.monotonic()
        self._end_by = began + 60 * minutes
        while self._goes_on(amount):
            self._one_model(amount)
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _goes_on(self, amount: int) -> bool:
        return self.outcome.rounds < amount and time.monotonic() < self._end_by

    def _one_model(self, amount: int) -> None:
        """Run rounds on one model, until one has findings."""
        prefix = f"chaos-{self._seed}-{self.outcome.rounds}"
        folder = self._folder / prefix
        url = self._broker.url if self._broker else None
        with World(prefix, url, self._disk, folder, self._backbone, self._broker) as world:
            for _ in range(ROUNDS_OF_A_MODEL):
                if world.findings or not self._goes_on(amount):
                    break
                self._round(world)
            world.stop()
            self.outcome.reached += world.reached
            self.outcome.answers += world.customer.answers
            self.outcome.findings += world.findings
            if world.findings:
                shutil.copytree(self._disk / prefix, folder / "disk", ignore_dangling_symlinks=True)
                self._console.print(f"kept: {folder}", soft_wrap=True)
        shutil.rmtree(self._disk / prefix)

    def _round(self, world: World) -> None:
        """Let faults happen under load, then see that nothing came of it."""
        began, number = time.monotonic(), self.outcome.rounds
        self.outcome.rounds += 1
        world.disturb(number)
        world.request_retrain()
        world.play(self._seed * 1_000 + number)
        current: list[Fault] = []
        happened = []
        for fault in self._deck.draw(FAULTS_OF_A_ROUND):
            if fault.lasts and world.daemons.is_armed("retrain"):
                self._deck.put_back(fault)
                continue
            if fault.needs_log or self._dice.random() < 0.4 or any(one.hides_log for one in current):
                _end(world, current)
            happened.append(fault.name + ("" if self._happen(world, fault) else " (not reached)"))
            current.append(fault)
        _end(world, current)
        world.finish(self._dice, LAST + number if self._dice.random() < LAST_SHARE else None)
        seconds = time.monotonic() - began
        line = f"round {number + 1}, {seconds:.0f} s: {'; '.join(happened)}"
        self._console.print(escape(line), soft_wrap=True)
        for finding in world.findings:
            self._console.print(f"[red]finding:[/] {escape(finding)}", soft_wrap=True)

    def _happen(self, world: World, fault: Fault) -> bool:
        """Let a fault happen and last a moment; return whether it was reached, or may be later."""
        time.sleep(self._dice.uniform(0.1, 0.6))
        world.customer.forgives |= fault.stops_serving
        world.play_on()
        fault.begin(world, self._dice)
        deadline = time.monotonic() + fault.patience
        while not (reached := fault.is_reached(world)) and time.monotonic() < deadline and not fault.lasts:
            world.watch()
            time.sleep(POLL_SECONDS)
        world.watch()
        if reached and fault.counts:
            world.reached[fault.name] += 1
        if not reached and not fault.lasts:
            self._deck.put_back(fault)
        time.sleep(self._dice.uniform(0.05, 0.8))
        return reached or fault.lasts


def _end(world: World, current: list[Fault]) -> None:
    """End all current faults."""
    for fault in current:
        fault.end(world)
    current.clear()
    world.mend()


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield a folder, and whether it is a disk of its own that can be filled; that takes root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    engine: Engine = "sqlite",
    seed: int = 0,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no round later.")] = math.inf,
    folder: Annotated[Path, typer.Option(help="Where models with findings are kept.")] = Path("run/chaos"),
) -> None:
    """Run rounds; exit status 1 on a finding, or if 20 rounds did not reach every fault."""
    console = Console(width=140)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that daemons, broker and disk go, too
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "audits.log", level=logging.WARNING)
    with Run(engine, seed, Path(tempfile.mkdtemp(dir=folder.resolve())), console) as run:
        outcome = run.rounds(rounds, minutes)
    console.print(outcome.table())
    unreached = outcome.unreached if outcome.rounds >= ENOUGH_ROUNDS else []
    for name in unreached:
        console.print(f"[red]never reached:[/] {escape(name)}")
    raise typer.Exit(int(bool(outcome.findings or unreached)))


if __name__ == "__main__":
    typer.run(main)
