"""The benchmark of policies asks every side; that of propensities finds no fault in them."""

from __future__ import annotations

import pytest

from benchmarks import policies, propensities


def test_every_policy_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backbone_folder: object
) -> None:
    monkeypatch.setenv("MILLSTREAM_MODEL__BACKBONE", str(backbone_folder))
    policies.main(items=80, requests=6, events=300, k=5)
    printed = capsys.readouterr().out
    assert "80 items, 5 shown" in printed
    assert all(name in printed for name in policies.SIDES)


def test_every_policy_is_as_it_states(capsys: pytest.CaptureFixture[str]) -> None:
    propensities.main(draws=5_000, seeds=2)
    assert capsys.readouterr().out.count("2 of 2") == len(propensities.POLICIES)
