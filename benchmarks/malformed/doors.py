"""Send inputs through the doors, and check what each of them says at once."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.malformed.inputs import COLUMNS, FOREIGN_TOPIC, MAPPING, Input, foreign_of, input_of, row_of
from pipeline.datasets.mapped import MappedDataset
from pipeline.datasets.mapping import Mapping
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.events import MAX_WIRE_BYTES, Item, encode
from producers.play import flat_out, play

NDJSON = "application/x-ndjson"
Post = Callable[[str, bytes, str], tuple[int, bytes]]
"""Posts a body of a media type to a path of the gateway; returns status and body."""
BROKEN_REQUESTS: Sequence[tuple[str, bytes, str, int]] = (
    ("/v1/events", b"", NDJSON, 400),
    ("/v1/events", b"<event/>", "text/xml", 415),
    ("/v1/events?dry_run=1", b"{}", "application/json", 422),
    ("/v1/events", b"\n" * 5, NDJSON, 400),
    ("/v1/nothing", b"{}", "application/json", 404),
)
"""Path, body, media type, and the status that it deserves."""


@dataclass
class Sent:
    """What was sent, and what is expected of it.

    Attributes:
        counts: inputs by door and fault; the fault of well-formed ones is empty.
        events, items: ids of well-formed interactions, and of well-formed items.
        letters: malformed values by topic that must be dead-lettered.
        findings: what must not be.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    letters: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def malformed(self) -> int:
        """Number of malformed inputs."""
        return sum(number for (_, fault), number in self.counts.items() if fault)

    def add(self, door: str, sent: Input) -> None:
        """Note an input."""
        self.counts[door, sent.fault] += 1
        if not sent.fault:
            (self.items if sent.topic == "items" else self.events).add(sent.name)


class Doors:
    """The doors of one model: a gateway, files that are played, its topics, and a foreign topic."""

    def __init__(self, post: Post, event_log: EventLog, topics: Topics, folder: Path, seed: int) -> None:
        self.sent = Sent()
        self._post, self._log, self._topics, self._folder, self._seed = post, event_log, topics, folder, seed

    def stock(self, items: int) -> None:
        """Put the first catalogue into the log."""
        with self._log.writer() as writer:
            for number in range(items):
                item = Item(item=f"item-{number}", title=f"thing {number}")
                writer.append(self._topics.items, item.item, encode(item))
                self.sent.items.add(item.item)
            writer.flush()

    def gateway(self, first: int, number: int, now: int) -> None:
        """Post a batch; the answer must name exactly the malformed lines, each with field and reason."""
        inputs = [input_of(self._seed, "gateway", first + index, now) for index in range(number)]
        status, body = self._post("/v1/events", b"\n".join(one.wire or b"" for one in inputs), NDJSON)
        if status not in (202, 422):
            self.sent.findings.append(f"gateway answered {status}: {body[:200]!r}")
            return
        answer = orjson.loads(body)
        refused = {line["line"]: line for line in answer["refused"]}
        for line, one in enumerate(inputs, 1):
            self.sent.add("gateway", one)
            if bool(one.fault) != (line in refused):
                self.sent.findings.append(
                    f"gateway, {one.fault or 'well-formed'}: {refused.get(line)}, {one}"
                )
        incomplete = [one for one in refused.values() if not (one["field"] and one["reason"] and one["code"])]
        self.sent.findings += [f"gateway, a refusal without its reason: {one}" for one in incomplete]
        self._broken_request(first)

    def _broken_request(self, number: int) -> None:
        path, body, kind, expected = BROKEN_REQUESTS[number % len(BROKEN_REQUESTS)]
        status, answer = self._post(path, body, kind)
        self.sent.counts["gateway", "broken request"] += 1
        if status != expected or not orjson.loads(answer).get("detail"):
            self.sent.findings.append(f"gateway, {path} {body!r} {kind}: {status}, {answer[:200]!r}")

    def files(self, first: int, number: int, now: int) -> None:
        """Play a file; the reader must drop exactly the malformed rows, each for a reason of its column."""
        file, faults = self._folder / f"rows-{first}.csv", Counter[str]()
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, COLUMNS)
            writer.writeheader()
            for index in range(number):
                row, fault = row_of(self._seed, first + index, now)
                writer.writerow(row)
                faults[fault] += 1
                if not fault:
                    self.sent.events.add(row["event_id"])
        dataset = MappedDataset(file, Mapping.model_validate(MAPPING))
        with self._log.writer() as log_writer:
            played = play(dataset, log_writer, self._topics, flat_out)
        self.sent.counts.update({("files", fault): count for fault, count in faults.items()})
        dropped = dataset.drops.counts
        if played != faults[""] or dropped.total() != number - faults[""]:
            self.sent.findings.append(f"{file.name}: {played} played, {faults}, dropped {dropped}")
        nameless = [reason for reason in dropped if not any(column in reason for column in COLUMNS)]
        self.sent.findings += [f"files, a drop without its column: {reason}" for reason in nameless]

    def topics(self, first: int, number: int, now: int) -> None:
        """Append records; what becomes of them is known when they are read."""
        with self._log.writer() as writer:
            for index in range(number):
                one = input_of(self._seed, "topics", first + index, now)
                topic = self._topics.items if one.topic == "items" else self._topics.interactions
                writer.append(topic, one.key, one.wire)
                self.sent.add("topics", one)
                if one.fault:
                    self.sent.letters[topic, (one.wire or b"")[:MAX_WIRE_BYTES]] += 1
            writer.flush()

    def bridge(self, first: int, number: int, now: int) -> None:
        """Append records to the foreign topic; what becomes of them is known when they are bridged."""
        with self._log.writer() as writer:
            for index in range(number):
                one = foreign_of(self._seed, first + index, now)
                writer.append(FOREIGN_TOPIC, f"key-{index % 7}", one.wire)
                self.sent.add("bridge", one)
                if one.fault:
                    self.sent.letters[FOREIGN_TOPIC, one.wire or b""] += 1
            writer.flush()

    def check_letters(self, letters: Sequence[dict[str, object]], values: Sequence[bytes]) -> None:
        """Compare the dead letters, with their decoded values, with what was appended malformed."""
        found = Counter((str(one["topic"]), value) for one, value in zip(letters, values, strict=True))
        for (topic, value), count in (self.sent.letters - found).items():
            self.sent.findings.append(f"{topic}: {count} not dead-lettered: {value[:200]!r}")
        for (topic, value), count in (found - self.sent.letters).items():
            self.sent.findings.append(f"{topic}: {count} dead-lettered for nothing: {value[:200]!r}")
        complete = ("topic", "partition", "offset", "field", "reason", "code")
        lacking = [one for one in letters if any(one.get(name) in (None, "") for name in complete)]
        self.sent.findings += [f"a letter without source, field or reason: {one}" for one in lacking]
