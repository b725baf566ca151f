"""The routes that every server has for those who run it: /healthz, /metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel, ConfigDict

from pipeline import metrics
from pipeline.http.problems import PROBLEM_TYPE, Problem

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
