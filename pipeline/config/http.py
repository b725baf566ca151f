"""Settings of what stands between a server and its clients: TLS, proxies, and how it leaves."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from pipeline.config.base import Config, NamedPathOrNone, listed


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text} is no address or network such as 10.0.0.7 or 10.0.0.0/8") from None
    return text


Network = Annotated[str, AfterValidator(_is_network)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(listed), Field(max_length=100)]


class HttpConfig(Config):
    """[serve.http], [gateway.http], [console.http] What stands between a server and its clients."""

    certificate: NamedPathOrNone = None
    """File in PEM with the server's certificate and those that lead to its CA: answers are by HTTPS then. It
    is read at the start."""
    private_key: NamedPathOrNone = None
    """File in PEM with the certificate's key, unencrypted; not needed if it is in the same file."""
    proxies: Networks = ()
    """Addresses or networks of proxies. Their X-Forwarded-For and X-Forwarded-Proto are believed, and nobody
    else's."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    """How long a server that was asked to stop goes on answering, with /readyz at 503, so that proxies and
    Kubernetes send no more requests before it is gone. Longer than they take to notice."""

    @property
    def scheme(self) -> Literal["http", "https"]:
        """How the server is asked."""
        return "https" if self.certificate else "http"

    @model_validator(mode="after")
    def _has_what_its_key_is_for(self) -> Self:
        if self.private_key and not self.certificate:
            raise ValueError("private_key is for a certificate: set certificate, too")
        return self
