"""Candidates: what is put down can be read again, by a name, in an order, by one retrainer."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.errors import CandidateUnknown, Occupied
from pipeline.reports.candidates import candidates_table
from pipeline.retraining.candidates import KEEP, PLAN, Candidates, RetrainPlan
from tests.support.retrain_harness import decision


def plan(name: str = "one") -> RetrainPlan:
    return RetrainPlan(
        name=name,
        request=None,
        champion="1-7",
        window={"mill.interactions/0": 3},
        held_out=5,
        trial=9,
        planned_at=1_700_000_000_000,
    )


@pytest.fixture
def kept(tmp_path: Path) -> Candidates:
    return Candidates(tmp_path)


def begin_at(kept: Candidates, name: str, seconds: int) -> None:
    """Put a plan down as if so late; clocks of file systems are coarse."""
    os.utime(kept.begin(plan(name)).folder / PLAN, (seconds, seconds))


def names(kept: Candidates) -> list[str]:
    return [candidate.name for candidate in kept.all()]


def test_plan_and_decision_are_read_as_they_were_written(kept: Candidates, tmp_path: Path) -> None:
    candidate = kept.begin(plan())
    assert candidate.decision() is None
    candidate.conclude(decision())
    again = Candidates(tmp_path).named("one")
    assert again.is_planned
    assert again.plan() == plan()
    assert again.decision() == again.decided() == decision()


def test_an_unknown_candidate_has_no_plan_and_no_decision(kept: Candidates) -> None:
    nobody = kept.named("nobody")
    assert not nobody.is_planned
    assert nobody.decision() is None
    for ask in (nobody.plan, nobody.decided):
        with pytest.raises(CandidateUnknown, match="no candidate nobody"):
            ask()


def test_a_damaged_plan_is_no_candidate(kept: Candidates) -> None:
    (kept.begin(plan()).folder / PLAN).write_bytes(b"{")
    with pytest.raises(CandidateUnknown, match="no candidate one"):
        kept.named("one").plan()


def test_a_candidate_in_work_is_not_judged(kept: Candidates) -> None:
    with pytest.raises(CandidateUnknown, match="one is not decided yet"):
        kept.begin(plan()).decided()


def test_they_are_listed_in_the_order_of_their_plans(kept: Candidates) -> None:
    for seconds, name in enumerate(("b", "c", "a")):
        begin_at(kept, name, seconds)
    kept.named("b").conclude(decision("b"))
    assert names(kept) == ["b", "c", "a"]


def test_the_last_twenty_are_kept(kept: Candidates) -> None:
    for number in range(KEEP + 1):
        begin_at(kept, f"n{number}", number)
    kept.begin(plan("newest"))
    assert names(kept) == [*(f"n{number}" for number in range(2, KEEP + 1)), "newest"]


def test_what_a_decided_candidate_no_longer_needs_is_removed(kept: Candidates) -> None:
    candidate = kept.begin(plan())
    for folder in (candidate.champion, candidate.progress, candidate.checkpoint):
        folder.mkdir()
        (folder / "file").touch()
    for _ in range(2):
        candidate.conclude(decision())
    assert sorted(path.name for path in candidate.folder.iterdir()) == [
        "checkpoint",
        "decision.json",
        "plan.json",
    ]


def test_two_cannot_work_on_them(kept: Candidates, tmp_path: Path) -> None:
    with (
        kept.occupied(),
        pytest.raises(Occupied, match="another retrainer"),
        Candidates(tmp_path).occupied(),
    ):
        pytest.fail("both got in")
    with Candidates(tmp_path).occupied():
        pass  # the lock is let go of


def test_the_table_says_what_became_of_each(kept: Candidates) -> None:
    begin_at(kept, "one", 1)
    kept.named("one").conclude(decision())
    begin_at(kept, "two", 2)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(candidates_table(kept.all()))
    rows = [line.split() for line in console.export_text().splitlines()]
    told = [row for row in rows if "one" in row or "two" in row]
    assert [w for w in told[0] if w != "│"] == ["one", "1-7", "promoted", "+0.2500", "it", "is", "better"]
    assert [w for w in told[1] if w != "│"] == ["two", "1-7", "in", "progress"]
