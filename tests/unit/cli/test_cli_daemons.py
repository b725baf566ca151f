"""Daemon commands start the daemons with their options."""

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
def test_a_retrain_gets_its_options(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], follow: bool, since: datetime | None
) -> None:
    received = list[object]()

    def record(settings: Settings, *, follow: bool, since: datetime | None) -> None:
        received.extend((settings.log.prefix, follow, since))

    monkeypatch.setattr(retrain, "run", record)
    assert run("retrain", *arguments).exit_code == 0
    assert received == ["mill", follow, since]


def test_follow_and_since_exclude_each_other() -> None:
    assert "--follow and --since exclude each other" in misused(
        "retrain", "--follow", "--since", "2026-11-22"
    )


def test_an_invalid_time_is_refused() -> None:
    assert "yesterday is not a time such as 2026-11-22T09:30" in misused("retrain", "--since", "yesterday")
