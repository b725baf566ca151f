"""The events in the log: Interaction, Item and Impression, with their bounds and wire form.

Events are validated once, at the edge (`decode`); all code behind it may trust them.
The wire form is one JSON object (orjson) with a schema version ``v`` and a ``kind``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import InvalidEvent

SCHEMA_VERSION = 1
MAX_WIRE_BYTES = 65_536
MAX_TIME_AHEAD_MS = 5 * 60 * 1000
"""An event time further ahead of its append time than this means that the producer's clock is wrong."""
MAX_FIELD_CHARACTERS = 160
"""Longest part of a field name that an error repeats: the sender chose the name, so it may be hostile."""
MAX_INTEGER = 2**63 - 1
"""The largest integer that the wire form can hold."""

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Milliseconds = Annotated[int, Field(ge=0, le=32_503_680_000_000)]
"""Since the Unix epoch, UTC; up to the year 3000."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Scalar = Annotated[str, Field(max_length=512)] | bool | Integer | Finite
Propensity = Annotated[Finite, Field(ge=0, le=1)]
Offset = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Context = Annotated[dict[Id, Scalar], Field(max_length=32)]


class InteractionType(StrEnum):
    """The types of act that the model distinguishes."""

    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    RATING = "rating"
    LIKE = "like"
    DISLIKE = "dislike"
    SKIP = "skip"


class _Event(BaseModel):
    # Strict: "5" and true are not numbers. A field is lax only where JSON lacks its Python type.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]


class Interaction(_Event):
    """An act of a user on an item.

    `value` is what the act measured (stars, units, seconds). `time` is when it happened, by
    the producer's clock. `impression` is the id of the Impression that led to it, if known.
    """

    kind: ClassVar[str] = "interaction"

    event_id: Id
    user: Id
    item: Id
    type: Annotated[InteractionType, Field(strict=False)]
    time: Milliseconds
    value: Finite | None = None
    session: Id | None = None
    impression: Id | None = None
    context: Context = Field(default_factory=dict)


class Item(_Event):
    """A catalogue upsert. A record with an item's key and no value (a tombstone) removes the item."""

    kind: ClassVar[str] = "item"

    item: Id
    title: Annotated[str, Field(max_length=1_000)]
    description: Annotated[str, Field(max_length=16_000)] = ""
    category: Annotated[str, Field(max_length=256)] | None = None
    available: bool = True
    time: Milliseconds = 0

    @property
    def text(self) -> str:
        """The text that the language model encodes."""
        return f"{self.title}. {self.description}" if self.description else self.title


class Impression(_Event):
    """The items shown to a user, in order, with their propensities and the snapshot that ranked them.

    `offsets` maps ``"topic/partition"`` to the first offset that the server had not read yet.
    """

    kind: ClassVar[str] = "impression"

    impression_id: Id
    user: Id
    snapshot: Id
    time: Milliseconds
    items: Annotated[tuple[Id, ...], Field(strict=False, min_length=1, max_length=1_000)]
    propensities: Annotated[tuple[Propensity, ...], Field(strict=False, max_length=1_000)]
    offsets: Annotated[dict[Id, Offset], Field(max_length=4_096)]
    context: Context = Field(default_factory=dict)

    @field_validator("propensities")
    @classmethod
    def _one_per_item(cls, propensities: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if len(propensities) != len(info.data.get("items", propensities)):
            raise PydanticCustomError("propensities", "there must be one per item")
        return propensities


Event = Interaction | Item | Impression
E = TypeVar("E", bound=_Event)


def encode(event: Event) -> bytes:
    """Encode an event to its wire form.

    Raises:
        InvalidEvent: every field is within bounds, but together they exceed MAX_WIRE_BYTES.
    """
    fields = event.model_dump(exclude_defaults=True)
    wire = orjson.dumps({"v": SCHEMA_VERSION, "kind": event.kind, **fields})
    _check_size(wire)
    return wire


def decode(kind: type[E], wire: bytes) -> E:
    """Decode one event of the given kind from its wire form.

    Raises:
        InvalidEvent: the wire form is too large, not JSON, or of another schema version or kind;
            or a field is missing, unknown, of the wrong type or out of bounds.
    """
    _check_size(wire)
    try:
        fields = orjson.loads(wire)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("event", f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidEvent("event", "not a JSON object")
    version = fields.pop("v", None)
    if type(version) is not int or version != SCHEMA_VERSION:
        raise InvalidEvent("v", f"schema version must be {SCHEMA_VERSION}")
    if fields.pop("kind", None) != kind.kind:
        raise InvalidEvent("kind", f"must be {kind.kind!r}")
    return validate(kind, fields)


def validate(kind: type[E], fields: Mapping[str, object]) -> E:
    """Build one event from untrusted fields.

    Raises:
        InvalidEvent: a field violates the schema; names the first one and the reason.
    """
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        raise _invalid(error) from None


def _check_size(wire: bytes) -> None:
    if len(wire) > MAX_WIRE_BYTES:
        raise InvalidEvent("event", f"larger than {MAX_WIRE_BYTES} bytes")


def _invalid(error: ValidationError) -> InvalidEvent:
    """Convert Pydantic's first error, with one reason per member where the field is a union."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    # Fields nest at most two levels deep; any further part of `loc` names a member of a union.
    location = problems[0]["loc"][:2]
    reasons = dict.fromkeys(problem["msg"] for problem in problems if problem["loc"][:2] == location)
    field = ".".join(str(part) for part in location) or "event"
    return InvalidEvent(field[:MAX_FIELD_CHARACTERS], "; or ".join(reasons))


def event_digest(event_id: str) -> int:
    """Return the 63-bit digest of an event id that detects duplicates."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # 63 bits, so that it fits a signed int64
