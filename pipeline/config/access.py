"""Settings of who may do what over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.config.base import Config, Count, SecretOrNone, Secrets
from pipeline.keys import NOBODY, Key


class Scope(StrEnum):
    """What a key allows; `admin` allows everything."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


class KeyConfig(Config):
    """A key of a name, with scopes and a rate; the name may stand in logs, the key never does.

    The key is given as its SHA-256, or as `secret` by the environment.
    """

    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    """SHA-256 of the key in hex: `printf %s "$KEY" | sha256sum`."""
    secret: SecretOrNone = None
    """The key itself, with at least 16 characters; for the environment."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, strict=False)]
    """What it allows: ingest, read, admin."""
    requests_per_second: Annotated[float | None, Field(gt=0, le=1e6)] = None
    """Requests a second, on average; any number without it."""
    burst: Count = 20
    """Requests at once, after a time without any."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        if (self.sha256 is None) == (self.secret is None):
            raise ValueError("give either sha256 or secret")
        return self

    @property
    def key(self) -> Key:
        """The secret, or the digest of one."""
        return self.secret or self.sha256 or NOBODY

    def allows(self, scope: Scope) -> bool:
        """Whether the key allows what needs a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


NamedKeys = Annotated[dict[str, KeyConfig], Field(max_length=1_000)]


class Guarded(Config):
    """A server that may ask for keys."""

    api_keys: Secrets = ()
    """If there are any, or any in `named_keys`, a request needs one in its header X-API-Key, and so does one
    for metrics; those of [serve] are for the metrics of learn, retrain and play, too. Each allows everything
    and has at least 16 characters; in the environment, commas divide them."""
    named_keys: NamedKeys = Field(default_factory=dict)
    """Keys with names, each a table such as [gateway.named_keys.shop]: `sha256` of the key (or `secret`, by
    the environment), `scopes`, and where it is limited `requests_per_second` and `burst`. The gateway takes
    events with the scope ingest, the server answers with read, metrics need read, admin allows everything."""

    def keys_for(self, scope: Scope) -> tuple[Key, ...]:
        """Return the keys that allow a scope; one that nobody has, where there are others only."""
        allowing = (*self.api_keys, *(one.key for one in self.named_keys.values() if one.allows(scope)))
        return allowing or ((NOBODY,) if self.named_keys else ())

    @property
    def reading_keys(self) -> tuple[Key, ...]:
        """The keys that metrics may be read with; none if no key is needed."""
        return self.keys_for(Scope.READ)

    @property
    def own_key(self) -> SecretStr | None:
        """A key that commands may read with; None where none is known, or none is needed."""
        return next((key for key in self.reading_keys if isinstance(key, SecretStr)), None)
