"""The benchmark of impressions learns the same interactions on every side, and what was shown on some."""

from __future__ import annotations

import pytest

from benchmarks import outcomes


def test_every_side_learns_the_same_interactions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backbone_folder: object
) -> None:
    monkeypatch.setenv("MILLSTREAM_MODEL__BACKBONE", str(backbone_folder))
    monkeypatch.setattr(outcomes, "WARM_UP", 0)
    learned = []
    monkeypatch.setattr(outcomes, "outcome_record", lambda outcome, version: learned.append(outcome))
    outcomes.main(events=300)
    printed = capsys.readouterr().out
    counts = [line.split("│")[2].strip() for line in printed.splitlines() if line.startswith("│")]
    assert len(counts) == len(outcomes.SIDES) and len(set(counts)) == 1 and int(counts[0]) > 100
    assert learned, "windows have passed while the shop was learned"
