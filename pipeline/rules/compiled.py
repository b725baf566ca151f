"""Rules compiled for one catalogue: a mask of items for each, and what those in force do to an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Scalar
from pipeline.rules.columns import Columns, Items, Mask
from pipeline.rules.conditions import Values
from pipeline.rules.rule import (
    MAX_RULES,
    BoostRule,
    BuryRule,
    CapRule,
    ItemMatch,
    KeepRule,
    LeaveOutRule,
    PinRule,
    Rule,
    When,
    encode_rule,
)
from pipeline.rules.slate import Cap, Pin, Slate, make_slate

MAX_SHAPINGS = 16
"""Combinations of rules in force that are kept ready; each holds up to 9 bytes an item."""
NO_NAMES: frozenset[str] = frozenset()
NO_MASKS: Mapping[ItemMatch, Mask] = {}


@dataclass(frozen=True)
class RequestFacts:
    """What conditions may ask of a request.

    Attributes:
        time: ms since the epoch.
        request: what the request carries.
        user: attributes of the user; none of an anonymous one.
    """

    time: int
    request: Mapping[str, Scalar] = field(default_factory=dict)
    user: Values = field(default_factory=dict)


class Touch(NamedTuple):
    """A rule that acted on an item, and what it added to its logit in nats; 0 for a pin."""

    rule: str
    nats: float


class Shift(NamedTuple):
    """What a boost or a bury rule adds to the logits of a mask ``[n]`` of items."""

    rule: str
    nats: float
    mask: Mask


@dataclass(frozen=True)
class Shaping:
    """What the rules in force do to one answer; nothing by default.

    Attributes:
        filters: names of the filters.
        allowed: ``[n]`` mask of the items that every filter lets through; None without a filter.
        shifts: by rule.
        shift: ``[n]`` sum of the shifts in nats; None without one.
        pins: in the order of precedence.
        caps: all hold.
    """

    filters: frozenset[str] = NO_NAMES
    allowed: Mask | None = None
    shifts: tuple[Shift, ...] = ()
    shift: NDArray[np.float64] | None = None
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()

    def filtered(self, eligible: Mask) -> Mask:
        """Return the eligible items that every filter lets through."""
        return eligible if self.allowed is None else eligible & self.allowed

    def shifted(self, scores: NDArray[np.float64], per_nat: float = 1.0) -> NDArray[np.float64]:
        """Return scores ``[n]`` with boosts and buries; `per_nat` is what a nat is in units of the scores."""
        return scores if self.shift is None else scores + per_nat * self.shift

    def slate(self, order: NDArray[np.int64], eligible: Mask, k: int) -> Slate:
        """Choose the items to show; see `make_slate`."""
        if not self.pins and not self.caps:
            return Slate(order[:k].tolist())
        return make_slate(order, eligible, k, self.pins, self.caps)

    def nats(self, row: int) -> float:
        """What boosts and buries add to the logit of an item."""
        return 0.0 if self.shift is None else float(self.shift[row])

    def touches(self, row: int, slate: Slate) -> list[Touch]:
        """The rules that acted on an item of a slate."""
        found = [Touch(shift.rule, shift.nats) for shift in self.shifts if shift.mask[row]]
        return found + ([Touch(slate.pinned[row], 0.0)] if row in slate.pinned else [])

    def applied(self, slate: Slate) -> frozenset[str]:
        """The rules that had a part in a slate.

        They are the filters in force, boosts and buries of an item shown, pins that were placed, and caps
        that held an item back.
        """
        shifted = {shift.rule for shift in self.shifts if shift.mask[slate.rows].any()}
        return self.filters | shifted | set(slate.pinned.values()) | slate.capped


NO_SHAPING = Shaping()


class CompiledRules:
    """The enabled rules, ready for requests over the items of one index; immutable, for many threads.

    Attributes:
        rules: at most MAX_RULES, by priority and name.
        digest: equal for equal rules; empty without any.
        reads_users: whether a rule asks for attributes of users.
    """

    def __init__(self, rules: Iterable[Rule], items: Items, before: CompiledRules | None = None) -> None:
        """Compile rules.

        Args:
            rules: those beyond MAX_RULES, by name, are left out.
            items: what they act on.
            before: masks of it are used again if it is of the same items.
        """
        enabled = sorted((rule for rule in rules if rule.enabled), key=lambda rule: rule.name)[:MAX_RULES]
        self.rules = tuple(sorted(enabled, key=lambda rule: (-rule.priority, rule.name)))
        self.digest = digest_of(self.rules)
        self.reads_users = any(rule.when.user for rule in self.rules)
        self._items = items
        known = before._masks if before is not None and before.is_of(items) else NO_MASKS
        self._masks: dict[ItemMatch, Mask] = {
            match: known[match] if match in known else items.columns.mask(match)
            for match in {rule.items for rule in self.rules}
        }
        self._caps = {rule.name: self._cap(rule) for rule in self.rules if isinstance(rule, CapRule)}
        self._conditional = [rule.when != When() for rule in self.rules]
        self._shaping = lru_cache(MAX_SHAPINGS)(self._combined)

    def is_of(self, items: Items) -> bool:
        """Whether the rules were compiled for these very items."""
        return self._items is items

    def shaping(self, facts: RequestFacts) -> Shaping:
        """Return what the rules do to the answer of a request."""
        if not self.rules:
            return NO_SHAPING
        return self._shaping(
            tuple(
                number
                for number, (rule, is_conditional) in enumerate(
                    zip(self.rules, self._conditional, strict=True)
                )
                if not is_conditional or is_in_force(rule.when, facts)
            )
        )

    def _cap(self, rule: CapRule) -> Cap:
        return Cap(rule.name, rule.most, self._items.columns.of(rule.attribute), self._masks[rule.items])

    def _combined(self, numbers: tuple[int, ...]) -> Shaping:
        """Combine the rules with these numbers."""
        rules = [self.rules[number] for number in numbers]
        filters = [rule for rule in rules if isinstance(rule, KeepRule | LeaveOutRule)]
        shifts = tuple(self._shift(rule) for rule in rules if isinstance(rule, BoostRule | BuryRule))
        return Shaping(
            frozenset(rule.name for rule in filters),
            self._allowed(filters),
            shifts,
            _sum(shifts),
            tuple(pin for rule in rules if isinstance(rule, PinRule) for pin in self._pins(rule)),
            tuple(self._caps[rule.name] for rule in rules if isinstance(rule, CapRule)),
        )

    def _allowed(self, filters: Sequence[KeepRule | LeaveOutRule]) -> Mask | None:
        if not filters:
            return None
        masks = [self._masks[rule.items] == isinstance(rule, KeepRule) for rule in filters]
        allowed: Mask = np.logical_and.reduce(masks)
        return allowed

    def _shift(self, rule: BoostRule | BuryRule) -> Shift:
        nats = rule.nats if isinstance(rule, BoostRule) else -rule.nats
        return Shift(rule.name, nats, self._masks[rule.items])

    def _pins(self, rule: PinRule) -> list[Pin]:
        """Return the pin, unless the item is unknown or does not match."""
        mask = self._masks[rule.items]
        return [
            Pin(rule.name, row, rule.place) for row in self._items.rows_of([rule.item]).tolist() if mask[row]
        ]


def is_in_force(when: When, facts: RequestFacts) -> bool:
    """Whether a rule acts on the answer of a request."""
    return (
        when.holds(facts.time)
        and all(condition.holds(facts.request) for condition in when.request)
        and all(condition.holds(facts.user) for condition in when.user)
    )


def digest_of(rules: Sequence[Rule]) -> str:
    """Return the digest of rules in their order; empty for none."""
    if not rules:
        return ""
    digest = hashlib.blake2b(digest_size=8)
    for rule in rules:
        digest.update(encode_rule(rule))
    return digest.hexdigest()


def _sum(shifts: Sequence[Shift]) -> NDArray[np.float64] | None:
    """Sum up in the order of rules, so that equal rules give equal bits."""
    if not shifts:
        return None
    total = np.zeros(shifts[0].mask.size)
    for shift in shifts:
        np.add(total, shift.nats, out=total, where=shift.mask)
    return total


class _NoItems:
    entries: Sequence[None] = ()

    @property
    def columns(self) -> Columns:
        return Columns(self)

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        return np.zeros(0, dtype=np.int64)


NO_RULES = CompiledRules((), _NoItems())
