"""Daemons are started as asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumers.retrain import daemon as retrain
from pipeline.config import Settings
from tests.support.commands import misused, run


@pytest.mark.parametrize(
    ("arguments", "follow", "since"),
    [
        ([], False, None),
        (["--follow"], True, None),
        (["--since", "2026-11-22T09:30"], False, datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        (["--since", "2026-11-22T09:30+02:00"], False, datetime(2026, 11, 22, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_retrain_is_made_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], follow: bool, since: datetime | None
) -> None:
    asked = list[object]()

    def office(settings: Settings, *, follow: bool, since: datetime | None) -> None:
        asked.extend((settings.log.prefix, follow, since))

    monkeypatch.setattr(retrain, "run", office)
    assert run("retrain", *arguments).exit_code == 0
    assert asked == ["mill", follow, since]


def test_to_follow_and_to_begin_at_a_time_exclude_each_other() -> None:
    assert "--follow and --since exclude each other" in misused(
        "retrain", "--follow", "--since", "2026-11-22"
    )


def test_a_time_that_is_none_is_refused() -> None:
    assert "yesterday is no time such as 2026-11-22T09:30" in misused("retrain", "--since", "yesterday")
