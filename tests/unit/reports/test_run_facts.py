"""What a report says of its run."""

from __future__ import annotations

import sys

import pytest

from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.datasets import Shop, ShopSettings
from pipeline.reports.run_facts import run_facts


def test_a_run_can_be_repeated_by_its_facts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(ShopSettings(seed=3, events=10))
    monkeypatch.setattr(sys, "argv", ["/usr/bin/millstream", "backtest", "my sales.csv"])
    facts = run_facts(shop, make_learner(settings))
    assert facts["command"] == "millstream backtest 'my sales.csv'"
    assert (facts["data set"], facts["digest of the data"]) == ("shop", shop.digest)
    assert (facts["seed"], facts["device"]) == ("0", "cpu")
    assert all(facts.values())
