"""Figures of lists, and the shares of groups of items, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.evaluation.lists import Figures
from pipeline.reports.layout import table
from pipeline.reports.numbers import figure

MEANINGS = {
    "diversity@20": "how unlike the items of a list are: one minus the mean cosine of their texts",
    "coverage@20": "share of the catalogue that is in a list",
    "gini@20": "how unequally items are in lists: 0 if all as often, near 1 if only few are",
    "gini_of_acts": "the same of the acts on items",
    "tail_share@20": "share of places that the tail has: items with at most a fifth of all acts",
    "jaccard@20": "how alike a user's list and the next one are: items in both by items in either",
}
LIST_HEADINGS = ("figure", "value", "what it says")
GROUP_HEADINGS = ("group", "shown", "acted on")


def lists_title(figures: Figures) -> str:
    """Say which lists the figures are of."""
    return f"lists of the mixture, the last {figures.get('n') or 0:,.0f} of a sample of users"


def list_rows(figures: Figures) -> list[tuple[str, str, str]]:
    """One row per figure, in the columns of `LIST_HEADINGS`."""
    return [(name, figure(figures.get(name)), meaning) for name, meaning in MEANINGS.items()]


def lists_table(figures: Figures) -> RenderableType:
    """One row per figure of lists."""
    return table(lists_title(figures), LIST_HEADINGS, list_rows(figures), right=("value",), whole=("figure",))


def group_rows(groups: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    """One row per group, in the columns of `GROUP_HEADINGS`."""
    return [(name, figure(share["shown"]), figure(share["acted_on"])) for name, share in groups.items()]


def groups_table(groups: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """One row per group of items: its shares of the places in lists, and of the acts that followed."""
    return table("shares of groups of items", GROUP_HEADINGS, group_rows(groups), right=GROUP_HEADINGS[1:])
