"""What is sent: acts of a history, interactions, items, changes of items, and users.

The server checks bounds, and names the field and the remedy; here are names and types.
"""

from __future__ import annotations

import time
from typing import ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

InteractionType = Literal["view", "click", "cart", "purchase", "rating", "like", "dislike", "skip", "return"]
Time = int | AwareDatetime
"""ms since the epoch, or a moment with its time zone."""
Scalar = str | bool | int | float
Attributes = dict[str, Scalar | list[Scalar]]


def now_ms() -> int:
    """Return the time in ms since the epoch."""
    return time.time_ns() // 1_000_000


class Sent(BaseModel):
    """What is sent: with the fields that were given, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    always: ClassVar[frozenset[str]] = frozenset()
    """Fields that are sent even if they were not given."""

    def wire(self) -> bytes:
        """Encode as one line of JSON."""
        return self.model_dump_json(include=set(self.model_fields_set | self.always)).encode()


class AnonymousAct(Sent):
    """One act of a history that a request brings along."""

    item: str
    type: InteractionType = "view"
    time: Time | None = None
    value: float | None = None
    session: str | None = None


class RankingRequest(Sent):
    """Actions, which are items, to rank for a user."""

    user: str
    actions: list[str]
    session: str | None = None
    shown: int = 1


class RewardRequest(Sent):
    """What came of an answer: of this item, or of its first."""

    reward: float
    item: str | None = None


class Interaction(Sent):
    """An act of a user on an item; it happened now unless `time` says when.

    One that is not given an `event_id` gets it from the request, which is repeated with the same key.
    """

    always = frozenset({"time"})

    event_id: str = ""
    user: str
    item: str
    type: InteractionType
    time: Time = Field(default_factory=now_ms)
    value: float | None = None
    session: str | None = None
    impression: str | None = None
    context: dict[str, Scalar] = Field(default_factory=dict)


class User(Sent):
    """What business rules may know of a user; it replaces what they knew before."""

    user: str
    attributes: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    time: Time = 0


class ItemChange(Sent):
    """Changes the fields of an item that are given, and no others."""

    item: str
    description: str = ""
    category: str | None = None
    available: bool = True
    time: Time = 0
    attributes: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    published: Time | None = None
    expires: Time | None = None
    media: dict[str, str] = Field(default_factory=dict)
    vectors: dict[str, list[float]] = Field(default_factory=dict)


class Item(ItemChange):
    """A whole item: fields that are not given get their defaults."""

    title: str
