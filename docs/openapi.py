"""The OpenAPI documents of server and gateway with default settings, made of the applications themselves."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI

from consumers.serve.http.app import create_app as create_server
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from pipeline.config import GatewayConfig, ServeConfig
from pipeline.errors import LogUnavailable
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from producers.gateway.app import create_app as create_gateway
from producers.gateway.group_writer import GroupWriter


class _AwayLog:
    """A log that never answers."""

    def __getattr__(self, name: str) -> object:
        raise LogUnavailable(f"{name}: there is no log")


def server() -> FastAPI:
    """Return a server that has read nothing: it answers 503 to whatever is valid."""
    return create_server(RecommendationService(CurrentState(), context=5), ServeConfig())


def gateway() -> FastAPI:
    """Return a gateway whose log is away: it answers 503 to whatever is valid."""
    writer = GroupWriter(cast(EventLog, _AwayLog()))
    writer.close()
    return create_gateway(writer, Topics("millstream"), GatewayConfig())


def openapi() -> dict[str, dict[str, Any]]:
    """Return the documents by the names of their files."""
    return {"serve.openapi.json": server().openapi(), "gateway.openapi.json": gateway().openapi()}
