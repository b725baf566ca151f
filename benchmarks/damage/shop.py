"""A real tiny shop to be damaged: a learner's files, a server that follows it, a client that never rests."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Self

import httpx

from benchmarks.damage.sealed import LAYERS, MANIFEST, SealedFiles, layer_name
from consumers.serve.daemon import serve
from pipeline.config import Settings
from pipeline.demo.processes import free_port
from pipeline.eventlog import open_log
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.filesystem import FORMAT
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.store import digest_of
from pipeline.snapshots.version import Version
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PREFIX, USERS, ModelHarness, tiny_settings

STARTING_SECONDS, READING_SECONDS = 30.0, 20.0
REST_SECONDS = 0.02
ANSWER = "/v1/users/{}/recommendations"


class LogLines(logging.Handler):
    """Collects warnings and errors, so that a refusal can be seen to name what it refuses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(record.getMessage())

    def take(self) -> str:
        """Return the lines since the last call."""
        taken, self._lines = self._lines, []
        return "\n".join(taken)


class Server:
    """A serve daemon in a thread, asked over HTTP."""

    def __init__(self, settings: Settings, threads: ThreadPoolExecutor) -> None:
        self.settings = settings.model_copy(
            update={"serve": settings.serve.model_copy(update={"port": free_port(), "impressions": False})}
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.settings.serve.port}", timeout=20)
        self._stop = Event()
        self.running: Future[None] = threads.submit(self._serve)
        self.wait_until(self.is_ready, STARTING_SECONDS)

    def is_ready(self) -> bool:
        """Whether it has read the log to its end once."""
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def json(self, path: str) -> dict[str, Any]:
        """Return an answer that must be one."""
        found = self.client.get(path)
        assert found.status_code == 200, f"{path}: HTTP {found.status_code}"
        body: dict[str, Any] = found.json()
        return body

    def check_answer(self, user: str) -> None:
        """Ask for recommendations; they must be there, and finite."""
        check(self.json(ANSWER.format(user)))

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition; an ended server or a passed deadline is an error."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.running.done():
                self.running.result()
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.003)

    def close(self) -> None:
        """Stop it; raise what ended it, if anything did."""
        self._stop.set()
        self.running.result(timeout=STARTING_SECONDS)
        self.client.close()

    def _serve(self) -> None:
        event_log = open_log(self.settings.log.url)
        try:
            serve(self.settings, event_log, self._stop)
        finally:
            event_log.close()


class Client:
    """Asks for recommendations all the time, and counts answers that are not right."""

    def __init__(self, server: Server, threads: ThreadPoolExecutor) -> None:
        self.answers, self.failures = 0, list[str]()
        self._server, self._stop = server, Event()
        self._asking = threads.submit(self._ask)

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._asking.result()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._server.client.base_url, timeout=20) as client:
            while not self._stop.wait(REST_SECONDS):
                try:
                    found = client.get(ANSWER.format(USERS[self.answers % len(USERS)]))
                    found.raise_for_status()
                    check(found.json())
                except (AssertionError, httpx.HTTPError, ValueError) as error:
                    self.failures.append(str(error))
                self.answers += 1


def check(body: dict[str, Any]) -> None:
    """Check an answer: there are items, from the model, with finite scores."""
    scores = [shown["score"] for shown in body["items"]]
    assert body["source"] == "model", f"the answer came from {body['source']}"
    assert scores and all(isinstance(score, float) and math.isfinite(score) for score in scores), "scores"


