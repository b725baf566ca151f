"""The routes and keys that every server has for those who run it: /healthz, /metrics, X-API-Key."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of a nested
# function, whose names are local.

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, SecretStr

from pipeline import metrics
from pipeline.http.problems import PROBLEM_TYPE, Problem
from pipeline.keys import HEADER, is_key

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
Responses = dict[int | str, dict[str, Any]]
"""What a route answers besides success, by status, as OpenAPI has it."""


class Health(BaseModel):
    """The process is alive."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok"] = "ok"


def problems(descriptions: dict[int, str]) -> Responses:
    """Describe problems in OpenAPI, given when each status is answered."""
    content = {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}}
    return {
        status: {"description": description, "content": content}
        for status, description in descriptions.items()
    }


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
    routes.add_api_route("/healthz", _health, response_model=Health)
    routes.add_api_route("/metrics", _metrics, dependencies=list(guarded), response_class=Response)
    app.include_router(routes)


async def _health() -> Health:
    """Report that the process is alive."""
    return Health()


async def _metrics() -> Response:
    """Return all metrics of this process in the Prometheus format."""
    return Response(metrics.exposition(), media_type=EXPOSITION)
