"""What the console changes it changes by commands, and who asked stands in the log."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.console import commands
from consumers.console.commands import Actions, CommandResult, run_command
from pipeline.control.actions import OperatorAction
from pipeline.control.records import Refusal
from pipeline.errors import DeliveryError
from tests.support.console_harness import NOW, ConsoleHarness, NotedCommands
from tests.support.serve_harness import World


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["config"], 0, "[log]"),
        (["rules", "check", "no-such.toml"], 1, "InvalidSettings: no-such.toml: cannot be read"),
        (["no-such-command"], 2, "No such command 'no-such-command'."),
    ],
)
def test_a_command_runs_in_a_process_of_its_own(arguments: list[str], status: int, text: str) -> None:
    result = run_command(arguments)
    assert result.status == status
    assert text in result.text
    assert result.is_done == (status == 0)


def test_a_command_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_SECONDS", 0.01)
    assert "took more than" in run_command(["config"]).text


def test_who_asked_is_recorded_before_the_command_runs(world: World) -> None:
    console = ConsoleHarness(world)
    seen: list[Any] = []

    def run(arguments: object) -> CommandResult:
        seen.extend(console.records())
        return CommandResult(0, "recorded")

    actions = Actions(world.log, world.topics, run, lambda: NOW)
    actions.act("olga", "rollback", "1-1", "worse", ["rollback", "1-1"])
    asked = OperatorAction(
        by="olga", action="rollback", subject="1-1", reason="worse", asked_at=int(NOW * 1000)
    )
    assert seen == [asked]
    assert console.records() == [asked]


def test_what_is_refused_is_recorded_with_the_reason(world: World) -> None:
    console = ConsoleHarness(world)
    console.commands.result = CommandResult(1, "VersionUnknown: version 9-9 was never learned")
    console.parts.actions.act("olga", "rollback", "9-9", "worse", ["rollback", "9-9"])
    asked, refusal = console.records()
    assert refusal == Refusal(order=asked.key, reason="VersionUnknown: version 9-9 was never learned")


def test_nothing_is_done_that_cannot_be_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = NotedCommands()

    def away(*_: object) -> None:
        raise DeliveryError("the log does not take it")

    actions = Actions(world.log, world.topics, noted)
    monkeypatch.setattr(actions, "_append", away)
    with pytest.raises(DeliveryError):
        actions.act("olga", "rollback", "1-1", "worse", ["rollback", "1-1"])
    assert noted.ran == []
