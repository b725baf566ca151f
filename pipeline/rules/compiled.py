"""Rules compiled for one catalogue: a mask of items for each, and what those in force do to an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Scalar
from pipeline.policy.draws import Sampler
from pipeline.rules.columns import Columns, Items, Mask, masks_after
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
MOST_BOOSTED = 2_000
"""Items that a boost lifts in a large catalogue, beside those that are candidates anyway; each is scored."""
FEW = 8
"""For some rows alone, rules are asked one by one if the rows are so many times fewer than the items."""


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


class Filter(NamedTuple):
    """A rule that lets through the items of a mask ``[n]``, or those outside of it."""

    rule: str
    keeps: bool
    mask: Mask


class Shift(NamedTuple):
    """What a boost or a bury rule adds to the logits of a mask ``[n]`` of items."""

    rule: str
    nats: float
    mask: Mask


@dataclass(frozen=True)
class Shaping:
    """What the rules in force do to one answer; nothing by default.

    Attributes:
        filters, shifts: by rule.
        pins: in the order of precedence.
        caps: all hold.
    """

    filters: tuple[Filter, ...] = ()
    shifts: tuple[Shift, ...] = ()
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()

    def allowed(self, rows: NDArray[np.int64]) -> Mask:
        """``[m]`` mask of the rows ``[m]`` that every filter lets through."""
        if not self.filters:
            return np.ones(rows.size, dtype=np.bool_)
        if FEW * rows.size > self.filters[0].mask.size:
            allowed: Mask = self._allowed[rows]
            return allowed
        return _allowed(self.filters, rows)

    def shift(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """``[m]`` sums of the shifts of the rows ``[m]``, in nats."""
        if not self.shifts:
            return np.zeros(rows.size)
        if FEW * rows.size > self.shifts[0].mask.size:
            shift: NDArray[np.float64] = self._shift[rows]
            return shift
        return _sum(self.shifts, rows)

    def shifted(
        self, scores: NDArray[np.float64], rows: NDArray[np.int64], per_nat: float = 1.0
    ) -> NDArray[np.float64]:
        """Return scores ``[m]`` of rows with boosts and buries; a nat counts `per_nat` in them."""
        return scores + per_nat * self.shift(rows) if self.shifts else scores

    @property
    def most_nats(self) -> float:
        """What no item gets more than from boosts, in nats."""
        return sum(shift.nats for shift in self.shifts if shift.nats > 0)

    @cached_property
    def pinned(self) -> NDArray[np.int64]:
        """The rows, ascending, that have places if they may be shown."""
        return np.unique(np.array([pin.row for pin in self.pins], dtype=np.int64))

    @cached_property
    def named(self) -> NDArray[np.int64]:
        """The rows, ascending, that rules may lift into an answer: pinned ones and, of each boost, some."""
        boosted = (np.flatnonzero(shift.mask)[:MOST_BOOSTED] for shift in self.shifts if shift.nats > 0)
        return np.unique(np.concatenate([self.pinned, *boosted]))

    def passing(self, most: int) -> NDArray[np.int64] | None:
        """Return the rows that every filter lets through; None if there are more than that, or no filters."""
        if not self.filters:
            return None
        return self._passing if self._passing.size <= most else None

    def slate(self, order: NDArray[np.int64], k: int, sampler: Sampler | None = None) -> Slate:
        """Choose the items to show; see `make_slate`."""
        if not self.pins and not self.caps and sampler is None:
            return Slate(order[:k].tolist())
        return make_slate(order, k, self.pins, self.caps, sampler)

    def nats(self, row: int) -> float:
        """What boosts and buries add to the logit of an item."""
        return float(self.shift(np.array([row]))[0])

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
        filters = {one.rule for one in self.filters}
        return slate.capped | filters | shifted | set(slate.pinned.values())

    @cached_property
    def _allowed(self) -> Mask:
        return _allowed(self.filters, slice(None))

    @cached_property
    def _shift(self) -> NDArray[np.float64]:
        return _sum(self.shifts, slice(None))

    @cached_property
    def _passing(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._allowed)


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
            before: its masks are used again, but for the items that have changed since.
        """
        enabled = sorted((rule for rule in rules if rule.enabled), key=lambda rule: rule.name)[:MAX_RULES]
        self.rules = tuple(sorted(enabled, key=lambda rule: (-rule.priority, rule.name)))
        self.digest = digest_of(self.rules)
        self.reads_users = any(rule.when.user for rule in self.rules)
        self._items = items
        self._masks = _masks({rule.items for rule in self.rules}, items, before)
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

    @property
    def matches(self) -> dict[str, int]:
        """How many items each enabled rule can act on: for a cap, those that have a value which it counts."""
        return {rule.name: self._matching(rule) for rule in self.rules}

    def _matching(self, rule: Rule) -> int:
        if isinstance(rule, PinRule):
            return len(self._pins(rule))
        mask = self._masks[rule.items]
        if isinstance(rule, CapRule):
            mask = mask[np.unique(self._caps[rule.name].column.rows)]
        return int(mask.sum())

    def _cap(self, rule: CapRule) -> Cap:
        return Cap(rule.name, rule.most, self._items.columns.of(rule.attribute), self._masks[rule.items])

    def _combined(self, numbers: tuple[int, ...]) -> Shaping:
        """Combine the rules with these numbers."""
        rules = [self.rules[number] for number in numbers]
        return Shaping(
            tuple(
                Filter(rule.name, isinstance(rule, KeepRule), self._masks[rule.items])
                for rule in rules
                if isinstance(rule, KeepRule | LeaveOutRule)
            ),
            tuple(self._shift(rule) for rule in rules if isinstance(rule, BoostRule | BuryRule)),
            tuple(pin for rule in rules if isinstance(rule, PinRule) for pin in self._pins(rule)),
            tuple(self._caps[rule.name] for rule in rules if isinstance(rule, CapRule)),
        )

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


def _masks(matches: Iterable[ItemMatch], items: Items, before: CompiledRules | None) -> dict[ItemMatch, Mask]:
    """Make the masks, those that there were before from the items that have changed since."""
    stale = items.stale_since(before._items) if before is not None else None
    if before is None or stale is None:
        return {match: items.columns.mask(match) for match in matches}
    wanted = set(matches)
    known = {match: mask for match, mask in before._masks.items() if match in wanted}
    if not before.is_of(items):
        known = masks_after(items, known, stale)
    return {match: known[match] if match in known else items.columns.mask(match) for match in wanted}


def _allowed(filters: Sequence[Filter], rows: NDArray[np.int64] | slice) -> Mask:
    allowed: Mask = np.logical_and.reduce([one.mask[rows] == one.keeps for one in filters])
    return allowed


def _sum(shifts: Sequence[Shift], rows: NDArray[np.int64] | slice) -> NDArray[np.float64]:
    """Sum up in the order of rules, so that equal rules give equal bits."""
    total = np.zeros(shifts[0].mask[rows].size)
    for shift in shifts:
        np.add(total, shift.nats, out=total, where=shift.mask[rows])
    return total


class _NoItems:
    entries: Sequence[None] = ()

    @property
    def columns(self) -> Columns:
        return Columns(self)

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        return np.zeros(0, dtype=np.int64)

    def stale_since(self, before: Items) -> None:
        return None


NO_RULES = CompiledRules((), _NoItems())
