"""Records of the histories topic: a user's acts, sealed together with the user that they belong to."""

from __future__ import annotations

import orjson

from pipeline.sealing import open_record, seal_record
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History, encode_history, history_of


def history_record(user: str, history: History, offset: int, older: OlderItems = NO_ITEMS) -> bytes:
    """Encode a user's acts, the offset in their partition up to which they are complete, and older items."""
    return seal_record(orjson.loads(encode_history(history, offset, older)), user)


def read_history_record(user: str, wire: bytes) -> tuple[History, int, OlderItems]:
    """Decode a record: the acts, the offset up to which they are complete, and older items.

    Raises:
        ValueError: it is damaged, another user's, or out of bounds.
    """
    return history_of(open_record(wire, user))
