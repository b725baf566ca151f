"""Daemons with seams: commands that can be made to kill or freeze themselves at a named point.

The product knows nothing of this. `run_command` wraps functions of the product before it runs a
command. While the file ``armed-<daemon>`` is in the chaos folder and names a point, the process
that comes to the point first renames the file to ``reached-<daemon>`` and sends itself the signal.
The snapshot store is a local folder behind a filesystem that hangs or fails while a file says so.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem
from kafka import KafkaProducer

import consumers.learn.daemon
import consumers.retrain.comparing
import consumers.retrain.daemon
import pipeline.checkpoints.store
import pipeline.eventlog.sqlite.fenced
import pipeline.eventlog.sqlite.writer
from consumers.learn.orders import CommandReader
from consumers.retrain.announcing import Announcer
from consumers.serve.follow.follower import Follower
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from pipeline import cli
from pipeline.checkpoints.store import Checkpoints
from pipeline.config import load_settings
from pipeline.eventlog.kafka.fenced import KafkaFencedWriter
from pipeline.eventlog.patient_writer import PatientWriter
from pipeline.eventlog.sqlite.fenced import SqliteFencedWriter
from pipeline.retraining.candidates import Candidate, Candidates
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.filesystem import StoreFiles
from pipeline.snapshots.publisher import Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.training.learner import Learner
from tests.support.forks import enter

STORE = "chaos"
"""Scheme of the snapshot store's URL."""
HANGS, FAILS = "store-hangs", "store-fails"


class Seam(NamedTuple):
    """A point of the code: just before or after a function, whose first arguments may have to be right."""

    owner: Any
    function: str
    after: bool = False
    applies: Callable[..., bool] = lambda *arguments: True


def _is_manifest(path: Path, *_: object) -> bool:
    return path.name == "manifest.json"


def _is_torn(path: Path, *_: object) -> bool:
    return path.name.endswith(".part")


SEAMS: dict[str, dict[str, Seam]] = {
    "learn": {
        "before a journal entry": Seam(SqliteFencedWriter, "append"),
        "journalled, not learned": Seam(SqliteFencedWriter, "append", after=True),
        "mid-journal": Seam(pipeline.eventlog.sqlite.fenced, "append_rows", after=True),
        "learned, not committed": Seam(Learner, "score_and_learn", after=True),
        "mid-checkpoint": Seam(pipeline.checkpoints.store, "write_durably", applies=_is_manifest),
        "mid-rename": Seam(Path, "rename", applies=_is_torn),
        "renamed, not durable": Seam(pipeline.checkpoints.store, "sync_folder"),
        "histories published, no snapshot": Seam(SnapshotStore, "publish"),
        "mid-snapshot": Seam(StoreFiles, "write_whole"),
        "mid-announcement": Seam(Announcement, "encode"),
        "announced, not reported": Seam(Publisher, "publish", after=True),
        "order planned, not journalled": Seam(CommandReader, "_plan", after=True),
        "mid-adoption": Seam(Checkpoints, "adopt"),
        "adopted, not published": Seam(Checkpoints, "adopt", after=True),
    },
    "serve": {
        "mid-start": Seam(Follower, "_read_histories", after=True),
        "mid-load": Seam(SnapshotLoader, "load", after=True),
        "mid-swap": Seam(Follower, "_swap", after=True),
        "mid-view": Seam(CurrentState, "replace"),
    },
    "retrain": {
        "planned": Seam(Candidates, "begin", after=True),
        "mid-training": Seam(consumers.retrain.daemon, "_measure_progress"),
        "mid-comparison": Seam(consumers.retrain.comparing, "run_through"),
        "before a decision": Seam(Candidate, "conclude"),
        "decided, not announced": Seam(Candidate, "conclude", after=True),
        "decision announced": Seam(Announcer, "announce", after=True),
    },
    "play": {
        "before a flush": Seam(PatientWriter, "flush"),
        "flushed, not counted": Seam(PatientWriter, "flush", after=True),
        "mid-append": Seam(pipeline.eventlog.sqlite.writer, "append_rows", after=True),
    },
}
ON_KAFKA: dict[str, dict[str, Seam]] = {
    "learn": {
        "before a journal entry": Seam(KafkaFencedWriter, "append"),
        "journalled, not learned": Seam(KafkaFencedWriter, "append", after=True),
        "mid-journal": Seam(KafkaProducer, "commit_transaction"),
    },
    "play": {"mid-append": Seam(KafkaProducer, "send", after=True)},
}
"""Where the points are on Kafka, as far as elsewhere."""


def run_command(arguments: tuple[str, ...], environment: dict[str, str], folder: Path, output: Path) -> None:
    """Run a `millstream` command in this process, with its seams; for a new process.

    Args:
        arguments: of the command; the first is the daemon's name.
        environment: all of it.
        folder: of the armed points and of the store's state; it becomes the working directory.
        output: file that what the command prints is appended to.
    """
    enter(environment, folder, output)
    on_kafka = load_settings().log.url.startswith("kafka")
    seams = SEAMS[arguments[0]] | (ON_KAFKA.get(arguments[0], {}) if on_kafka else {})
    for point, seam in seams.items():
        _wrap(folder, arguments[0], point, seam)
    register_store(folder)
    sys.argv = ["millstream", *arguments]
    cli.main()


def register_store(folder: Path) -> None:
    """Make the URLs of the store lead to a local folder that hangs or fails while `folder` says so."""
    ChaosFileSystem.folder = folder
    fsspec.register_implementation(STORE, ChaosFileSystem, clobber=True)


def _wrap(folder: Path, daemon: str, point: str, seam: Seam) -> None:
    original = getattr(seam.owner, seam.function)
    armed = folder / f"armed-{daemon}"

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not seam.after:
            _pass(armed, point, seam.applies(*arguments))
        result = original(*arguments, **named)
        if seam.after:
            _pass(armed, point, seam.applies(*arguments))
        return result

    setattr(seam.owner, seam.function, wrapped)


def _pass(armed: Path, point: str, applies: bool) -> None:
    """Send this process the signal if the point is armed."""
    try:
        number, name = armed.read_text().split(maxsplit=1)
        if not applies or name != point:
            return
        os.rename(armed, armed.with_name(armed.name.replace("armed", "reached")))  # noqa: PTH104 (Path's is a seam)
    except (FileNotFoundError, ValueError):
        return  # not armed, being armed, or another thread was faster
    os.kill(os.getpid(), int(number))


class ChaosFileSystem(LocalFileSystem):  # type: ignore[misc]
    """A local folder that hangs, or fails, while a file in the chaos folder says so."""

    protocol = STORE
    folder: Path

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        text = str(path)
        return super()._strip_protocol(text.removeprefix(f"{STORE}://"))


def _obstructed(name: str) -> Callable[..., Any]:
    original = getattr(LocalFileSystem, name)

    def wrapped(self: ChaosFileSystem, *arguments: Any, **named: Any) -> Any:
        while (self.folder / HANGS).exists():
            (self.folder / f"hit-{HANGS}").touch()
            time.sleep(0.02)
        if (self.folder / FAILS).exists():
            (self.folder / f"hit-{FAILS}").touch()
            raise OSError(5, "the store fails")
        return original(self, *arguments, **named)

    return wrapped


for _name in ("glob", "makedirs", "pipe_file", "info", "cat_file", "mv", "rm"):
    setattr(ChaosFileSystem, _name, _obstructed(_name))
