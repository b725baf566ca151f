"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.access import Guarded
from pipeline.config.base import Port, Text
from pipeline.config.http import HttpConfig


class GatewayConfig(Guarded):
    """[gateway] How events come in over HTTP."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8001
    """Port to listen on."""
    http: HttpConfig = HttpConfig()
    """TLS, proxies, and how the gateway leaves."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=1 << 30)] = 8 << 20
    """Bytes that the body of a request may have, at most."""
    max_batch_events: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Events that a request may hold, at most."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests that may be read or wait for the log at the same time; the next one is answered with 429.
    Bounds the memory, together with `max_body_bytes`."""
