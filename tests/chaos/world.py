"""One model under chaos: its log, its daemons, its customers, and what they must have done in the end."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson

from consumers.audit.audit import audit
from consumers.audit.check import AuditCheck
from consumers.audit.servers import check_servers
from deploy.kafka.broker import Broker
from pipeline.assembly import checkpoints_of
from pipeline.config import (
    BatchConfig,
    CheckpointConfig,
    LogConfig,
    MetricsConfig,
    ModelConfig,
    ModelSizes,
    PlanConfig,
    RetrainConfig,
    ServeConfig,
    Settings,
    SnapshotConfig,
    TrainingConfig,
    to_toml,
)
from pipeline.config.settings import FILE_VARIABLE
from pipeline.control.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.control.records import ControlRecord
from pipeline.datasets import open_dataset
from pipeline.demo.processes import free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.patient_writer import PatientWriter
from pipeline.eventlog.port import named
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.journal.entry import JournalEntry, read_journal
from pipeline.retraining.candidates import Candidates
from pipeline.snapshots.store import SnapshotStore
from tests.chaos.daemons import Daemons
from tests.chaos.seams import STORE
from tests.support.build import learner_config
from tests.support.model_harness import COLOURS, THINGS
from tests.support.retrain_harness import ANYTHING_GOES

EVENTS, RATE = 160, 50
"""Interactions that are played in a round, and how many a second."""
USERS, ITEMS = 40, 120
ASK_SECONDS = 0.05
SETTLE_SECONDS = 90.0
SETTLED_SECONDS = 0.3
AUDITED_USERS = 20
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.05
FIRST_MS = 1_000_000_000_000
VIEW = InteractionType.VIEW
TYPES = (InteractionType.VIEW, InteractionType.CART, InteractionType.PURCHASE, InteractionType.RETURN)
LAST_ACTS = 40
"""Appended at the end of a round, and not learned when the server is first compared with a new one."""
BEHIND = "servers compared behind a frozen learner"
RETRAIN = RetrainConfig(
    nice=0,
    plan=PlanConfig(window_events=64, wait_events=24, held_out_events=24, trial_events=48),
    training=TrainingConfig(epochs=2, segments=4),
)


def settings_of(url: str, prefix: str, folder: Path, backbone: Path) -> Settings:
    """Settings of a tiny model that commits several times a second, with all its files in a folder."""
    return Settings(
        log=LogConfig(url=url, prefix=prefix, partitions=4),
        model=ModelConfig(backbone=str(backbone), device="cpu", cache=folder / "cache"),
        learn=learner_config(
            context=8,
            history_length=200,
            negatives=32,
            replay=4,
            sizes=ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4),
        ),
        batch=BatchConfig(events=64, wait_seconds=0.05, linger_seconds=0.1, nice=0),
        snapshots=SnapshotConfig(store=f"{STORE}://{folder}/snapshots", seconds=0.2),
        checkpoints=CheckpointConfig(folder=folder / "checkpoints", seconds=1.0),
        retrain=RETRAIN,
        gate=ANYTHING_GOES,
        serve=ServeConfig(port=free_port()),
        metrics=MetricsConfig(learn=0, retrain=0),
    )


class World:
    """A model with its daemons and a customer.

    Attributes:
        findings: what must not have happened.
        reached: how often each fault was reached.
    """

    def __init__(
        self, prefix: str, url: str | None, disk: Path, folder: Path, backbone: Path, broker: Broker | None
    ) -> None:
        """Begin a model.

        Args:
            prefix: of its topics.
            url: of its log; None for one of SQLite on the disk.
            disk: where its files are; it may be full at times.
            folder: where logs of daemons and armed points are.
            backbone: of a tiny language model.
            broker: of the log, None on SQLite.
        """
        self.disk, self.broker = disk, broker
        self.log_file = disk / prefix / "log.db"
        self.findings: list[str] = []
        self.reached: Counter[str] = Counter()
        url = url or f"sqlite:///{self.log_file}"
        served = settings_of(url, prefix, disk / prefix, backbone)
        # The audit reads the store beside the daemons, and must not hang with them.
        plain = served.snapshots.model_copy(update={"store": str(disk / prefix / "snapshots")})
        self.settings = served.model_copy(update={"snapshots": plain})
        self.topics = Topics(prefix)
        (disk / prefix).mkdir(parents=True)
        folder.mkdir(parents=True)
        (folder / "millstream.toml").write_text(to_toml(served))
        self.daemons = Daemons(folder, {FILE_VARIABLE: str(folder / "millstream.toml")})
        self.log = open_log(url)
        self.topics.create(self.log, *self.settings.log.topic_sizes)
        self.customer = Customer(self.settings.serve.port)
        self._stop = threading.Event()
        self._events: set[str] = set()
        self._items: list[str] = []
        self._entries_counted = 0
        self._request = ""

    def __enter__(self) -> Self:
        self.daemons.start("learn")
        self.daemons.start("serve")
        self.daemons.start("retrain", "--follow")
        self.customer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self.customer.stop()
        self.daemons.close()
        self.log.close()

    def stop(self) -> None:
        """Stop the daemons as a person does; each must end well."""
        self.customer.forgives = True
        for name in ("retrain", "serve", "learn"):
            status = self.daemons.stop(name)
            if point := self.daemons.take_reached(name):  # an armed fault came at the last moment
                self.reached[f"{name}: {point}"] += 1
            elif status != 0:
                self.findings.append(
                    f"{name} was stopped and ended with {status}:\n{self.daemons.tail(name)}"
                )

    def play(self, seed: int) -> None:
        """Play a shop of this seed's own; the events of a later seed are later."""
        shop = f"shop:seed={seed},events={EVENTS},users={USERS},items={ITEMS},arrivals=20,arrival_every=5"
        shop += f",opening={2000 + seed % 20}-01-01"
        acts = [one for one in open_dataset(shop).events() if isinstance(one, Interaction)]
        self._events |= {act.event_id for act in acts}
        self._items = sorted({act.item for act in acts})
        self.daemons.start("play", shop, "--rate", str(RATE))

    def disturb(self, seed: int) -> None:
        """Append what no producer should: a duplicate, a collision, a wrong key, garbage."""
        time_ms = FIRST_MS + seed
        event = Interaction(event_id=f"mine-{seed}", user="u1", item="i1", type=VIEW, time=time_ms)
        collision = encode(event.model_copy(update={"item": "i2"}))
        self._events.add(event.event_id)
        for user, wire in (
            ("u1", encode(event)),
            ("u1", encode(event)),
            ("u1", collision),
            ("u2", encode(event)),
            ("u3", b"garbage"),
        ):
            self.append(self.topics.interactions, user, wire)

    def append(self, topic: str, key: str, value: bytes) -> None:
        """Append a record, however long it takes."""
        with PatientWriter(self.log, self._stop) as writer:
            writer.append(topic, key, value)
            writer.flush()

    def order(self, record: ControlRecord) -> None:
        """Append to the control topic."""
        self.append(self.topics.control, record.key, record.encode())

    def entries(self) -> list[JournalEntry]:
        """Return all entries of the journal."""
        return [entry for entry, _ in read_journal(self.log, self.topics.journal)]

    def request_retrain(self) -> None:
        """Raise an alarm that asks for a retrain, unless one is under way."""
        entries = self.entries()
        if not entries or (self._request and self._candidates().named(self._request).decision() is None):
            return
        generation, step = entries[-1].generation, entries[-1].step
        alarm = DriftAlarm(
            signal=Signal.LOSS, generation=generation, step=step, events=0, before=0, after=1, evidence={}
        )
        request = RetrainRequest(alarm=alarm)
        self._request = request.key
        self.order(request)

    def watch(self) -> None:
        """Count the points that daemons have come to; a daemon that ended by itself is a finding."""
        for name in self.daemons.started():
            status = self.daemons.status(name)
            if point := self.daemons.take_reached(name):
                self.reached[f"{name}: {point}"] += 1
            if status is not None and name not in self.daemons.killed and (name, status) != ("play", 0):
                self.findings.append(f"{name} ended by itself, status {status}:\n{self.daemons.tail(name)}")
                self.daemons.start(name)

    def mend(self, *names: str) -> None:
        """Let what is frozen go on, and start what was killed; only these daemons, if there are any."""
        self.watch()
        for name in names or self.daemons.started():
            if name in self.daemons.frozen:
                self.daemons.signal(name, signal.SIGCONT)
            if name in self.daemons.killed:
                self.daemons.start(name)

    def play_on(self) -> None:
        """Play the round's shop again if it has ended: there is always something to read."""
        self.mend("play")
        if self.daemons.status("play") == 0:
            self.daemons.start("play")

    def finish(self, dice: random.Random, last: int | None = None) -> None:
        """Wait until all is played, compare servers behind the learner, wait until all is learned, audit.

        Args:
            dice: draw what is appended at the end.
            last: number of a last event, whose announcement the learner does not survive.
        """
        self.mend()
        if not self.wait(lambda: bool(self.customer.ask("/readyz").get("ready"))):
            self.findings.append(f"the server does not get ready:\n{self.daemons.tail('serve')}")
        self.customer.forgives = False
        if not self.wait(lambda: self.daemons.status("play") == 0):
            self.findings.append(f"play does not end:\n{self.daemons.tail('play')}")
        self._compare_behind(dice)
        if last is not None:
            self.daemons.arm("learn", "mid-announcement", signal.SIGKILL)
            self.disturb(last)
        self.customer.rests = True
        if not self.wait(self._is_settled):
            self.findings.append(f"it does not settle: {self._standpoint()}")
        self._count_adoptions()
        self._audit()
        self.customer.rests = False
        self.findings += self.customer.take_failures()

    def _compare_behind(self, dice: random.Random) -> None:
        """Compare the server with a new one while the learner is frozen, so that both have much to count."""
        self._act(dice)
        self.daemons.signal("learn", signal.SIGSTOP)
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._has_read_all() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self.customer.ask("/v1/model").get("unlearned"):
            self.reached[BEHIND] += 1
        checks = check_servers(self.log, self.topics, self.settings, [self.customer.url], AUDITED_USERS)
        self._add_findings("behind the learner, ", checks)
        self.daemons.signal("learn", signal.SIGCONT)

    def _act(self, dice: random.Random) -> None:
        """Append acts, an item, a title, and the end of an item, all at once."""
        with PatientWriter(self.log, self._stop) as writer:
            new, retitled, removed = f"new-{dice.randrange(10**9)}", *dice.sample(self._items, 2)
            for item in (new, retitled):
                title = f"the {dice.choice(COLOURS)} {dice.choice(THINGS)} {dice.randrange(100)}"
                writer.append(self.topics.items, item, encode(Item(item=item, title=title)))
            writer.append(self.topics.items, removed, None)
            for item in [new, *dice.choices(self._items, k=LAST_ACTS)]:
                act = Interaction(
                    event_id=f"act-{dice.randrange(10**12)}",
                    user=f"u{dice.randrange(USERS)}",
                    item=item,
                    type=dice.choice(TYPES),
                    time=FIRST_MS + dice.randrange(10**9),
                    session=f"s{dice.randrange(5)}",
                )
                self._events.add(act.event_id)
                writer.append(self.topics.interactions, act.user, encode(act))
            writer.flush()

    def _has_read_all(self) -> bool:
        at = self._standpoint()
        return at["read"] == at["log"] and at["pending texts"] == 0

    def _audit(self) -> None:
        checks = audit(self.log, self.topics, self.settings, servers=[self.customer.url], users=AUDITED_USERS)
        self._add_findings("", checks)
        events = next(check for check in checks if check.subject == "events").checked
        if not events.startswith(f"{len(self._events):,} events"):
            self.findings.append(f"the log holds {events}, but {len(self._events):,} were acknowledged")

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until something is true, and mend what breaks meanwhile; return whether it became so."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.mend()
            time.sleep(POLL_SECONDS)
        return True

    def _is_settled(self) -> bool:
        """Whether log, journal, checkpoint, snapshot and server are at the same place, and stay there."""
        before = self._standpoint()
        time.sleep(SETTLED_SECONDS)
        version = before["journal"]
        settled = {**before, "checkpoint": version, "snapshot": version, "served": version}
        return (
            before == settled == self._standpoint() and before["learned"] == before["read"] == before["log"]
        )

    def _standpoint(self) -> dict[str, object]:
        """Return the newest version of everything, and how far the log is learned and read."""
        topics = [self.topics.interactions, self.topics.items]
        store = SnapshotStore.of(self.settings.snapshots, self.topics.prefix)
        last = next(iter(self.entries()[-1:]), None)
        model = self.customer.ask("/v1/model")
        ends, read = self.log.end_offsets(topics), model.get("offsets", {})
        return {
            "log": named(ends),
            "learned": named({place: last.offsets[place] for place in ends}) if last else None,
            "read": {place: read.get(place) for place in named(ends)},  # servers read users and rules, too
            "journal": last.version if last else None,
            "checkpoint": next(map(str, checkpoints_of(self.settings).versions()[-1:]), None),
            "snapshot": next(map(str, store.versions()[-1:]), None),
            "served": model.get("snapshot"),
            "pending texts": model.get("pending_texts"),
        }

    def _add_findings(self, when: str, checks: Sequence[AuditCheck]) -> None:
        self.findings += [f"{when}{check.subject}: {text}" for check in checks for text in check.findings]

    def _candidates(self) -> Candidates:
        return Candidates(checkpoints_of(self.settings).folder)

    def _count_adoptions(self) -> None:
        entries = self.entries()
        for entry in entries[self._entries_counted :]:
            if entry.adopts is not None:
                self.reached[f"adopted: {entry.adopts.kind}"] += 1
        self._entries_counted = len(entries)