class Shop:
    """What the cases damage.

    Attributes:
        base: a copy of log and checkpoints as they were before the first case.
        served: the newest good version.
        full, delta: a snapshot of each kind as it was published.
    """

    def __init__(self, harness: ModelHarness, bait: Path, threads: ThreadPoolExecutor) -> None:
        self.harness, self.bait, self.threads = harness, bait, threads
        self.settings = harness.settings
        self.snapshots = Path(harness.settings.snapshots.store) / PREFIX
        self._learn()
        self.base = harness.settings.checkpoints.folder.parent.with_name("base")
        shutil.copytree(self.base.with_name("shop"), self.base, ignore=shutil.ignore_patterns("snapshots"))
        full, delta = (Version.parse(version.name) for version in sorted(self.snapshots.glob("1-*")))
        self.full, self.delta = self._read(full), self._read(delta)
        self._step = 1_000
        self.served, self.server = str(delta), Server(self.settings, threads)
        self.publish_good()  # a list of layers that no case shares: the server reads all that is damaged
        self.client = Client(self.server, threads)
        self.lines = LogLines()
        logging.getLogger().addHandler(self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger().removeHandler(self.lines)
        self.client.close()
        self.server.close()

    def next_version(self) -> str:
        """Return a version that is newer than all."""
        self._step += 1
        return f"1-{self._step}"

    def folder(self, version: str) -> Path:
        """Return the folder of a snapshot."""
        return self.snapshots / version

    def announce(self, wire: bytes) -> str:
        """Append an announcement; return its place."""
        harness = self.harness
        harness.writer.append(harness.topics.snapshots, PREFIX, wire)
        harness.writer.flush()
        (end,) = harness.log.end_offsets([harness.topics.snapshots]).values()
        return f"{harness.topics.snapshots}/0/{end - 1}"

    def publish_good(self) -> None:
        """Publish a good snapshot as a new version, and wait until it is served."""
        version = self.next_version()
        files = as_version(self.full, version)
        self.folder(version).mkdir()
        for name, content in files.files.items():
            (self.folder(version) / name).write_bytes(content)
        self.announce(announcement(version, files).encode())
        self.served = version
        self.server.wait_until(self._serves_the_newest, READING_SECONDS)

    def restore_layers(self) -> None:
        """Put the layers that versions share in place again, and remove others."""
        folder = self.snapshots / "layers"
        for path in folder.iterdir():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, content in {**self.full.files, **self.delta.files}.items():
            if name.startswith(LAYERS):
                (folder / Path(name).name).write_bytes(content)

    def settle(self) -> dict[str, Any]:
        """Wait until the server has read what is in the log, twice; return its readiness.

        The second reading begins after whatever the first one announced was loaded.
        """
        for _ in range(2):
            self.harness.act("ann", "red-cup")
            self.server.wait_until(self._has_read_all, READING_SECONDS)
        return self.server.json("/readyz")

    def _has_read_all(self) -> bool:
        ends = self.harness.log.end_offsets([self.harness.topics.interactions])
        offsets = self.server.json("/v1/model")["offsets"]
        return all(offsets.get(str(place)) == end for place, end in ends.items())

    def _serves_the_newest(self) -> bool:
        found: str = self.server.json("/readyz")["snapshot"]
        return found == self.served

    def _learn(self) -> None:
        """Learn, checkpoint three times, publish a full snapshot and a delta with histories."""
        harness = self.harness
        harness.stock()
        harness.shop(100)
        publisher = harness.publisher()
        with harness.learning() as learning:
            for _ in range(3):
                learning.new(2)
                learning.checkpoint()
            self._publish(publisher, learning)
            learning.new(1)
            self._publish(publisher, learning)
        self.position = learning.position
        self.candidate_state = learning.captured()

    def _publish(self, publisher: Publisher, learning: LearnerHarness) -> None:
        histories = learning.learner.stream.histories
        ends = {user: end for batch in learning.learned for user, end in batch.users.items()}
        complete = {user: (histories.of(user), end) for user, end in ends.items()}
        publisher.publish(Publication(learning.update(publisher), complete, [], []))

    def _read(self, version: Version) -> SealedFiles:
        folder = self.folder(str(version))
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        sealed = SealedFiles(files, FORMAT, lambda content: digest_of(content).model_dump(mode="json"))
        layers = map(layer_name, sealed.manifest["layers"])
        files |= {name: (folder / name).read_bytes() for name in layers}
        return sealed


def as_version(files: SealedFiles, version: str) -> SealedFiles:
    """Return a good snapshot as another version, up to which its last layer reaches."""
    layers = files.manifest["layers"]
    layers[-1]["through"] = Version.parse(version).step
    return files.with_manifest(version=version, layers=layers)


def announcement(version: str, files: SealedFiles) -> Announcement:
    """Announce a version with the seal that its manifest has, or should have."""
    size = len(files.files[MANIFEST])
    return Announcement(version=version, digest=files.digest, size=size, reason="case", published_at=1)


@contextmanager
def opened(folder: Path, backbone: Path) -> Iterator[Shop]:
    """Make a shop in a new folder, and bait beside it."""
    bait = folder / "outside" / "bait.json"
    bait.parent.mkdir(parents=True)
    bait.write_bytes(b"{}")
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(8))
        harness = stack.enter_context(ModelHarness(tiny_settings(folder / "shop", backbone)))
        yield stack.enter_context(Shop(harness, bait, threads))
