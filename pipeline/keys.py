"""API keys: whether a request carries one of those that the settings name."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

HEADER = "X-API-Key"
NOBODY = ""
"""A digest that no key has."""
Key = SecretStr | str
"""A secret, or the SHA-256 of one in hex."""


def is_key(header: str | None, keys: Sequence[Key]) -> bool:
    """Whether a header holds a configured key; constant-time, so that timing reveals nothing.

    The header's characters are its bytes, as both HTTP servers decode them (latin-1).
    """
    sent = digest_of((header or "").encode("latin-1", "replace"))
    matches = [hmac.compare_digest(sent, digest_of_key(key)) for key in keys]
    return any(matches)


def digest_of_key(key: Key) -> str:
    """Return the SHA-256 of a key in hex."""
    return key if isinstance(key, str) else digest_of(key.get_secret_value().encode())


def digest_of(sent: bytes) -> str:
    """Return the SHA-256 of what was sent as a key, in hex."""
    return hashlib.sha256(sent).hexdigest()
