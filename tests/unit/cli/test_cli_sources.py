"""Source commands play events into the log."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pipeline import cli
from tests.support.commands import fails, run

SHOP = "shop:events=60,users=10,items=90,arrivals=0"


def test_playing_needs_the_topics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "TopicError" in fails(monkeypatch, capsys, "play", SHOP)


def test_a_rate_and_a_speed_exclude_each_other() -> None:
    run("topics", "create")
    result = CliRunner().invoke(cli.app, ["play", SHOP, "--rate", "5", "--speed", "2"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
