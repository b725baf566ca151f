"""The HTTP interface of the gateway: routes, keys, back-pressure; OpenAPI at /docs."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of nested functions.

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from pipeline import metrics, tracing
from pipeline.clock import now_ms
from pipeline.config import GatewayConfig, Scope
from pipeline.errors import DeliveryError, LogUnavailable
from pipeline.eventlog.refusal_log import RefusalLines
from pipeline.eventlog.topics import Topics
from pipeline.events import Id, Interaction, Item, ItemChange, User
from pipeline.http.keyring import Keyring
from pipeline.http.middleware import NoCache, RequestTimes, Utf8Check
from pipeline.http.operations import (
    NO_KEY,
    Responses,
    add_components,
    add_operations,
    operation_id,
    problems,
)
from pipeline.http.parameters import check_parameters
from pipeline.http.paths import answer_with_slashes, register_ids
from pipeline.http.problems import answer_with_problems, problem
from pipeline.rules.store import RuleStore
from pipeline.tracing import Stage
from pipeline.wording import counted
from producers.gateway.acceptance import Decision, GatewayRecord, decide, removal
from producers.gateway.bodies import lines_of, read_body
from producers.gateway.group_writer import GroupWriter
from producers.gateway.openapi import KINDS, Kind, event_schemas, posting
from producers.gateway.rules import rule_routes
from producers.gateway.schemas import GatewayReadiness, Receipt

DESCRIPTION = """
Events come in here, and are acknowledged with 202 once they are durable in the event log.

Sent again, an event counts once: by its `event_id`, or by an id that is derived.
"""
BUSY_SECONDS, AWAY_SECONDS = 1, 5
"""What the header Retry-After says when too much is in flight, and when the log is away."""
INLINE_BYTES = 16_384
"""A larger body is decoded in another thread, so that other requests need not wait for it."""
MAX_KEY_CHARACTERS = 255
AWAY = "the event log is away: send the same request again; what was stored already counts once"
ALWAYS = problems(
    {
        401: NO_KEY,
        403: "The key does not have the scope `ingest`",
        429: "Too many requests are in flight or come with this key; Retry-After says when to try again",
        503: "The event log is away; Retry-After says when to try again",
    }
)
BODY_PROBLEMS: Responses = {
    **problems(
        {
            400: "The body is empty or ended too early, or Idempotency-Key is too long",
            408: "The body took too long to arrive",
            413: "The body is too large, or holds too many events",
            415: "The body is of another media type, or compressed",
        }
    ),
    422: {
        "description": "Every event was refused; or the route has no such query parameter",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}},
            **problems({422: ""})[422]["content"],
        },
    },
}
INVALID_ID = problems({422: "The id is out of bounds, or there is no such query parameter"})


class Door:
    """Takes in requests, a bounded number at a time, and waits until their events are durable."""

    def __init__(
        self, writer: GroupWriter, topics: Topics, settings: GatewayConfig, clock: Callable[[], int]
    ) -> None:
        self._writer = writer
        self._topics = topics
        self._settings = settings
        self._clock = clock
        self._in_flight = 0
        self._refusals = RefusalLines("the answer to its sender says so")

    async def post(self, request: Request, kind: str | None) -> Response:
        """Take in the events of a body; `kind` is that of events which name none.

        Raises:
            HTTPException: the body cannot be divided into events, or too much is in flight.
            DeliveryError: the events were not acknowledged.
        """
        began = time.time()
        with self._place():
            body = await read_body(request, self._settings.max_body_bytes)
            decision = await self._decision(body, request, kind)
            await self._store(decision.records)
        _trace(decision.records, began)
        return self._receipt(decision, request.url.path)

    async def remove(self, topic: str, key: str) -> Response:
        """Remove an item or a user: append a tombstone to its topic.

        Raises:
            HTTPException, DeliveryError: as `post`.
        """
        with self._place():
            decision = Decision([removal(topic, key)], [])
            await self._store(decision.records)
        return self._receipt(decision, "")

    def is_ready(self) -> bool:
        """Whether events can be made durable now; asks the log."""
        return not self._writer.is_away and self._writer.log_answers()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the places of requests in flight."""
        if self._in_flight >= self._settings.max_in_flight:
            retry = {"Retry-After": str(BUSY_SECONDS)}
            raise HTTPException(429, "too many requests are in flight: send it again later", retry)
        if self._writer.is_away:
            raise DeliveryError(AWAY)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _decision(self, body: bytes, request: Request, kind: str | None) -> Decision:
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise HTTPException(400, f"Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} characters")
        if len(body) <= INLINE_BYTES:
            return self._decide(body, request, kind, key)
        return await run_in_threadpool(self._decide, body, request, kind, key)

    def _decide(self, body: bytes, request: Request, kind: str | None, key: str | None) -> Decision:
        lines, most = lines_of(body, request.headers, kind), self._settings.max_batch_events
        if len(lines) > most:
            text = f"a request has at most {counted(most, 'event')}: divide it into several"
            raise HTTPException(413, text)
        return decide(lines, self._topics, self._clock(), kind, key)

    async def _store(self, records: Sequence[GatewayRecord]) -> None:
        if not records:
            return
        await asyncio.wrap_future(self._writer.submit(records))
        for record in records:
            metrics.ACCEPTED_RECORDS.labels(record.kind).inc()

    def _receipt(self, decision: Decision, route: str) -> Response:
        for refused in decision.refused:
            metrics.REFUSED_LINES.labels(refused.code).inc()
            self._refusals.add(refused.code, f"{route} line {refused.line}", refused.field, refused.reason)
        self._refusals.settle()
        receipt = {
            "accepted": len(decision.records),
            "refused": [refused.model_dump() for refused in decision.refused],
        }
        status = 202 if decision.records else 422
        return Response(orjson.dumps(receipt), status, media_type="application/json")


