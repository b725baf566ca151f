"""The result of one check of an audit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self


class AuditCheck(NamedTuple):
    """One check: what was looked at, how much of it, and what is wrong with it.

    Attributes:
        subject: what was checked, in a word or two.
        checked: how much of it, in words.
        findings: one sentence each; empty if all is right.
    """

    subject: str
    checked: str
    findings: tuple[str, ...]

    @classmethod
    def of(cls, subject: str, checked: str, findings: Iterable[str]) -> Self:
        """Make a check from its findings."""
        return cls(subject, checked, tuple(findings))
