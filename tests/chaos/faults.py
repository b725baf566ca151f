"""The faults: what can happen to a model, how it is brought about, and how it ends."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pipeline.assembly import checkpoints_of
from pipeline.control.records import Order, Promotion, Rollback
from pipeline.journal.entry import Verb
from tests.chaos.seams import FAILS, HANGS, SEAMS
from tests.chaos.world import World

RECENT_ENTRIES = 60
"""Of the journal, among which a version to return to is chosen."""
FULL = re.compile(r"No space left|disk is full", re.IGNORECASE)
BLOCKS = (2**20, 2**12)
"""Sizes of the writes that fill a disk, in bytes."""
FENCED = 1
"""Exit status of a learner that another one has replaced."""
BY_ORDER = {"order planned, not journalled", "mid-adoption", "adopted, not published"}
"""Points that a learner comes to when it obeys an order."""
AT_START = {"mid-start"}
"""Points that a server comes to when it starts."""


class Fault:
    """Something that happens to a model; a subclass says what.

    Attributes:
        name: what it is called in the table.
        counts: whether being reached is counted here; the world counts points of daemons.
        lasts: whether it may go on after the round, because it takes long to be reached.
        needs_log: whether it appends to the log, so that the log must be there.
        patience: seconds that it may take to be reached; afterwards it is taken back.
        hides_log: whether a daemon that starts meanwhile would begin another log.
    """

    counts = True
    lasts = False
    needs_log = False
    hides_log = False
    patience = 6.0

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def stops_serving(self) -> bool:
        """Whether requests may fail meanwhile."""
        return self.name.startswith("serve:")

    def begin(self, world: World, dice: random.Random) -> None:
        """Bring it about."""

    def is_reached(self, world: World) -> bool:
        """Whether it has happened."""
        return True

    def end(self, world: World) -> None:
        """Take it back."""


class Signalled(Fault):
    """A daemon is killed or frozen at any moment."""

    def __init__(self, daemon: str, number: signal.Signals) -> None:
        super().__init__(f"{daemon}: {'killed' if number is signal.SIGKILL else 'frozen'} at any moment")
        self._daemon, self._number = daemon, number

    def begin(self, world: World, dice: random.Random) -> None:
        world.mend(self._daemon)
        world.daemons.signal(self._daemon, self._number)


class Point(Fault):
    """A daemon is killed or frozen at a point of its code."""

    counts = False

    def __init__(self, daemon: str, point: str) -> None:
        super().__init__(f"{daemon}: {point}")
        self._daemon, self._point = daemon, point
        self.lasts = daemon == "retrain"
        self.needs_log = point in BY_ORDER

    def begin(self, world: World, dice: random.Random) -> None:
        if self._point in AT_START:
            world.daemons.signal(self._daemon, signal.SIGKILL)
        number = signal.SIGKILL if dice.random() < 0.75 else signal.SIGSTOP
        world.daemons.arm(self._daemon, self._point, number)
        world.mend(self._daemon)
        if self._point in BY_ORDER:
            world.order(a_rollback(world, dice))

    def is_reached(self, world: World) -> bool:
        return not world.daemons.is_armed(self._daemon)

    def end(self, world: World) -> None:
        if not self.lasts:
            world.daemons.disarm(self._daemon)


class Ordered(Fault):
    """A person orders a rollback, or the promotion of an earlier state."""

    needs_log = True

    def __init__(self, name: str) -> None:
        super().__init__(f"order: {name}")
        self._kind = name
        self._order: Order | None = None

    def begin(self, world: World, dice: random.Random) -> None:
        if self._kind == "promotion":
            self._order = a_promotion(world, dice)
        else:
            self._order = a_rollback(world, dice, relearn="relearn" in self._kind)
        world.order(self._order)

    def is_reached(self, world: World) -> bool:
        adopted = {entry.adopts.order for entry in world.entries() if entry.adopts is not None}
        return self._order is not None and self._order.key in adopted


class DiskFull(Fault):
    """There is no room left for log, checkpoints, snapshots and caches."""

    def __init__(self) -> None:
        super().__init__("disk full")
        self._printed: dict[str, int] = {}

    def begin(self, world: World, dice: random.Random) -> None:
        world.mend("learn")
        self._printed = {name: world.daemons.log_size(name) for name in world.daemons.started()}
        with (world.disk / "ballast").open("wb", buffering=0) as ballast:
            for block in BLOCKS:
                with suppress(OSError):
                    while ballast.write(bytes(block)):
                        pass

    def is_reached(self, world: World) -> bool:
        return any(FULL.search(world.daemons.printed(name, since)) for name, since in self._printed.items())

    def end(self, world: World) -> None:
        (world.disk / "ballast").unlink(missing_ok=True)


class StoreAway(Fault):
    """The snapshot store hangs, or fails."""

    def __init__(self, state: str) -> None:
        super().__init__(state.replace("-", " "))
        self._state = state

    def begin(self, world: World, dice: random.Random) -> None:
        world.mend("learn")
        (world.daemons.folder / f"hit-{self._state}").unlink(missing_ok=True)
        (world.daemons.folder / self._state).touch()

    def is_reached(self, world: World) -> bool:
        return (world.daemons.folder / f"hit-{self._state}").exists()

    def end(self, world: World) -> None:
        (world.daemons.folder / self._state).unlink(missing_ok=True)


class LogLocked(Fault):
    """Another process, perhaps a backup, holds the lock of the log's file."""

    needs_log = True

    def __init__(self) -> None:
        super().__init__("log locked")
        self._lock: sqlite3.Connection | None = None

    def begin(self, world: World, dice: random.Random) -> None:
        self._lock = sqlite3.connect(world.log_file, timeout=30, isolation_level=None)
        self._lock.execute("BEGIN EXCLUSIVE")

    def end(self, world: World) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class LogMissing(Fault):
    """The volume of the log's file is not mounted for a while."""

    hides_log = True

    def __init__(self) -> None:
        super().__init__("log missing")

    def begin(self, world: World, dice: random.Random) -> None:
        away = world.log_file.with_suffix(".away")
        world.log_file.rename(away)

    def end(self, world: World) -> None:
        away = world.log_file.with_suffix(".away")
        if away.exists():
            away.rename(world.log_file)


