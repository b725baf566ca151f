"""An audit as a table, with its findings below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from consumers.audit.check import AuditCheck


def audit_page(checks: Sequence[AuditCheck]) -> RenderableType:
    """One row per check: what, how much of it was checked, and how many findings; then the findings."""
    table = Table(title="audit", title_justify="left")
    for heading in ("what", "checked", "findings"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "findings" else "left")
    for check in checks:
        table.add_row(escape(check.subject), escape(check.checked), str(len(check.findings)))
    findings = [escape(f"{check.subject}: {finding}") for check in checks for finding in check.findings]
    return Group(table, *findings)
