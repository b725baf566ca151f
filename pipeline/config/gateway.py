"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Config, Port, Secrets, Text


class GatewayConfig(Config):
    """[gateway] How events come in over HTTP."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8001
    """Port to listen on."""
    api_keys: Secrets = ()
    """If there are any, a request needs one of them in its X-API-Key header, and so does one for the metrics.
    Each has at least 16 characters; in the environment, commas divide them."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=1 << 30)] = 8 << 20
    """Bytes that the body of a request may have, at most."""
    max_batch_events: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Events that a request may hold, at most."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests that may be read or wait for the log at the same time; the next one is answered with 429.
    Bounds the memory, together with `max_body_bytes`."""
