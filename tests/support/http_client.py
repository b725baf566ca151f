"""What end-to-end tests ask a server."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import orjson

from pipeline.config import Settings


def card(settings: Settings) -> dict[str, Any]:
    """The card of the snapshot that is served; empty while there is none."""
    try:
        with urlopen(f"http://127.0.0.1:{settings.serve.port}/v1/model", timeout=5) as answer:
            card: dict[str, Any] = orjson.loads(answer.read())
    except OSError:
        return {}
    return card["card"] or {}
