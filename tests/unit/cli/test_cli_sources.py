"""Source commands play events into the log."""

from __future__ import annotations

from pathlib import Path

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
    result = CliRunner().invoke(cli.app, ["play", SHOP, "--rate", "5", "--speed", "2"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_data_from_which_nothing_would_be_learned_are_a_warning(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    rows = "ann,1,0.2,1700000000\nbob,1,0.8,1700000001\n"
    (data / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rows}")
    (data / "movies.csv").write_text("movieId,title,genres\n1,Cup,Kitchen\n")
    run("topics", "create")
    output = run("play", "data").output
    assert "warning: none of 2 acts says anything good of its item, so nothing is learned." in output
    assert "signals.rating_threshold = 0.5 with signals.rating_span = 0.3" in output


def test_acts_of_the_future_are_a_warning(folder: Path) -> None:
    rows = "ann,1,4,1700000000\nbob,1,5,4891285800\n"
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rows}")
    run("topics", "create")
    output = run("play", "ratings.csv").output
    assert "warning: the times of 1 of 2 acts are more than 5 minutes ahead of this clock" in output


def test_an_id_for_everybody_is_a_warning_that_does_not_repeat_it(folder: Path) -> None:
    users = ["nobody-in-particular"] * 101 + [f"user-{number}" for number in range(20)] * 10
    rows = "".join(f"{user},{n % 7},4,{1_700_000_000 + n}\n" for n, user in enumerate(users))
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rows}")
    run("topics", "create")
    output = run("play", "ratings.csv").output
    assert "warning: 1 user did 101 of 301 acts, over 10 times as many as others" in output
    assert "nobody" not in output
