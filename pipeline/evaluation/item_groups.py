"""Groups of items, whose shares of what is shown are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from pipeline.event_fields import nearest
from pipeline.events import CATEGORY
from pipeline.state.catalogue import Catalogue
from pipeline.state.relations import values_of

NO_GROUP = "none"
MOST_ITEMS = 10_000
"""Items that are looked at to find the attributes that items have: the first ones."""
NAMED = 20
"""Attributes that a warning names, at most."""


def groups_of(catalogue: Catalogue, attribute: str) -> Callable[[int], Sequence[str]]:
    """Return what names the groups of a catalogue row: its values of an attribute, or its category."""

    def groups(row: int) -> Sequence[str]:
        item = catalogue.entries[row]
        values = values_of(item, attribute) if item is not None else ()
        return [str(value) for value in values] or [NO_GROUP]

    return groups


def without_group(catalogue: Catalogue, attribute: str, least: int = 1) -> str | None:
    """Say that no item has an attribute, and which ones items have; None if one has it, or for few items.

    Args:
        catalogue: of the items.
        attribute: of `metrics.group`.
        least: items that must be known to say so.
    """
    names, items = Counter[str](), 0
    for item in islice(catalogue.entries, MOST_ITEMS):
        if item is not None:
            items += 1
            names.update([*item.attributes, *([CATEGORY] if item.category is not None else ())])
    if attribute in names or items < least:
        return None
    near, known = nearest(attribute, names), ", ".join(name for name, _ in names.most_common(NAMED))
    return (
        f"metrics.group = {attribute!r}: none of {items:,} items has such an attribute."
        + (f" Did you mean {near!r}?" if near else "")
        + (f" Items have {known}" if known else " Items have none at all")
    )
