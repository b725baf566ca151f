"""What flows through the log: Interaction, Item and Impression, their bounds and wire form.

Events are validated once, at the edge (`decode_*`); everything behind it may trust them.
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
"""An event time further ahead of its append time than this is a broken clock."""
MAX_FIELD_CHARACTERS = 160
"""An error names the offending field, but no more of it: its name may be hostile too."""
MAX_INTEGER = 2**63 - 1
"""The wire form has no larger integers."""

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
    """The acts that the model tells apart."""

    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    RATING = "rating"
    LIKE = "like"
    DISLIKE = "dislike"
    SKIP = "skip"


class _Event(BaseModel):
    # Strict: "5" and true are no numbers. A field is lax only where JSON lacks its Python type.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]


class Interaction(_Event):
    """An observed user-item act.

    `value` is what the act measured (stars, units, seconds); `time` is when it happened, by
    the producer's clock; `impression` names the Impression that it answers, where known.
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
    """A catalogue upsert. The tombstone of an item is a record with its key and no value."""

    kind: ClassVar[str] = "item"

    item: Id
    title: Annotated[str, Field(max_length=1_000)]
    description: Annotated[str, Field(max_length=16_000)] = ""
    category: Annotated[str, Field(max_length=256)] | None = None
    available: bool = True
    time: Milliseconds = 0

    @property
    def text(self) -> str:
        """What the language model reads of the item."""
        return f"{self.title}. {self.description}" if self.description else self.title


class Impression(_Event):
    """What was shown to a user: items in order, their propensities, and by which snapshot.

    `offsets` maps ``"topic/partition"`` to the next offset that the answer had not yet seen.
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
    def _one_an_item(cls, propensities: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if len(propensities) != len(info.data.get("items", propensities)):
            raise PydanticCustomError("propensities", "one is needed for each item")
        return propensities


Event = Interaction | Item | Impression
E = TypeVar("E", bound=_Event)


def encode(event: Event) -> bytes:
    """The wire form of an event.

    Raises:
        InvalidEvent: each field is in bounds but together they are too large for any reader.
    """
    fields = event.model_dump(exclude_defaults=True)
    wire = orjson.dumps({"v": SCHEMA_VERSION, "kind": event.kind, **fields})
    _check_size(wire)
    return wire


def decode(kind: type[E], wire: bytes) -> E:
    """Read one event of the given kind from its wire form.

    Raises:
        InvalidEvent: too large, not JSON, another schema version or kind, or a field that
            is missing, unknown, of the wrong type or out of bounds.
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
        InvalidEvent: naming the first field that broke the schema, and why.
    """
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        raise _invalid(error) from None


def _check_size(wire: bytes) -> None:
    if len(wire) > MAX_WIRE_BYTES:
        raise InvalidEvent("event", f"larger than {MAX_WIRE_BYTES} bytes")


def _invalid(error: ValidationError) -> InvalidEvent:
    """Pydantic's first complaint in our words, with its alternatives where the field is a union."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    # No field nests deeper than two; what follows names the member of a union.
    place = problems[0]["loc"][:2]
    reasons = dict.fromkeys(problem["msg"] for problem in problems if problem["loc"][:2] == place)
    field = ".".join(str(part) for part in place) or "event"
    return InvalidEvent(field[:MAX_FIELD_CHARACTERS], "; or ".join(reasons))


def event_digest(event_id: str) -> int:
    """The 63-bit digest of an event id by which duplicates are known."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
