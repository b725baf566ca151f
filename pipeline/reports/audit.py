"""An audit as a table, with its findings below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape

from consumers.audit.check import AuditCheck
from pipeline.reports.layout import table


def audit_page(checks: Sequence[AuditCheck]) -> RenderableType:
    """One row per check: what, how much of it was checked, and how many findings; then the findings."""
    rows = [(check.subject, check.checked, str(len(check.findings))) for check in checks]
    summary = table("audit", ("what", "checked", "findings"), rows, right=("findings",))
    findings = [escape(f"{check.subject}: {finding}") for check in checks for finding in check.findings]
    return Group(summary, *findings)
