"""Settings of traces."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Config, Share
from pipeline.config.urls import no_login

HEADERS = no_login("set the variable OTEL_EXPORTER_OTLP_HEADERS")


class TracingConfig(Config):
    """[tracing] One event's way through all daemons, as OpenTelemetry traces. Needs `millstream[trace]`."""

    share: Share = 0.0
    """Share of the events that are followed, the same in each daemon; 0 for none, which costs nothing."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]{1,1000}$"), HEADERS] = (
        "http://127.0.0.1:4318/v1/traces"
    )
    """Where a collector takes OTLP over HTTP."""
