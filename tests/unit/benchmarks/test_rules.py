"""The benchmark of rules asks both sides for the same."""

from __future__ import annotations

import pytest

from benchmarks.rules import main


def test_both_sides_are_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backbone_folder: object
) -> None:
    monkeypatch.setenv("MILLSTREAM_MODEL__BACKBONE", str(backbone_folder))
    main(items=80, rules=12, requests=6, events=300)
    printed = capsys.readouterr().out
    assert "80 items" in printed
    assert "compiled in" in printed