class BrokerAway(Fault):
    """The broker is killed or frozen."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"broker: {'killed' if number is signal.SIGKILL else 'frozen'} at any moment")
        self._number = number

    def begin(self, world: World, dice: random.Random) -> None:
        assert world.broker is not None
        if self._number is signal.SIGKILL:
            world.broker.kill()
        else:
            world.broker.signal(self._number)

    def end(self, world: World) -> None:
        assert world.broker is not None
        if world.broker.running():
            world.broker.signal(signal.SIGCONT)
        else:
            world.broker.start()


class Replaced(Fault):
    """A learner freezes, another one takes over, and the first one goes on: it must end."""

    needs_log = True
    patience = 45.0

    def __init__(self) -> None:
        super().__init__("learn: replaced while frozen")
        self._old: ForkServerProcess | None = None

    def begin(self, world: World, dice: random.Random) -> None:
        world.mend("learn")
        world.wait(lambda: world.daemons.has_said("learn", "learner starts after"))
        world.daemons.signal("learn", signal.SIGSTOP)
        self._old = world.daemons.replace("learn")

    def is_reached(self, world: World) -> bool:
        assert self._old is not None
        world.play_on()  # it learns that it was replaced when it has something to journal
        with suppress(ProcessLookupError):
            os.kill(self._old.pid or 0, signal.SIGCONT)
        return self._old.exitcode is not None

    def end(self, world: World) -> None:
        if self._old is None:
            return
        if self._old.exitcode != FENCED:
            world.findings.append(f"a replaced learner ended with {self._old.exitcode}, not fenced")
            self._old.kill()
        self._old = None


def faults(on_kafka: bool, can_fill: bool) -> list[Fault]:
    """Return all faults of an engine; without disk full if no disk of a small size could be made."""
    found: list[Fault] = []
    for daemon in SEAMS:
        found += [Signalled(daemon, number) for number in (signal.SIGKILL, signal.SIGSTOP)]
    found += [Point(daemon, point) for daemon, points in SEAMS.items() for point in points]
    found += [Ordered("rollback"), Ordered("rollback, relearn"), Ordered("promotion")]
    found += [StoreAway(HANGS), StoreAway(FAILS), Replaced()]
    if can_fill:
        found.append(DiskFull())
    if on_kafka:
        return [*found, BrokerAway(signal.SIGKILL), BrokerAway(signal.SIGSTOP)]
    return [*found, LogLocked(), LogMissing()]


def a_rollback(world: World, dice: random.Random, relearn: bool = False) -> Rollback:
    """Make an order to return to one of the latest versions."""
    entries = [entry for entry in world.entries()[-RECENT_ENTRIES:] if entry.verb is not Verb.START]
    version = dice.choice(entries).version if entries else "1-0"
    return Rollback(
        version=version, relearn=relearn, generation=None, ordered_at=dice.randrange(10**12), reason="chaos"
    )


def a_promotion(world: World, dice: random.Random) -> Promotion:
    """Make an order to adopt a copy of one of the checkpoints."""
    checkpoints, number = checkpoints_of(world.settings), dice.randrange(10**12)
    candidate = f"chaos-{number}"
    state = checkpoints.folder / checkpoints.candidate_state(candidate)
    for version in reversed(checkpoints.versions()[:-1]):
        shutil.rmtree(state, ignore_errors=True)
        if _copied(checkpoints.folder / str(version), state):
            break
    return Promotion(candidate=candidate, generation=None, ordered_at=number, reason="chaos")


def _copied(source: Path, target: Path) -> bool:
    """Copy a checkpoint; return whether it was there all the time: the learner removes old ones."""
    try:
        shutil.copytree(source, target)
    except (OSError, shutil.Error):
        return False
    return True
