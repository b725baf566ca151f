"""A gateway on a log of its own, without a process: posts go through the real application and writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, Self

import orjson
from fastapi.testclient import TestClient

from pipeline.config import GatewayConfig
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of, user_of
from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.events import CatalogueRecord, Interaction, UserRecord
from producers.gateway.app import create_app
from producers.gateway.group_writer import GroupWriter

HOUR_MS = 3_600_000
NOW = 1_790_000_000_000
TOPICS = Topics("shop")
VIEW = {"user": "ann", "item": "mug", "type": "view", "time": NOW}
"""A valid interaction, but for its id and its envelope."""
MUG = {"item": "mug", "title": "White mug"}
NAMED = {"items": "/v1/items/{item}", "users": "/v1/users/{user}", "rules": "/v1/rules/{name}"}
"""Routes with a name in their path."""
FRAMEWORK_STATUSES = {404, 405}
"""These belong to no route."""


class Answer(Protocol):
    """What tests look at; which httpx it is of depends on the version of the test client."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


def lines(*events: Mapping[str, object] | bytes) -> bytes:
    """Events as NDJSON; bytes stand for themselves."""
    return b"\n".join(event if isinstance(event, bytes) else orjson.dumps(event) for event in events)


class GatewayHarness:
    """Posts to a gateway and reads what it wrote; each answer must be one that OpenAPI describes."""

    def __init__(self, folder: Path, event_log: EventLog | None = None, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.log = open_log(f"sqlite:///{folder}/log.db")
        TOPICS.create(self.log, 2, HOUR_MS, HOUR_MS)
        self.writer = GroupWriter(event_log or self.log, pause_seconds=0.0)
        self.app = create_app(self.writer, TOPICS, GatewayConfig(**settings), clock=lambda: NOW)
        self.client = TestClient(self.app)
        self._thread = Thread(target=self.writer.run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.writer.close()
        self._thread.join()
        self.log.close()

    def post(self, path: str, body: Any, kind: str = "application/json", **headers: str) -> Answer:
        """Post a body, which is encoded as JSON unless it is bytes; `_` in headers stands for `-`."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path, content=content, headers={"Content-Type": kind, **named})

    def send(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request."""
        answer = self.client.request(method, path, **options)
        check_documented(self.app.openapi(), method, path, answer)
        return answer

    def records(self, topic: str) -> list[Record]:
        """All records of a topic."""
        return list(read(self.log, topic))

    def interactions(self) -> list[Interaction]:
        """All interactions, as consumers decode them."""
        return [interaction_of(record) for record in self.records(TOPICS.interactions)]

    def catalogue(self) -> list[CatalogueRecord]:
        """All records of the catalogue, as consumers decode them."""
        return [item_of(record) for record in self.records(TOPICS.items)]

    def users(self) -> list[UserRecord]:
        """All records of the users topic, as consumers decode them."""
        return [user_of(record) for record in self.records(TOPICS.users)]


def check_documented(document: Mapping[str, Any], method: str, path: str, answer: Answer) -> None:
    """Fail unless OpenAPI describes the status and media type of an answer."""
    if answer.status_code in FRAMEWORK_STATUSES:
        return
    path = path.partition("?")[0]
    route = path if path in document["paths"] else NAMED[path.split("/")[2]]
    responses = document["paths"][route][method.lower()]["responses"]
    assert str(answer.status_code) in responses, f"{method} {route}: {answer.status_code} is not described"
    if answer.status_code == 204:
        return
    kinds = responses[str(answer.status_code)].get("content", {})
    assert answer.headers["content-type"].partition(";")[0] in kinds, (method, route, answer.status_code)
