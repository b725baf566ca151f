"""Ids of events that were sent without one: the same event sent again gets the same id.

A derived id begins with what it was derived from, so that a person who meets it in the log can tell.
"""

from __future__ import annotations

import hashlib

import orjson

from pipeline.events import Interaction

DIGEST_BYTES = 16
"""128 bits: among 10**12 events two share a digest with a probability below 10**-14."""


def of_request(key: str, line: int) -> str:
    """Derive an id from a request's Idempotency-Key and the number of the event's line.

    >>> of_request("order-7", 1)
    'request-656a4f78dd36059831222c084129060c'
    """
    return _derived("request", key.encode(), str(line).encode())


def of_cloud_event(source: str, cloud_id: str) -> str:
    """Derive an id from a CloudEvent's source and id, which together name it for ever."""
    return _derived("cloudevent", source.encode(), cloud_id.encode())


def of_content(event: Interaction) -> str:
    """Derive an id from all other fields of an interaction: the same content is the same event."""
    content = event.model_dump(exclude={"event_id"}, exclude_defaults=True)
    return _derived("content", orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _derived(origin: str, *parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES, person=origin.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))  # so that no two lists of parts look the same
        digest.update(part)
    return f"{origin}-{digest.hexdigest()}"
