"""The routes and keys that every server has for those who run it: /healthz, /metrics, X-API-Key."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of a nested
# function, whose names are local.

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, SecretStr

from pipeline import metrics
from pipeline.http.problems import PROBLEM_TYPE, Problem
from pipeline.keys import HEADER, is_key

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
NO_KEY = f"The header {HEADER} is missing or wrong"
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


def guards(keys: Sequence[SecretStr]) -> list[Any]:
    """Make the dependencies that refuse a request without one of the keys; none if there are no keys."""
    header = APIKeyHeader(name=HEADER, auto_error=False)

    async def check(key: Annotated[str | None, Depends(header)]) -> None:
        if not is_key(key, keys):
            raise HTTPException(401, f"send a valid key in the header {HEADER}")

    return [Depends(check)] if keys else []


def add_operations(app: FastAPI, guarded: Sequence[Any]) -> None:
    """Add /healthz, which needs no key, and /metrics, which is guarded."""
    routes = APIRouter(tags=["operations"])
    routes.add_api_route("/healthz", _health, response_model=Health, name="health")
    routes.add_api_route(
        "/metrics",
        _metrics,
        name="metrics",
        dependencies=list(guarded),
        response_class=Response,
        responses=problems({401: NO_KEY}),
    )
    app.include_router(routes)


def add_components(app: FastAPI, schemas: Mapping[str, Any]) -> None:
    """Add schemas to the OpenAPI document of an application that has all its routes: problems, and these."""
    components = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    components.update({Problem.__name__: Problem.model_json_schema(), **schemas})


async def _health() -> Health:
    """Report that the process is alive."""
    return Health()


async def _metrics() -> Response:
    """Return all metrics of this process in the Prometheus format."""
    return Response(metrics.exposition(), media_type=EXPOSITION)
