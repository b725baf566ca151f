"""Rules: their kinds by action, their wire form, and how a record, a file or a request is read as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.event_fields import whole
from pipeline.eventlog.port import Record
from pipeline.events import MAX_WIRE_BYTES, TRUSTED, Category, Finite, Id, parse
from pipeline.rules.conditions import Conditions, RuleData
from pipeline.rules.time_window import TimeWindow
from pipeline.wording import faults_of

MAX_RULES = 500
"""Rules in force at a time, the first by name; each may hold a bit for every item."""
MAX_PLACE = 1_000
MAX_NATS = 20.0

RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Nats = Annotated[Finite, Field(gt=0, le=MAX_NATS)]
Place = Annotated[int, Field(ge=1, le=MAX_PLACE), BeforeValidator(whole)]
Priority = Annotated[int, Field(ge=-1_000, le=1_000), BeforeValidator(whole)]


class ItemMatch(RuleData):
    """Which items a rule acts on: those that meet all that is given; every item if nothing is.

    `ids` and `categories` ask for one of theirs, `attributes` for all conditions.
    """

    ids: Annotated[tuple[Id, ...], Field(strict=False, max_length=1_000)] = ()
    categories: Annotated[tuple[Category, ...], Field(strict=False, max_length=256)] = ()
    attributes: Conditions = ()


class When(TimeWindow):
    """For which requests, and when, a rule is in force."""

    user: Conditions = ()
    request: Conditions = ()


class RuleBase(RuleData):
    """What all rules have.

    `priority` decides between pins: the higher one comes first, equal ones by name.
    """

    kind: ClassVar[str] = "rule"
    version: ClassVar[int] = 2

    name: RuleName
    enabled: bool = True
    priority: Priority = 0
    items: ItemMatch = ItemMatch()
    when: When = When()


class _OnSomeItems(RuleBase):
    @model_validator(mode="after")
    def _names_items(self) -> Self:
        if self.items == ItemMatch():
            raise PydanticCustomError(
                "no_items", "acts on every item: add ids, categories or attributes to items"
            )
        return self


class KeepRule(_OnSomeItems):
    """A filter: show none but the items that match."""

    action: Literal["keep"]


class LeaveOutRule(_OnSomeItems):
    """A filter: show no item that matches."""

    action: Literal["leave_out"]


class BoostRule(_OnSomeItems):
    """Add to the logit of the items that match: ln 2 = 0.69 nats double an item's odds."""

    action: Literal["boost"]
    nats: Nats


class BuryRule(_OnSomeItems):
    """Take from the logit of the items that match."""

    action: Literal["bury"]
    nats: Nats


class PinRule(RuleBase):
    """Show an item at a place, counted from 1, if it is eligible and matches."""

    action: Literal["pin"]
    item: Id
    place: Place


class CapRule(RuleBase):
    """Show at most so many of the items that match for each value of an attribute, or for each category."""

    action: Literal["cap"]
    most: Place
    attribute: Id | None = None


Rule = KeepRule | LeaveOutRule | BoostRule | BuryRule | PinRule | CapRule
AnyRule = Annotated[Rule, Field(discriminator="action")]
RuleKind = type[Rule]
KINDS: Mapping[str, RuleKind] = {
    "keep": KeepRule,
    "leave_out": LeaveOutRule,
    "boost": BoostRule,
    "bury": BuryRule,
    "pin": PinRule,
    "cap": CapRule,
}
"""By action."""
RuleRecord = Rule | str
"""What a record of the rules topic says: a rule, or the name of one to remove."""


def build_rule(fields: Mapping[str, object]) -> Rule:
    """Build a rule from untrusted fields, without the envelope of the wire form.

    Raises:
        InvalidEvent: a field violates the schema; names it and the reason.
    """
    return _built(fields, None)


def _built(fields: Mapping[str, object], context: Mapping[str, object] | None) -> Rule:
    action = fields.get("action")
    kind = KINDS.get(action) if isinstance(action, str) else None
    if kind is None:
        raise InvalidEvent("action", f"must be {', '.join(KINDS)}", RefusalReason.SCHEMA)
    try:
        return kind.model_validate(dict(fields), context=context)
    except ValidationError as error:
        raise _invalid(error, kind) from None


def encode_rule(rule: Rule) -> bytes:
    """Encode a rule to its wire form.

    Raises:
        InvalidEvent: every field is within bounds, but together they exceed MAX_WIRE_BYTES.
    """
    fields = rule.model_dump(mode="json", exclude_defaults=True)
    wire = orjson.dumps({"v": rule.version, "kind": rule.kind, **fields})
    if len(wire) > MAX_WIRE_BYTES:
        raise InvalidEvent("rule", f"larger than {MAX_WIRE_BYTES} bytes", RefusalReason.TOO_LARGE)
    return wire


def decode_rule(wire: bytes) -> Rule:
    """Decode a rule from its wire form.

    Raises:
        InvalidEvent: it is too large, not JSON, of another version or kind, or no rule.
    """
    fields = parse(wire)
    for name, expected in (("v", RuleBase.version), ("kind", RuleBase.kind)):
        if fields.pop(name, None) != expected:
            raise InvalidEvent(name, f"must be {expected!r}", RefusalReason.SCHEMA)
    return _built(fields, TRUSTED)


def rule_of(record: Record) -> RuleRecord:
    """Decode the rule in a record, or return the name of the rule that a tombstone removes.

    Raises:
        InvalidEvent: the record cannot be read, is no rule, or its key is not the rule's name.
    """
    if record.error is not None:
        raise InvalidEvent("record", record.error)
    if not record.key:
        raise InvalidEvent("name", "the record has no key: send the name as the key", RefusalReason.KEY)
    if record.value is None:
        return record.key
    rule = decode_rule(record.value)
    if record.key != rule.name:
        raise InvalidEvent("name", "is not the record's key", RefusalReason.KEY)
    return rule


def _invalid(error: ValidationError, kind: RuleKind) -> InvalidEvent:
    """Convert the first fault that Pydantic found."""
    field, reason = faults_of(error.errors(include_url=False), kind, names_all=True)[0]
    return InvalidEvent(field or "rule", reason, RefusalReason.SCHEMA)
