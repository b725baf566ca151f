"""The events in the log: Interaction, Item, ItemChange, User and Impression, with bounds and wire form.

Events are validated once, at the edge (`decode`); all code behind it may trust them.
The wire form is one JSON object (orjson) with a schema version ``v`` and a ``kind``.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, ClassVar, TypeVar

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.event_fields import (
    IN_SECONDS,
    LATEST_MS,
    TIME_SCHEMA,
    VALUES,
    invalid_event,
    is_in_seconds,
    milliseconds,
)

READABLE_VERSIONS = 1, 2, 3, 4
"""2: catalogue records have attributes, times of sale, media, vectors; users. 3: impressions have scores, and
the propensities of a policy. 4: impressions have features. A kind is written in the version that last changed
it."""
MAX_WIRE_BYTES = 65_536
MAX_TIME_AHEAD_MS = 5 * 60 * 1000
"""An event time further ahead of its append time than this means that the producer's clock is wrong."""
MAX_INTEGER = 2**63 - 1
"""The largest integer that the wire form can hold."""
TRUSTED: Mapping[str, object] = MappingProxyType({})
"""The context in which is read what was accepted before: whether its parts make sense together is not asked
again. Changes, each valid, may have left an item no time of sale, in which case it is never on sale."""
CONTENT_DIGESTS = 2**16
"""Number of short digests of an interaction's content."""

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Milliseconds = Annotated[
    int,
    Field(ge=0, le=LATEST_MS),
    BeforeValidator(milliseconds),
    WithJsonSchema(TIME_SCHEMA, mode="validation"),
]
"""Since the Unix epoch, UTC; up to the year 3000. ISO 8601 with a zone is read, too."""
Title = Annotated[str, Field(max_length=1_000)]
Description = Annotated[str, Field(max_length=16_000)]
Category = Annotated[str, Field(max_length=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Scalar = Annotated[str, Field(max_length=512)] | bool | Integer | Finite
Shares = Annotated[tuple[Annotated[Finite, Field(ge=0, le=1)], ...], Field(strict=False, max_length=1_000)]
Propensity = Annotated[Finite, Field(gt=0, le=1)]
Offset = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Context = Annotated[dict[Id, Scalar], Field(max_length=32)]
Scalars = Annotated[tuple[Scalar, ...], Field(strict=False, max_length=64)]
Attribute = Annotated[
    Annotated[Scalar, Tag("value")] | Annotated[Scalars, Tag(VALUES)],
    Discriminator(lambda value: VALUES if isinstance(value, list | tuple) else "value"),
]
Attributes = Annotated[dict[Id, Attribute], Field(max_length=64)]
# Spaces one by one: what \s is differs between Rust, which checks here, and the dialect of JSON Schema.
Url = Annotated[
    str,
    Field(
        max_length=2_048,
        pattern=r"^https?://[^\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$",
    ),
]
Vector = Annotated[tuple[Finite, ...], Field(strict=False, min_length=1, max_length=1_024)]


class InteractionType(StrEnum):
    """The types of act that the model distinguishes.

    Their order numbers the model's embeddings of types, so a new one comes last. RETURN takes back a
    purchase: goods sent back, or an order cancelled.
    """

    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    RATING = "rating"
    LIKE = "like"
    DISLIKE = "dislike"
    SKIP = "skip"
    RETURN = "return"


class _Event(BaseModel):
    # Strict: "5" and true are not numbers. A field is lax only where JSON lacks its Python type.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]
    since: ClassVar[int] = 1
    """The schema version that brought the kind."""
    version: ClassVar[int] = 2
    """The schema version in which the kind is written."""
    remedy: ClassVar[str] = "leave it out"
    """What to do with a field that the event does not have."""


class Interaction(_Event):
    """An act of a user on an item.

    `value` is what the act measured (stars, units, seconds). `time` is when it happened, by
    the producer's clock. `impression` is the id of the Impression that led to it, if known.
    """

    kind: ClassVar[str] = "interaction"
    remedy: ClassVar[str] = "leave it out, or put it into context"

    event_id: Id
    user: Id
    item: Id
    type: Annotated[InteractionType, Field(strict=False)]
    time: Milliseconds
    value: Finite | None = None
    session: Id | None = None
    impression: Id | None = None
    context: Context = Field(default_factory=dict)


class _CatalogueRecord(_Event):
    """What a whole item and a change have in common; the fields from `attributes` on are new in schema 2."""

    kind: ClassVar[str] = "item"
    remedy: ClassVar[str] = "leave it out, or put it into attributes"

    item: Id
    description: Description = ""
    category: Category | None = None
    available: bool = True
    time: Milliseconds = 0
    attributes: Attributes = Field(default_factory=dict)
    published: Milliseconds | None = None
    expires: Milliseconds | None = None
    media: Annotated[dict[Id, Url], Field(max_length=16)] = Field(default_factory=dict)
    vectors: Annotated[dict[Id, Vector], Field(max_length=8)] = Field(default_factory=dict)

    @field_validator("expires")
    @classmethod
    def _after_publication(cls, expires: int | None, info: ValidationInfo) -> int | None:
        published = info.data.get("published")
        is_trusted = info.context is TRUSTED
        if expires is not None and published is not None and expires <= published and not is_trusted:
            raise PydanticCustomError("expires", "must be after published")
        return expires


class Item(_CatalogueRecord):
    """A catalogue upsert of a whole item: fields that are left out get their defaults.

    It may be recommended from `published` on and before `expires`, if it is `available`.
    A record with an item's key and no value (a tombstone) removes the item.
    """

    title: Title

    @property
    def text(self) -> str:
        """The text that the language model encodes, in Unicode's composed form (NFC).

        Senders write an é as one character or as two, and no tokenizer should tell them apart.
        """
        text = f"{self.title}. {self.description}" if self.description else self.title
        return unicodedata.normalize("NFC", text)


class ItemChange(_CatalogueRecord):
    """A partial upsert: an item record without a title changes the fields that it has, and no others.

    It has at least one field besides the item. A field is changed as a whole: attributes that the change
    does not repeat are gone.
    """

    model_config = ConfigDict(
        json_schema_extra={"not": {"propertyNames": {"enum": ["v", "kind", "item"]}}}  # an item alone
    )

    def applied_to(self, before: Item | None) -> Item:
        """Return the item after the change; an item that was not in the catalogue has an empty title."""
        changes = {name: getattr(self, name) for name in self.model_fields_set}
        return (before or Item(item=self.item, title="")).model_copy(update=changes)


class User(_Event):
    """A user upsert: what business rules may know of a user. It replaces the one before as a whole.

    A record with a user's key and no value (a tombstone) removes the user's attributes.
    """

    kind: ClassVar[str] = "user"
    since: ClassVar[int] = 2
    remedy: ClassVar[str] = "leave it out, or put it into attributes"

    user: Id
    attributes: Attributes = Field(default_factory=dict)
    time: Milliseconds = 0


class Features(BaseModel):
    """What a server knew of a user and of the items it showed, see `pipeline.value.features`.

    `state`, `items` and `others` are numbers of 16 bits (IEEE 754, little-endian) in base64, those of one
    item after the other; `layout` says what they mean. `others` are some items that could have been shown
    and were not; none are said unless a learner reads them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Id
    state: Annotated[str, Field(max_length=4_096)]
    items: Annotated[str, Field(max_length=MAX_WIRE_BYTES)]
    others: Annotated[str, Field(max_length=MAX_WIRE_BYTES)] = ""


OF_POLICY = ("policy", "policy_version", "propensities", "pool")
"""The fields that say what a policy did; they come together."""


class Impression(_Event):
    """The items shown to a user, in order, with what the policy did and the snapshot that scored them.

    `propensities` are the probabilities with which the policy gave each item its place, given those above it
    and the places that rules had given. `policy_version` names its parameters, and `pool` is the number of
    items from which it drew the first place, 0 if it drew none. None of the four is there if they are not
    known, as in records before schema version 3: what these call propensities was the `scores`, probabilities
    under the mixture, of a list that was not drawn.

    `shadows` are the same probabilities under policies that were not used, by their names. `arm` is the
    user's in an experiment.

    `features` are what learners of values read; there are none if no such learner is in use.

    `offsets` maps ``"topic/partition"`` to the first offset that the server had not read yet.
    """

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {name: [*OF_POLICY] for name in OF_POLICY}}
    )
    kind: ClassVar[str] = "impression"
    version: ClassVar[int] = 4

    impression_id: Id
    user: Id
    snapshot: Id
    time: Milliseconds
    items: Annotated[tuple[Id, ...], Field(strict=False, min_length=1, max_length=1_000)]
    scores: Annotated[tuple[Finite, ...], Field(strict=False, max_length=1_000)]
    offsets: Annotated[dict[Id, Offset], Field(max_length=4_096)]
    policy: Id | None = None
    policy_version: Id | None = None
    propensities: Annotated[tuple[Propensity, ...] | None, Field(strict=False, max_length=1_000)] = None
    pool: Annotated[Offset | None, Field(validate_default=True)] = None
    shadows: Annotated[dict[Id, Shares], Field(max_length=16)] = Field(default_factory=dict)
    experiment: Id | None = None
    arm: Id | None = None
    features: Features | None = None
    context: Context = Field(default_factory=dict)

    @field_validator("scores", "propensities")
    @classmethod
    def _one_per_item(
        cls, values: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        if values is not None and len(values) != len(info.data.get("items", values)):
            raise PydanticCustomError("one_per_item", "there must be one per item")
        return values

    @field_validator("shadows")
    @classmethod
    def _one_of_each_per_item(
        cls, shadows: dict[str, tuple[float, ...]], info: ValidationInfo
    ) -> dict[str, tuple[float, ...]]:
        if any(len(values) != len(info.data.get("items", values)) for values in shadows.values()):
            raise PydanticCustomError("one_per_item", "there must be one per item")
        if shadows and info.data.get("propensities", ()) is None:
            raise PydanticCustomError("of_policy", "without propensities nothing can be compared with them")
        return shadows

    @field_validator("pool")
    @classmethod
    def _with_its_policy(cls, pool: int | None, info: ValidationInfo) -> int | None:
        others = [info.data[name] for name in OF_POLICY[:-1] if name in info.data]
        if any((other is None) != (pool is None) for other in others):
            raise PydanticCustomError("of_policy", f"there must be all or none of {', '.join(OF_POLICY)}")
        return pool


CATEGORY = "category"
"""The name of the attribute that is a field of its own."""
TIME_FIELDS = ("time", "published", "expires")
NEW_IN_2 = frozenset({"attributes", "published", "expires", "media", "vectors"})
NEW_SINCE = {
    **dict.fromkeys(NEW_IN_2, 2),
    **dict.fromkeys(("scores", "policy", "policy_version", "pool", "shadows", "experiment", "arm"), 3),
    "features": 4,
}
"""The schema version that brought a field."""
Event = Interaction | Item | ItemChange | User | Impression
CatalogueRecord = Item | ItemChange | str
"""What a record of the items topic says: a whole item, a change, or the id of an item to remove."""
UserRecord = User | str
"""What a record of the users topic says: a user's attributes, or the id of a user to remove."""
E = TypeVar("E", bound=_Event)


def check_units(event: Interaction | Item | ItemChange | User) -> None:
    """Check that all times of an event are in milliseconds.

    Raises:
        InvalidEvent: one is in seconds.
    """
    for field in TIME_FIELDS:
        time = getattr(event, field, None)
        if time is not None and is_in_seconds(time):
            raise InvalidEvent(field, IN_SECONDS, RefusalReason.TIME_UNIT)


def encode(event: Event) -> bytes:
    """Encode an event to its wire form.

    Raises:
        InvalidEvent: every field is within bounds, but together they exceed MAX_WIRE_BYTES.
    """
    is_change = isinstance(event, ItemChange)  # a default that a change names is a change, too
    fields = event.model_dump(exclude_defaults=not is_change, exclude_unset=is_change)
    wire = orjson.dumps({"v": event.version, "kind": event.kind, **fields})
    _check_size(wire)
    return wire


def decode(kind: type[E], wire: bytes) -> E:
    """Decode one event of the given kind from its wire form.

    Raises:
        InvalidEvent: the wire form is too large, not JSON, or of another schema version or kind;
            or a field is missing, unknown, of the wrong type or out of bounds.
    """
    return build(kind, parse(wire))


def decode_item(wire: bytes) -> Item | ItemChange:
    """Decode an upsert: a whole item if it has a title, else a change.

    Raises:
        InvalidEvent: as `decode`; or the record has neither a title nor a field to change.
    """
    return build_item(parse(wire))


def parse(wire: bytes) -> dict[str, object]:
    """Read the JSON object of a wire form.

    Raises:
        InvalidEvent: the wire form is too large, or no JSON object.
    """
    _check_size(wire)
    try:
        fields = orjson.loads(wire)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("event", f"not JSON: {error}", RefusalReason.NOT_JSON) from None
    return as_object(fields)


def as_object(value: object) -> dict[str, object]:
    """Return a value of JSON if it is an object.

    Raises:
        InvalidEvent: it is none.
    """
    if not isinstance(value, dict):
        raise InvalidEvent("event", "not a JSON object", RefusalReason.NOT_JSON)
    return value


def build(kind: type[E], fields: Mapping[str, object]) -> E:
    """Build one event of the given kind from the object of its wire form.

    Raises:
        InvalidEvent: as `decode`.
    """
    return validate(kind, _without_envelope(kind, fields))


def build_item(fields: Mapping[str, object]) -> Item | ItemChange:
    """Build an item or a change of one from the object of its wire form.

    Raises:
        InvalidEvent: as `decode_item`.
    """
    inner = _without_envelope(Item, fields)
    changes = inner.keys() & ItemChange.model_fields.keys() - {"item"}
    if changes and "title" not in inner:
        return validate(ItemChange, inner)
    return validate(Item, inner)


def validate(kind: type[E], fields: Mapping[str, object]) -> E:
    """Build one event from untrusted fields.

    Raises:
        InvalidEvent: a field violates the schema; names the first one, the reason and the remedy.
    """
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        article = "a" if kind is User else "an"
        known = dict.fromkeys([*kind.model_fields, *(Item.model_fields if kind is ItemChange else ())])
        raise invalid_event(error, f"{article} {kind.kind}", [*known], kind.remedy) from None


def _without_envelope(kind: type[_Event], fields: Mapping[str, object]) -> dict[str, object]:
    """Check version and kind; return the fields of the event as they are named now."""
    inner = dict(fields)
    version = _version(kind, inner.pop("v", None))
    later = [name for name in inner if NEW_SINCE.get(name, 1) > version and name in kind.model_fields]
    if later:
        raise _too_early(later[0], NEW_SINCE[later[0]])
    if inner.pop("kind", None) != kind.kind:
        raise InvalidEvent("kind", f"must be {kind.kind!r}", RefusalReason.SCHEMA)
    if version < kind.since:
        raise _too_early("kind", kind.since)
    if kind is Impression and version < NEW_SINCE["scores"] and "propensities" in inner:
        inner["scores"] = inner.pop("propensities")
    return inner


def _version(kind: type[_Event], version: object) -> int:
    readable = [one for one in READABLE_VERSIONS if one <= kind.version]
    if type(version) is int and version in readable:
        return version
    *others, last = map(str, readable)
    raise InvalidEvent("v", f"schema version must be {', '.join(others)} or {last}", RefusalReason.SCHEMA)


def _too_early(field: str, version: int) -> InvalidEvent:
    return InvalidEvent(
        field, f'is new in schema version {version}: send "v": {version}', RefusalReason.SCHEMA
    )


def _check_size(wire: bytes) -> None:
    if len(wire) > MAX_WIRE_BYTES:
        raise InvalidEvent("event", f"larger than {MAX_WIRE_BYTES} bytes", RefusalReason.TOO_LARGE)


def event_digest(event_id: str) -> int:
    """Return the 63-bit digest of an event id that detects duplicates."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # 63 bits, so that it fits a signed int64


def interaction_digest(event: Interaction) -> int:
    """Return a short digest of all fields, below `CONTENT_DIGESTS`: it tells collisions from duplicates."""
    content = orjson.dumps(event.model_dump(exclude_defaults=True), option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.blake2b(content, digest_size=2).digest(), "little")
