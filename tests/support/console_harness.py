"""A console over a small shop: its parts, a browser that keeps cookies, and commands that are only noted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from fastapi.testclient import TestClient
from pydantic import SecretStr

from consumers.console.app import create_app
from consumers.console.commands import Actions, CommandResult
from consumers.console.daemon import make_parts
from consumers.console.parts import ConsoleParts
from pipeline.config import ConsoleConfig, KeyConfig, Scope, Settings
from pipeline.control.history import read_history
from pipeline.control.records import ControlRecord
from tests.support.serve_harness import World

OPERATOR_KEY, VIEWER_KEY = "o" * 16, "v" * 16
NOW = 1_700_000_000.0


def keyed() -> ConsoleConfig:
    """Keys of an operator, and of somebody who may look."""
    keys = {
        "olga": (OPERATOR_KEY, Scope.ADMIN),
        "vera": (VIEWER_KEY, Scope.READ),
    }
    named = {name: KeyConfig(secret=SecretStr(key), scopes=(scope,)) for name, (key, scope) in keys.items()}
    return ConsoleConfig(named_keys=named)


@dataclass
class NotedCommands:
    """Stands for the commands: notes their arguments, and ends as the test says."""

    result: CommandResult = CommandResult(0, "recorded")
    ran: list[list[str]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str]) -> CommandResult:
        self.ran.append(list(arguments))
        return self.result


class ConsoleHarness:
    """A console whose pages a test visits."""

    def __init__(self, world: World, config: ConsoleConfig | None = None, server: str = "") -> None:
        console = (config or keyed()).replace(server=server)
        self.settings: Settings = world.settings.model_copy(update={"console": console})
        self.commands = NotedCommands()
        made = make_parts(self.settings, world.log, Event())
        actions = Actions(world.log, world.topics, self.commands, lambda: NOW)
        self.parts: ConsoleParts = replace(made, actions=actions)
        self.parts.items.read(world.records(world.topics.items))
        self.app = create_app(self.parts)

    def browser(self, key: str | None = None) -> TestClient:
        """A browser, signed in if it has a key."""
        made = TestClient(self.app, base_url="http://127.0.0.1")
        if key is not None:
            assert made.post("/sign-in", data={"key": key}).status_code == 200
        return made

    def records(self) -> list[ControlRecord]:
        """The history."""
        return [entry.record for entry in read_history(self.parts.event_log, self.parts.topics)]


def token_in(page: Any) -> str:
    """The token that the forms of a page carry."""
    found = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert found is not None
    return found[1]


def send(browser: TestClient, path: str, **fields: str) -> Any:
    """Send a form as the page does, with its token."""
    return browser.post(path, data={"csrf": token_in(browser.get("/change")), **fields})
