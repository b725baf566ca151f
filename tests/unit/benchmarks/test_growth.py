"""The growth benchmark in short: both sides follow the same acts, and what exceeds its budget is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import growth, growth_sides
from benchmarks.growth import FIGURES, Budget, BudgetExceeded, Figures, Size, main, run_side

SIDES = {"learner": growth_sides.learner, "server": growth_sides.server}
AMPLE, USERS, ROUNDS = Budget(seconds=60, gib=8), 40, 2
WAITS = "import time; time.sleep(60)"


def here(side: str, size: Size, rounds: int, folder: Path, budget: Budget) -> Figures:
    """Measure a side in this process."""
    return SIDES[side](*size, rounds, folder)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, backbone_folder: Path) -> None:
    monkeypatch.setenv("MILLSTREAM_MODEL__BACKBONE", str(backbone_folder))
    monkeypatch.setattr(growth_sides, "WARM_UP", 1)
    monkeypatch.setattr(growth_sides, "REQUESTS", 4)
    monkeypatch.setattr(growth, "run_side", here)


@pytest.mark.usefixtures("short")
def test_every_figure_of_every_size_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([200, 400], [USERS], ROUNDS, *AMPLE, report=tmp_path / "report.json")
    small, large = json.loads((tmp_path / "report.json").read_text())
    assert (small["items"], large["items"]) == (200, 400)
    for row in (small, large):
        assert all(row[name] > 0 for name in FIGURES)
        assert not row["fault"]
    assert large["full_mb"] == pytest.approx(2 * small["full_mb"], rel=0.5)
    assert f"({large['full_mb'] / small['full_mb']:.2f})" in capsys.readouterr().out


@pytest.mark.usefixtures("short")
def test_sizes_that_are_taken_in_turn_have_all_figures_but_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(side: str, items: list[int], users: int, rounds: int, folder: Path, _: Budget) -> list[Figures]:
        sides = {"learners": growth_sides.learners, "servers": growth_sides.servers}
        return sides[side](items, users, rounds, folder)

    monkeypatch.setattr(growth, "_run", run)
    main([200, 400], [USERS], ROUNDS, *AMPLE, together=True, report=tmp_path / "report.json")
    small, large = json.loads((tmp_path / "report.json").read_text())
    for row in (small, large):
        assert {name for name in FIGURES if row.get(name, 0) > 0} == {*FIGURES} - {
            "learner_mib",
            "server_mib",
        }
    assert large["full_mb"] > small["full_mb"]


@pytest.mark.usefixtures("short")
def test_a_size_beyond_its_budget_is_reported_and_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(side: str, size: Size, *rest: object) -> Figures:
        if size.items == 400 and side == "server":
            raise BudgetExceeded("takes more than 1 GiB")
        return {"batch_ms": 2.0 * size.items, "request_ms": 1.0}

    monkeypatch.setattr(growth, "run_side", refused)
    main([200, 400, 800], [USERS], ROUNDS, *AMPLE)
    printed = capsys.readouterr().out
    assert f"400 items, {USERS} users: the server takes more than 1 GiB" in printed
    assert "1,600 (4.00)" in printed


@pytest.mark.parametrize(
    ("program", "budget", "fault"),
    [
        (WAITS, Budget(seconds=0, gib=8), "takes more than 0 s"),
        (WAITS, Budget(seconds=60, gib=0), "takes more than 0 GiB"),
        ("raise SystemExit('out of order')", AMPLE, "failed: .*out of order"),
    ],
)
def test_a_side_is_ended_when_it_exceeds_its_budget(
    program: str, budget: Budget, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "PROGRAM", program)
    with pytest.raises(BudgetExceeded, match=fault):
        run_side("learner", Size(200, USERS), ROUNDS, tmp_path, budget)


def test_both_sides_draw_the_same_acts() -> None:
    one, other = (growth_sides.Acts(50, USERS) for _ in range(2))
    assert [*one.first(), one.batch()] == [*other.first(), other.batch()]
    assert one.batch() != one.batch()
