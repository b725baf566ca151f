"""The keyring of a server: whether a key was sent that allows the route and is not used too often."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of a nested
# function, whose names are local.

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, HTTPException
from fastapi.security import APIKeyHeader

from pipeline.config import Guarded, Scope
from pipeline.config.access import KeyConfig
from pipeline.keys import HEADER, digest_of, digest_of_key

Clock = Callable[[], float]


class TokenBucket:
    """Allows so many requests a second on average, and so many at once."""

    def __init__(self, per_second: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._tokens, self._since = float(burst), clock()

    def take(self) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._per_second)
        self._since = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


class KeyHolder(NamedTuple):
    """Who sent a key: the name of the key in the settings, whether it allows to act, and what identifies it.

    `mark` follows from the key and does not reveal it: a cookie may hold it.
    """

    name: str
    is_admin: bool
    mark: str


@dataclass(frozen=True)
class _Entry:
    """A key of the ring; without `config` it allows everything."""

    name: str
    digest: str
    config: KeyConfig | None = None
    bucket: TokenBucket | None = None


class Keyring:
    """Refuses requests without a key, with one that does not allow the route, and with one used too often."""

    def __init__(self, guarded: Guarded, clock: Clock = time.monotonic) -> None:
        self._entries = [
            *(_Entry(f"key {n}", digest_of_key(key)) for n, key in enumerate(guarded.api_keys, start=1)),
            *(_entry(name, config, clock) for name, config in guarded.named_keys.items()),
        ]

    def guards(self, scope: Scope) -> list[Any]:
        """Make the dependencies of routes that need a scope; none if there are no keys."""
        header = APIKeyHeader(name=HEADER, auto_error=False)

        async def check(key: Annotated[str | None, Depends(header)]) -> None:
            self.check(key, scope)

        return [Depends(check)] if self._entries else []

    def check(self, sent: str | None, scope: Scope) -> None:
        """Check what was sent as a key; without keys in the ring none is needed.

        Raises:
            HTTPException: 401, it is none; 403, it does not allow the scope; 429, it is used too often.
        """
        if not self._entries:
            return
        entry = self._find(sent)
        if entry is None:
            raise HTTPException(401, f"send a valid key in the header {HEADER}")
        if entry.config is not None and not entry.config.allows(scope):
            scopes = ", ".join(entry.config.scopes)
            raise HTTPException(403, f"this key allows {scopes}, and the route needs {scope}")
        if entry.bucket is not None and (seconds := entry.bucket.take()):
            retry = {"Retry-After": str(math.ceil(seconds))}
            raise HTTPException(429, "too many requests with this key: send it again later", retry)

    def holder(self, sent: str) -> KeyHolder | None:
        """Return who sent a key that allows to read; None if it is none, or does not."""
        entry = self._find(sent)
        return None if entry is None else _holder(entry)

    def holder_marked(self, mark: str) -> KeyHolder | None:
        """Return the holder of a key that is in the ring still, and allows to read, by its mark."""
        holders = (_holder(entry) for entry in self._entries)
        return next((one for one in holders if one and compare_digest(one.mark, mark)), None)

    def _find(self, sent: str | None) -> _Entry | None:
        """Find the key; constant-time, so that timing reveals nothing."""
        digest = digest_of((sent or "").encode("latin-1", "replace"))
        found = [entry for entry in self._entries if compare_digest(digest, entry.digest)]
        return found[0] if found else None


def _holder(entry: _Entry) -> KeyHolder | None:
    config = entry.config
    if config is not None and not config.allows(Scope.READ):
        return None
    is_admin = config is None or config.allows(Scope.ADMIN)
    return KeyHolder(entry.name, is_admin, digest_of(entry.digest.encode()))


def _entry(name: str, config: KeyConfig, clock: Clock) -> _Entry:
    rate = config.requests_per_second
    bucket = TokenBucket(rate, config.burst, clock) if rate is not None else None
    return _Entry(name, digest_of_key(config.key), config, bucket)
