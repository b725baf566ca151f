"""Tables of business rules, and of what they would do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table

from consumers.audit.dry_run import DryRun
from pipeline.rules.rule import ItemMatch, Rule, RuleBase, When
from pipeline.wording import counted

MOST_ITEMS = 10
NO_ITEM = '0: no item of the catalogue has such ids, categories or values (5 is a number, and "5" a text)'


def rules_page(rules: Iterable[Rule]) -> RenderableType:
    """Make the page of all rules."""
    table = Table("name", "action", "does", "on items", "when", "priority")
    for rule in rules:
        own = rule.model_dump(exclude={*RuleBase.model_fields, "action"})
        table.add_row(
            rule.name,
            rule.action if rule.enabled else f"{rule.action} (off)",
            ", ".join(f"{name} {value}" for name, value in own.items() if value is not None),
            "some" if rule.items != ItemMatch() else "all",
            "sometimes" if rule.when != When() else "always",
            str(rule.priority),
        )
    return table if table.row_count else "there are no rules"


def dry_run_page(found: DryRun) -> RenderableType:
    """Make the page of a dry run."""
    rules = Table("rule", "items it can act on", "answers it had a part in")
    for name, count in sorted(found.applied.items()):
        matches = found.matches.get(name)
        rules.add_row(
            name,
            "–: it is not enabled" if matches is None else f"{matches:,}" if matches else NO_ITEM,
            f"{count:,}" if count else "0: it is never in force, or touches nothing shown",
        )
    items = Table("item", "enters", "leaves", "moves")
    touched = found.entered + found.left + found.moved
    for item, _ in touched.most_common(MOST_ITEMS):
        items.add_row(item, *(f"{counts[item]:,}" for counts in (found.entered, found.left, found.moved)))
    return Group(_summary(found), *_emptied(found), *(table for table in (rules, items) if table.row_count))


def _emptied(found: DryRun) -> list[str]:
    """What is worst of new rules, if they do it."""
    if not found.emptied:
        return []
    answers, users = counted(found.emptied, "answer"), counted(len(found.emptied_users), "user")
    return [f"WARNING: {answers} would become empty, of {users}: the rules leave nothing that could be shown"]


def _summary(found: DryRun) -> str:
    entered, moved = found.entered.total(), found.moved.total()
    answers, items = counted(found.changed, "answer"), counted(entered, "item")
    return (
        f"{counted(found.answers, 'request')} asked again: {answers} would change, {items} would enter, "
        f"{moved:,} would move; nothing was written"
    )