class Customer:
    """Asks a server all the time; no request may fail while the server is up.

    Attributes:
        forgives: whether requests may fail now.
        rests: whether nothing is asked now: each answer is an impression, which moves the learner on.
        answers: how many there were.
        url: of the server.
    """

    def __init__(self, port: int) -> None:
        self.forgives = True
        self.rests = False
        self.answers = 0
        self.url = f"http://127.0.0.1:{port}"
        self._failures: list[str] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="customer")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._enough.set()
        self._thread.join()

    def ask(self, path: str) -> dict[str, Any]:
        """Ask once; return an empty answer if there is none."""
        try:
            return self._get(path)
        except (OSError, HTTPException):
            return {}

    def take_failures(self) -> list[str]:
        """Return the failures since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def _get(self, path: str) -> dict[str, Any]:
        with urlopen(self.url + path, timeout=ANSWER_SECONDS) as answer:
            body: dict[str, Any] = orjson.loads(answer.read())
        return body

    def _ask_on(self) -> None:
        number = 0
        while not self._enough.wait(ASK_SECONDS):
            if self.rests:
                continue
            number += 1
            forgiven = self.forgives
            try:
                self._get(f"/v1/users/u{number % USERS}/recommendations?k=5")
                self.answers += 1
            except HTTPError as error:
                if (
                    error.code != HTTPStatus.SERVICE_UNAVAILABLE or not forgiven
                ):  # it is still reading the log
                    self._failures.append(f"a request failed: {error}: {error.read()[:200]!r}")
            except (OSError, HTTPException) as error:
                if not (forgiven or self.forgives):
                    self._failures.append(f"a request failed: {error}")
