"""Records of the histories topic: a user's acts, sealed together with the user that they belong to."""

from __future__ import annotations

from typing import Annotated

import orjson
from pydantic import Field, TypeAdapter

from pipeline.events import Finite, Id, InteractionType, Milliseconds, Offset
from pipeline.sealing import open_record, seal_record
from pipeline.state.histories import Act, History, encode_history

MOST_ACTS = 10_000
"""In a record; the largest history that the settings allow."""

_ACT = tuple[Id, InteractionType, Milliseconds, Finite | None, Id | None]
_ACTS = TypeAdapter(Annotated[list[_ACT], Field(max_length=MOST_ACTS)])
_OFFSET = TypeAdapter(Offset)


def history_record(user: str, history: History, offset: int) -> bytes:
    """Encode a user's acts and the offset in their partition up to which they are complete."""
    return seal_record(orjson.loads(encode_history(history, offset)), user)


def read_history_record(user: str, wire: bytes) -> tuple[History, int]:
    """Decode a record: the acts, and the offset up to which they are complete.

    Raises:
        ValueError: it is damaged, another user's, or out of bounds.
    """
    fields = open_record(wire, user)
    if fields.keys() != {"acts", "offset"}:
        raise ValueError("it has other fields than a history")
    acts = tuple(Act(*act) for act in _ACTS.validate_python(fields["acts"]))
    return acts, _OFFSET.validate_python(fields["offset"])
