"""What became of a case: refused by name, accepted with equal bits, accepted within bounds, or a finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a case ended."""

    REFUSED = "refused by name"
    EQUAL = "accepted, bit-equal"
    """What was read is what was written: the damage touched nothing that is read."""
    IN_BOUNDS = "accepted, in bounds"
    """Forged with a seal that fits, and possible: it works, as the checks after it show."""
    STOPPED = "stops by name"
    """A learner whose journal is damaged, or whose position was forged, stops with an error that says so."""
    FINDING = "finding"


@dataclass(frozen=True)
class Outcome:
    """One case.

    Attributes:
        target: what was damaged.
        damage: how.
        detail: the refusal, or the finding.
    """

    target: str
    damage: str
    is_forged: bool
    verdict: Verdict
    detail: str


Judged = tuple[Verdict, str]


def refused(text: str, *names: str) -> Judged:
    """Judge a refusal: it must hold the names of what was refused."""
    missing = [name for name in names if name not in text]
    if missing:
        return Verdict.FINDING, f"the refusal does not name {missing}: {text[:300]}"
    return Verdict.REFUSED, text[:300]


def accepted(is_equal: bool, is_forged: bool, detail: str) -> Judged:
    """Judge an acceptance: under the old seal, nothing that was changed may be accepted."""
    if is_equal:
        return Verdict.EQUAL, detail
    return (Verdict.IN_BOUNDS if is_forged else Verdict.FINDING), detail