def create_app(
    writer: GroupWriter, topics: Topics, settings: GatewayConfig, clock: Callable[[], int] = now_ms
) -> FastAPI:
    """Create the application; with API keys, only health, readiness and documentation need no key."""
    register_ids()
    app = FastAPI(
        title="millstream gateway",
        description=DESCRIPTION,
        version="1",
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.add_middleware(Utf8Check)
    app.add_middleware(NoCache)
    app.add_middleware(RequestTimes)
    answer_with_problems(app)
    answer_with_slashes(app)
    app.add_exception_handler(DeliveryError, _log_away)
    app.add_exception_handler(LogUnavailable, _log_away)
    door, keyring = Door(writer, topics, settings, clock), Keyring(settings)
    app.include_router(_v1(door, topics), dependencies=keyring.guards(Scope.INGEST), responses=ALWAYS)
    app.include_router(rule_routes(RuleStore(writer.event_log, topics.rules), keyring))
    app.include_router(_open_routes(door))
    add_operations(app, keyring.guards(Scope.READ))
    add_components(app, event_schemas())
    return app


def _v1(door: Door, topics: Topics) -> APIRouter:
    routes = APIRouter(tags=["events"], dependencies=[Depends(check_parameters)])

    def taking(kind: str | None, *kinds: Kind) -> dict[str, Any]:
        """Options of a route that takes events of these kinds."""
        return {
            "status_code": 202,
            "response_model": Receipt,
            "responses": BODY_PROBLEMS,
            "openapi_extra": posting(kinds, needs_kind=kind is None),
        }

    @routes.post("/v1/events", **taking(None, *KINDS))
    async def post_events(request: Request) -> Response:
        """Take in interactions, items, changes of items and users; each names its `kind`.

        Answers 202 if at least one event is durable now, and lists those that were refused.
        """
        return await door.post(request, None)

    @routes.post("/v1/interactions", **taking(Interaction.kind, Interaction))
    async def post_interactions(request: Request) -> Response:
        """Take in interactions, which need not name their `kind`. See /v1/events."""
        return await door.post(request, Interaction.kind)

    @routes.post("/v1/items", **taking(Item.kind, Item, ItemChange))
    async def post_items(request: Request) -> Response:
        """Take in items and changes of items, which need not name their `kind`. See /v1/events."""
        return await door.post(request, Item.kind)

    @routes.delete("/v1/items/{item:id}", status_code=202, response_model=Receipt, responses=INVALID_ID)
    async def delete_item(item: Annotated[Id, Path()]) -> Response:
        """Remove an item from the catalogue; one that is not there, too."""
        return await door.remove(topics.items, item)

    @routes.post("/v1/users", **taking(User.kind, User))
    async def post_users(request: Request) -> Response:
        """Take in users, which need not name their `kind`. See /v1/events."""
        return await door.post(request, User.kind)

    @routes.delete("/v1/users/{user:id}", status_code=202, response_model=Receipt, responses=INVALID_ID)
    async def delete_user(user: Annotated[Id, Path()]) -> Response:
        """Remove the attributes of a user; of one who has none, too. What the user did is kept."""
        return await door.remove(topics.users, user)

    return routes


def _open_routes(door: Door) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.head("/readyz", include_in_schema=False)
    @routes.get("/readyz", responses={503: {"model": GatewayReadiness}})
    def readiness(response: Response) -> GatewayReadiness:
        """Return 200 while events can be made durable, and 503 while the event log is away."""
        ready = door.is_ready()
        response.status_code = 200 if ready else 503
        return GatewayReadiness(ready=ready)

    return routes


def _trace(records: Sequence[GatewayRecord], began: float) -> None:
    """Write the first span of each event that is followed."""
    if tracing.is_on():
        for record in records:
            if record.event_id is not None and tracing.follows(record.event_id):
                tracing.record(record.event_id, Stage.APPEND, began, time.time())


def _log_away(_: Request, error: Exception) -> JSONResponse:
    return problem(503, AWAY, {"Retry-After": str(AWAY_SECONDS)})
