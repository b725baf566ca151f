"""The doctor's findings as lines: ✔, ! or ✘, what was found, and below it the remedy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.doctor.finding import Finding

MARKS = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "fault": ("✘", "red")}
CHECK_CELLS = 10


def doctor_page(findings: Sequence[Finding]) -> RenderableType:
    """Return one line per finding, its remedy below it, and a summary."""
    lines = [line for finding in findings for line in _lines(finding)]
    faults, warnings = (sum(one.state == state for one in findings) for state in ("fault", "warning"))
    return Group(*lines, Text(f"{len(findings)} checked: {faults} faults, {warnings} warnings"))


def _lines(finding: Finding) -> list[Text]:
    mark, colour = MARKS[finding.state]
    found = Text.assemble((f"{mark} ", colour), f"{finding.check:{CHECK_CELLS}} ", finding.text)
    remedy = Text(f"  {'':{CHECK_CELLS}} → {finding.remedy}")
    return [found, remedy] if finding.remedy else [found]
