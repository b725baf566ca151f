"""What a check of the doctor finds: that something is as it should be, or what is wrong and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingState = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        check: what was looked at, one word.
        state: a fault keeps something from working; a warning may.
        text: what was found.
        remedy: a command or a setting; empty if nothing is to be done.
    """

    check: str
    state: FindingState
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Report that something is as it should be."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Report what may go wrong."""
    return Finding(check, "warning", text, remedy)


def fault(check: str, text: str, remedy: str) -> Finding:
    """Report what is wrong."""
    return Finding(check, "fault", text, remedy)
