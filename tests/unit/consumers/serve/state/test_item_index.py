"""An index made from the one before it is the index that is made at once."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.serve.state.item_index import (
    NO_INDEX,
    CatalogueEntry,
    IndexSources,
    ItemIndex,
    build_index,
    entry_of,
)
from pipeline.events import Item
from pipeline.rules.compiled import NO_RULES, CompiledRules, RequestFacts
from pipeline.state.acted_items import item_digest
from tests.support.rules import rule

NAMES = [f"i{number}" for number in range(9)]
RULES = [
    rule("brand", "keep", items={"attributes": [{"name": "brand", "none_of": ["x"]}]}),
    rule("some", "boost", nats=1.0, items={"ids": NAMES[2:5]}),
    rule("kind", "bury", nats=0.5, items={"categories": ["a"]}),
    rule("cap", "cap", most=1, attribute="brand"),
]
items = st.builds(
    lambda name, **fields: Item(item=name, title=name, **fields),
    st.sampled_from(NAMES),
    category=st.sampled_from([None, "a", "b"]),
    available=st.booleans(),
    expires=st.none() | st.just(10**13),
    attributes=st.sampled_from([{}, {"brand": "x"}, {"brand": ("x", "y")}]),
)
steps = st.lists(
    items  # an upsert
    | st.tuples(st.just("removed"), st.sampled_from(NAMES))
    | st.tuples(st.just("acted on"), st.sampled_from(NAMES))
    | st.tuples(st.just("learned"), st.integers(0, 3)),
    max_size=12,
)


class _World:
    """What an index is made of, as it changes."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.catalogue: dict[str, CatalogueEntry | None] = {}
        self.acted_on: dict[str, int] = {}

    @property
    def sources(self) -> IndexSources:
        rows = {item: row for row, item in enumerate(self.digests)}
        return IndexSources(list(rows), self.digests, rows, self.catalogue, self.acted_on)

    def take(self, step: Any) -> tuple[set[str], bool]:
        """Make a change; return the items that have changed, and whether there is another snapshot."""
        if isinstance(step, Item):
            self.catalogue[step.item] = entry_of(step)
            return {step.item}, False
        kind, what = step
        if kind == "learned":
            known = (*self.catalogue, *self.acted_on)
            learned = list(islice((item for item in known if item not in self.digests), what))
            self.digests = {**self.digests, **{item: item for item in learned}}
            self.acted_on = {item: row for item, row in self.acted_on.items() if item not in learned}
            return set(learned), True
        if kind == "removed":
            self.catalogue[what] = None
        else:
            self.acted_on.setdefault(what, 0)
        return {what}, False


def assert_same(one: ItemIndex, other: ItemIndex) -> None:
    assert list(one.ids) == list(other.ids)
    assert list(one.entries) == list(other.entries)
    for name in ("available", "on_sale", "digests"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.extras, one.size) == (other.extras, other.size)
    assert all(one.row(item) == row for row, item in enumerate(one.ids))
    assert one.digests.tolist() == [item_digest(item) for item in one.ids]


def shaped(rules: CompiledRules, index: ItemIndex) -> Any:
    rows, shaping = np.arange(len(index)), rules.shaping(RequestFacts(0))
    slate = shaping.slate(rows, len(index))
    return shaping.allowed(rows).tolist(), shaping.shift(rows).tolist(), slate


@settings(max_examples=300)
@given(st.lists(steps, max_size=4))
def test_an_index_and_its_rules_are_those_made_at_once(changes: list[list[Any]]) -> None:
    world, index, rules = _World(), NO_INDEX, NO_RULES
    for own in changes:
        taken = [world.take(step) for step in own]
        changed = set[str]().union(*(items for items, _ in taken))
        before = list(index.ids)
        made = build_index(world.sources, index, changed, any(swapped for _, swapped in taken))
        assert list(index.ids) == before
        everything = {*world.catalogue, *world.acted_on}
        at_once = build_index(world.sources, changed=everything)
        assert_same(made, at_once)
        index, rules = made, CompiledRules(RULES, made, rules)
        assert shaped(rules, index) == shaped(CompiledRules(RULES, at_once), at_once)
        for attribute in (None, "brand"):
            column, other = index.columns.of(attribute), at_once.columns.of(attribute)
            assert np.array_equal(column.rows, other.rows)
            for value in ("a", "b", "x", "y"):
                assert np.array_equal(column.rows_with((False, value)), other.rows_with((False, value)))


def test_a_mapping_that_grows_later_does_not_change_an_index() -> None:
    """Snapshots may share the mapping of their rows."""
    rows = {"a": 0}
    index = build_index(IndexSources(["a"], {"a": ""}, rows, {}, {"b": 0}), changed=["b"])
    rows["b"] = 1
    rows["c"] = 2
    assert [index.row(item) for item in "abc"] == [0, 1, None]


def test_an_item_that_acts_alone_had_named_is_gone_when_no_act_names_it_any_more() -> None:
    world = _World()
    changed = {*world.take(Item(item="b", title="cup"))[0], *world.take(("acted on", "a"))[0]}
    before = build_index(world.sources, changed=changed)
    assert (list(before.ids), before.named) == (["a", "b"], frozenset({"a"}))
    world.acted_on = {}
    after = build_index(world.sources, before, (), is_swapped=True)
    assert (list(after.ids), after.extras, after.named) == (["b"], {"b": 0}, frozenset())
    assert after.entries[0] == before.entries[1]


def test_a_snapshot_in_which_no_item_has_changed_has_the_index_of_the_one_before() -> None:
    rows = {"a": 0}
    sources = IndexSources(["a"], {"a": ""}, rows, {}, {})
    before = build_index(sources, changed=["a"])
    assert build_index(sources, before, (), is_swapped=True) is before
    rows["b"] = 1
    assert build_index(sources._replace(ids=["a", "b"]), before, (), is_swapped=True).row("b") == 1
