"""Settings of the console."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.access import Guarded
from pipeline.config.base import Port, Seconds, SecretOrNone, Text
from pipeline.config.http import HttpConfig

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


class ConsoleConfig(Guarded):
    """[console] The operator's pages. The scope `read` lets a key look, `admin` lets it act as well."""

    host: Text = "127.0.0.1"
    """Address to listen on. Any other than one of this machine alone needs keys."""
    port: Port = 8003
    """Port to listen on."""
    http: HttpConfig = HttpConfig()
    """TLS, proxies, and how the console leaves."""
    secret: SecretOrNone = None
    """Signs the cookies of those who are signed in. Without it each start draws one, and a restart signs
    everybody out."""
    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12
    """How long a sign-in lasts."""
    secure_cookies: bool = False
    """Whether browsers send the cookies over HTTPS only: true behind a proxy with TLS."""
    server: Annotated[str, Field(pattern=r"^(https?://[^\s]{1,1000})?$")] = ""
    """URL of the server whose answers are shown; by default the one of `serve.host` and `serve.port`."""
    refresh_seconds: Seconds = 2.0
    """How often the figures are read."""

    @model_validator(mode="after")
    def _asks_strangers_for_keys(self) -> Self:
        if self.host not in LOOPBACK and not self.reading_keys:
            raise ValueError(
                f"console.host = {self.host!r} lets others than this machine act: name keys in "
                "[console.named_keys], or listen on 127.0.0.1"
            )
        return self
