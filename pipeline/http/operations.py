"""The routes that every server has for those who run it: /healthz, /metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from pipeline import metrics
from pipeline.http.problems import PROBLEM_TYPE, Problem
from pipeline.keys import HEADER

NO_KEY = f"The header {HEADER} is missing or wrong"
TOO_OFTEN = "The key is used too often; Retry-After says when to try again"
Responses = dict[int | str, dict[str, Any]]
"""What a route answers besides success, by status, as OpenAPI has it."""


class Health(BaseModel):
    """The process is alive."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok"] = "ok"


def problems(descriptions: dict[int, str]) -> Responses:
    """Describe problems in OpenAPI, given when each status is answered."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {
        status: {"description": description, "content": content}
        for status, description in descriptions.items()
    }


def operation_id(route: APIRoute) -> str:
    """Name an operation of OpenAPI after its function, as clients that are generated call it."""
    return route.name


def add_operations(app: FastAPI, guarded: Sequence[Any], *, has_metrics: bool = True) -> None:
    """Add /healthz, which needs no key, and /metrics, which is guarded and only where one process answers."""
    routes = APIRouter(tags=["operations"])
    routes.add_api_route("/healthz", _health, response_model=Health, name="health")
    routes.add_api_route("/healthz", _health, methods=["HEAD"], include_in_schema=False)
    if has_metrics:
        routes.add_api_route(
            "/metrics",
            _metrics,
            name="metrics",
            dependencies=list(guarded),
            response_class=Response,
            responses=problems({401: NO_KEY, 403: "The key does not have the scope `read`", 429: TOO_OFTEN}),
        )
    app.include_router(routes)


def add_components(app: FastAPI, schemas: Mapping[str, Any]) -> None:
    """Add schemas to the OpenAPI document of an application that has all its routes: problems, and these."""
    components = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    components.update({Problem.__name__: Problem.model_json_schema(), **schemas})


async def _health() -> Health:
    """Report that the process is alive."""
    return Health()


async def _metrics(request: Request) -> Response:
    """Return all metrics of this process in the form of Prometheus or OpenMetrics that is asked for."""
    body, form = metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, media_type=form)
