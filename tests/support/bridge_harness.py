"""A bridge between two logs of its own, without a process: what foreign records become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any, Self

import orjson

from pipeline.config import BridgeConfig, RefusalsConfig
from pipeline.datasets.mapping import Mapping as DataMapping
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import EventLog, Record, TopicSpec, read
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.topics import Topics
from pipeline.events import CatalogueRecord, Interaction
from producers.bridge.bridge import Bridge
from producers.bridge.record_mapper import RecordMapper

HOUR_MS = 3_600_000
NOW = 1_790_000_000_000
TOPICS = Topics("shop")
CLICKS = "web.clicks"
ACTS: dict[str, Any] = {
    "interactions": {
        "user": "actor.id",
        "item": "target.sku",
        "type": "verb",
        "time": "at",
        "value": {"column": "cents", "scale": 0.01},
        "context": {"channel": {"column": "app.channel", "default": "web"}},
    },
    "time": {"format": "s"},
    "types": {"bought": "purchase", "looked": "view"},
    "drop": [{"column": "actor.kind", "matches": "bot", "reason": "a bot"}],
}
"""A mapping of nested records."""
CLICK: dict[str, Any] = {
    "actor": {"id": 17850, "kind": "person"},
    "target": {"sku": "mug"},
    "verb": "bought",
    "at": NOW // 1000,
    "cents": 250,
}
"""A record that it reads."""
PRODUCTS: dict[str, Any] = {
    "items": {"item": ["id", "$key"], "title": "name", "available": "stock", "attributes": {"brand": "brand"}}
}


def mapper(mapping: Mapping[str, Any] = ACTS, form: str = "json") -> RecordMapper:
    return RecordMapper(DataMapping.model_validate(mapping), form, TOPICS)


def record(value: object = None, key: str | None = None, offset: int = 0, error: str | None = None) -> Record:
    """A record of the source; a value that is not bytes is encoded as JSON."""
    wire = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return Record(CLICKS, 1, offset, NOW, key, wire, error)


class BridgeHarness:
    """Two logs, and a bridge that runs until it has read everything."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.refusals = RefusalsConfig(most_share=1)
        self.source = open_log(f"sqlite:///{folder}/source.db")
        self.log = open_log(f"sqlite:///{folder}/log.db")
        TOPICS.create(self.log, 2, HOUR_MS, HOUR_MS)
        self.config = BridgeConfig(**config)
        self.refusals = RefusalsConfig(most_share=1.0)
        self.create()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.source.close()
        self.log.close()

    def create(self, topic: str = CLICKS, partitions: int = 2) -> None:
        """Create a topic of the source."""
        self.source.create_topics([TopicSpec(topic, partitions)])

    def send(self, *values: object, topic: str = CLICKS, key: str | None = None, partition: int = 0) -> None:
        """Append foreign records."""
        with self.source.writer() as writer:
            for value in values:
                writer.append(topic, key, record(value).value, partition=partition)
            writer.flush()

    def bridge(self, source: EventLog | None = None, **mappers: RecordMapper) -> Bridge:
        """Make a bridge of some topics, with the mapper of each; of CLICKS without any."""
        self.stop = Event()
        return Bridge(
            source or self.source,
            self.log,
            TOPICS,
            self.config,
            mappers or {CLICKS: mapper()},
            RefusalLimit("bridge", self.refusals, "mend it"),
            self.stop,
            clock=lambda: NOW,
        )

    def run(self, **mappers: RecordMapper) -> None:
        """Bridge everything that is there, then stop."""
        self.bridge(StopsAtTheEnd(self), **mappers).run()

    def interactions(self) -> list[Interaction]:
        return [interaction_of(one) for one in read(self.log, TOPICS.interactions)]

    def catalogue(self) -> list[CatalogueRecord]:
        return [item_of(one) for one in read(self.log, TOPICS.items)]

    def letters(self) -> list[dict[str, Any]]:
        return [orjson.loads(one.value or b"") for one in read(self.log, TOPICS.dead_letters)]


class StopsAtTheEnd:
    """A source whose readers stop the bridge when they find nothing more."""

    def __init__(self, harness: BridgeHarness) -> None:
        self._harness = harness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._harness.source, name)

    def reader(self, offsets: Any) -> Any:
        return _Reader(self._harness.source.reader(offsets), self._harness)


class _Reader:
    def __init__(self, reader: Any, harness: BridgeHarness) -> None:
        self._reader, self._harness = reader, harness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.close()

    def poll(self, max_records: int, timeout_seconds: float) -> Any:
        found = self._reader.poll(max_records, 0.0)
        if not found:
            self._harness.stop.set()
        return found
