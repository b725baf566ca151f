"""Records of the histories topic: a user's acts, sealed together with the user that they belong to."""

from __future__ import annotations

from typing import Annotated

import orjson
from pydantic import Field, TypeAdapter

from pipeline.events import Finite, Id, InteractionType, Milliseconds, Offset
from pipeline.sealing import open_record, seal_record
from pipeline.state.acted_items import NO_ITEMS, OlderItems, decode_older
from pipeline.state.histories import Act, History, encode_history

MOST_ACTS = 40_000
"""In a record; the largest history that the settings allow: acts of three signs, and returned purchases."""

_ACT = tuple[Id, InteractionType, Milliseconds, Finite | None, Id | None]
_ACTS = TypeAdapter(Annotated[list[_ACT], Field(max_length=MOST_ACTS)])
_OFFSET = TypeAdapter(Offset)
_TEXT = TypeAdapter(str)


def history_record(user: str, history: History, offset: int, older: OlderItems = NO_ITEMS) -> bytes:
    """Encode a user's acts, the offset in their partition up to which they are complete, and older items."""
    return seal_record(orjson.loads(encode_history(history, offset, older)), user)


def read_history_record(user: str, wire: bytes) -> tuple[History, int, OlderItems]:
    """Decode a record: the acts, the offset up to which they are complete, and older items.

    Raises:
        ValueError: it is damaged, another user's, or out of bounds.
    """
    fields = open_record(wire, user)
    if fields.keys() - {"older"} != {"acts", "offset"}:
        raise ValueError("it has other fields than a history")
    acts = tuple(Act(*act) for act in _ACTS.validate_python(fields["acts"]))
    older = decode_older(_TEXT.validate_python(fields.get("older", "")))
    return acts, _OFFSET.validate_python(fields["offset"]), older
