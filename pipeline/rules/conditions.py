"""Conditions on values by name: attributes of items and users, and what a request carries."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from pipeline.events import TRUSTED, Finite, Id, Scalar

MAX_CONDITIONS = 16
MAX_VALUES = 256

Value = Scalar | Sequence[Scalar]
"""A list has each of its values."""
Values = Mapping[str, Value]
Wanted = Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1, max_length=MAX_VALUES)]


class RuleData(BaseModel):
    """A part of a rule: bounded, strict data."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Condition(RuleData):
    """Tests of one value by its name; all that are given must hold.

    A list passes `equals` with `any_of`, and `at_least` with `at_most`, if one of its values passes both.
    Without the value, only `none_of` and ``present = false`` hold. A number never equals text, nor true.
    Tests that nothing passes are refused where a rule is written, and read where an earlier release wrote it.
    """

    name: Id
    equals: Scalar | None = None
    any_of: Wanted | None = None
    none_of: Wanted | None = None
    at_least: Finite | None = None
    at_most: Finite | None = None
    present: bool | None = None

    @model_validator(mode="after")
    def _has_a_test(self) -> Self:
        if all(getattr(self, test) is None for test in type(self).model_fields if test != "name"):
            raise PydanticCustomError(
                "no_test", "has no test: add equals, any_of, none_of, at_least, at_most or present"
            )
        return self

    @model_validator(mode="after")
    def _can_hold(self, info: ValidationInfo) -> Self:
        if info.context is TRUSTED:
            return self
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise PydanticCustomError("never", "can never hold: at_least is above at_most")
        if self.wanted is not None and self.wanted <= self.unwanted:
            raise PydanticCustomError(
                "never", "can never hold: no value passes equals, any_of and none_of together"
            )
        if self.present is False and (self.wanted is not None or self.bounds is not None):
            raise PydanticCustomError("never", "can never hold: what is not present passes no other test")
        return self

    @cached_property
    def wanted(self) -> frozenset[Hashable] | None:
        """Keys of the values of which one must be there; None if `equals` and `any_of` do not ask for any."""
        asked = [
            frozenset(map(key_of, values))
            for values in (None if self.equals is None else (self.equals,), self.any_of)
            if values is not None
        ]
        return frozenset.intersection(*asked) if asked else None

    @cached_property
    def unwanted(self) -> frozenset[Hashable]:
        """Keys of the values that must not be there."""
        return frozenset(map(key_of, self.none_of or ()))

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest number that one of the values must be; None if there are no bounds."""
        if self.at_least is None and self.at_most is None:
            return None
        first = -math.inf if self.at_least is None else self.at_least
        return first, math.inf if self.at_most is None else self.at_most

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same, which 1 and true do not, though Python's fields are equal."""
        return self._meaning == other._meaning if isinstance(other, Condition) else NotImplemented

    def __hash__(self) -> int:
        """Hash what is asked for."""
        return hash(self._meaning)

    @cached_property
    def _meaning(self) -> tuple[Hashable, ...]:
        return self.name, self.wanted, self.unwanted, self.at_least, self.at_most, self.present

    def holds(self, values: Values) -> bool:
        """Whether all tests hold."""
        parts = parts_of(values.get(self.name))
        keys = [key_of(part) for part in parts]
        if self.wanted is not None and self.wanted.isdisjoint(keys):
            return False
        return self.unwanted.isdisjoint(keys) and self.present in (None, bool(parts)) and self._within(parts)

    def _within(self, parts: Sequence[Scalar]) -> bool:
        """Whether one of the values is within the bounds, if there are any."""
        if self.bounds is None:
            return True
        first, last = self.bounds
        return any(first <= number <= last for part in parts if (number := number_of(part)) is not None)


Conditions = Annotated[tuple[Condition, ...], Field(strict=False, max_length=MAX_CONDITIONS)]


def parts_of(value: Value | None) -> Sequence[Scalar]:
    """Return the values of a list, or the value itself as the only one; none if there is none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | bool | int | float) else value


def number_of(value: Scalar) -> float | None:
    """Return a value if it is a number; true and false are none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def key_of(value: Scalar) -> Hashable:
    """Return what equal values have in common: 1 and 1.0 are equal, 1 and true are not."""
    return isinstance(value, bool), value
