"""Settings of the console."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_settings import NoDecode

from pipeline.config.access import Guarded, NamedKeys, Scope
from pipeline.config.base import (
    Config,
    NamedPathOrNone,
    Port,
    Seconds,
    SecondsOrNone,
    SecretOrNone,
    Secrets,
    Text,
    listed,
)
from pipeline.config.http import HttpConfig
from pipeline.config.urls import no_login

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


def _safe(url: str) -> str:
    """Check that nobody on the way reads what is sent to a URL: it is one of HTTPS, or of this machine."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_local = parts.scheme == "http" and parts.hostname in LOOPBACK
        is_safe = (parts.scheme == "https" or is_local) and not any(map(str.isspace, url))
    except ValueError:  # of its brackets or its port
        is_safe = False
    if url and not (is_safe and parts.hostname and not parts.query and not parts.fragment):
        raise ValueError("must be a URL such as https://login.example.com; http is for this machine alone")
    return url.rstrip("/") if parts.path == "/" else url


SafeUrl = Annotated[
    str, Field(max_length=1_000), no_login("set client_id and client_secret"), AfterValidator(_safe)
]
SERVER_LOGIN = no_login("give a key in [serve]")
ClaimValue = Annotated[Text, StringConstraints(strip_whitespace=True)]
ClaimValues = Annotated[tuple[ClaimValue, ...], NoDecode, BeforeValidator(listed), Field(max_length=1_000)]
Claim = Annotated[str, Field(min_length=1, max_length=200)]


class OidcConfig(Config):
    """[console.oidc] Sign-in by an OpenID provider, beside the keys or in their place."""

    issuer: SafeUrl = ""
    """URL of the provider, as its tokens name it, such as `https://login.example.com/realms/shop`; without it
    nobody signs in by a provider."""
    client_id: Annotated[str, StringConstraints(strip_whitespace=True), Field(max_length=500)] = ""
    """Id of the console at the provider."""
    client_secret: SecretOrNone = None
    """Secret of the console at the provider, by the environment; a public client has none."""
    url: SafeUrl = ""
    """Where browsers reach the console, such as `https://console.example.com`. Register
    `https://console.example.com/sign-in/callback` at the provider."""
    scopes: Text = "openid profile email"
    """What the provider is asked for."""
    name_claim: Claim = "preferred_username"
    """Claim of the ID token that the history names people by; `sub` where it is missing."""
    roles_claim: Claim = "groups"
    """Claim of the ID token that says what people may do; dots lead into it, as in `realm_access.roles`. With
    `email`, the two lists below name people."""
    readers: ClaimValues = ()
    """Values of that claim that let look."""
    operators: ClaimValues = ()
    """Values of that claim that let look and act."""
    authority: NamedPathOrNone = None
    """File in PEM with the CA of the provider's certificate, if this machine does not trust it anyway."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer and not (self.client_id and self.url and (self.readers or self.operators)):
            raise ValueError("issuer needs client_id, url, and at least one value in readers or operators")
        if not self.issuer and (self.client_id or self.url or self.readers or self.operators):
            raise ValueError("without issuer nobody signs in by a provider: set issuer, or leave all out")
        return self


class CostConfig(Config):
    """[console.cost] What a machine costs, for the tile of what a million events cost."""

    machine_hour: Annotated[float | None, Field(gt=0, le=1e6)] = None
    """Price of a machine for an hour; without it no costs are shown."""
    processors: Annotated[int, Field(ge=1, le=4_096)] = 1
    """Processors that this machine has."""
    currency: Annotated[str, Field(max_length=10)] = ""
    """What stands before the figure, such as `EUR`."""


class ConsoleConfig(Guarded):
    """[console] The operator's pages. The scope `read` lets a key look, `admin` lets it act as well."""

    api_keys: Secrets = ()
    """Keys to sign in with, each of which lets look and act, without a name; each has at least 16 characters,
    and in the environment commas divide them. Better give each person one with a name."""
    named_keys: NamedKeys = Field(default_factory=dict)
    """Keys to sign in with, one a person, each a table such as [console.named_keys.olga]: `sha256` of the key
    (or `secret`, by the environment) and `scopes`, with `read` to look or `admin` to act as well. The name
    stands in the history."""
    host: Text = "127.0.0.1"
    """Address to listen on. Any other than one of this machine alone needs keys or a provider."""
    port: Port = 8003
    """Port to listen on."""
    http: HttpConfig = HttpConfig()
    """TLS, proxies, and how the console leaves."""
    oidc: OidcConfig = OidcConfig()
    """Sign-in by an OpenID provider."""
    cost: CostConfig = CostConfig()
    """What a machine costs."""
    secret: SecretOrNone = None
    """Signs the cookies of those who are signed in. Without it each start draws one, and a restart signs
    everybody out. It is also the key of the digest by which the history names a user who was forgotten;
    without it such a user is not named."""
    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12
    """How long a sign-in lasts."""
    secure_cookies: bool = False
    """Whether browsers send the cookies over HTTPS only: true behind a proxy with TLS."""
    server: Annotated[str, Field(pattern=r"^(https?://[^\s]{1,1000})?$"), SERVER_LOGIN] = ""
    """URL of the server whose answers are shown; by default the one of `serve.host` and `serve.port`."""
    earlier_seconds: SecondsOrNone = 300.0
    """How long the server of an earlier snapshot, which *Ask* compares with, is kept after the last question.
    It needs the memory of a server; 0 lets no earlier snapshot be asked."""
    refresh_seconds: Seconds = 2.0
    """How often the figures are read."""

    @model_validator(mode="after")
    def _asks_strangers_for_keys(self) -> Self:
        if self.host not in LOOPBACK and not self.needs_sign_in:
            raise ValueError(
                f"console.host = {self.host!r} lets others than this machine act: name keys in "
                "[console.named_keys] or a provider in [console.oidc], or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _has_keys_that_let_in(self) -> Self:
        for name, key in self.named_keys.items():
            if not key.allows(Scope.READ):
                raise ValueError(
                    f"console.named_keys.{name} lets nobody in: its scopes must have read, to look, or "
                    "admin, to act as well"
                )
        return self

    @property
    def needs_sign_in(self) -> bool:
        """Whether visitors must say who they are; else all on this machine are operators."""
        return bool(self.reading_keys or self.oidc.issuer)
