"""A dry run of the bridge as a page: events as they would be, and what would be refused."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.reports.layout import table
from pipeline.wording import counted
from producers.bridge.dry_run import DryRun


def dry_run_page(found: DryRun) -> RenderableType:
    """Return counts by kind and by reason, and the first events, which may be about persons."""
    refused = [
        (code, f"{count:,}", f"{field}: {reason}", found.first[code, field, reason])
        for (code, field, reason), count in found.refused.most_common()
    ]
    return Group(
        table(
            f"{counted(found.records, 'record')} would become",
            ("what", "records"),
            [(kind, f"{count:,}") for kind, count in found.made.most_common()],
        ),
        table(
            f"{found.refused.total():,} would be refused, into the dead letters",
            ("reason", "records", "what is wrong", "the first"),
            refused,
        ),
        table(
            f"{found.dropped.total():,} would be left out",
            ("reason", "records"),
            [(reason, f"{count:,}") for reason, count in found.dropped.most_common()],
        ),
        *(Text(f"{place}  {shown}") for place, shown in found.examples),
        Text("nothing was written"),
    )
