"""API keys: whether a request carries one of those that the settings name."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from pydantic import SecretStr

HEADER = "X-API-Key"


def is_key(header: str | None, keys: Sequence[SecretStr]) -> bool:
    """Whether a header holds a configured key; constant-time, so that timing reveals nothing.

    The header's characters are its bytes, as both HTTP servers decode them (latin-1).
    """
    sent = (header or "").encode("latin-1", "replace")
    matches = [hmac.compare_digest(sent, key.get_secret_value().encode()) for key in keys]
    return any(matches)
