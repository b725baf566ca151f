"""Command lines of the docs, checked against what they call, without running them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from typer.core import TyperGroup
from typer.main import get_command

from docs.openapi import gateway, server
from pipeline import cli
from pipeline.config import GatewayConfig, load_settings
from tests.support.documents import ROOT

OPERATORS = {"|", "&", "&&", ";"}
ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")
NEVER_FOUND, NO_ROUTE = 404, "there is no such route: /docs lists them"
NO_SUCH_METHOD = 405
PLACEHOLDERS = {"…", "COMMAND"}
KNOWN_PROGRAMS = {"printf", "kafka-console-producer.sh", "source", "git", "cd"}
"""Other people's programs: nothing of ours to check them against."""


def check_line(line: str) -> None:
    """Fail unless everything that a line of shell calls exists as it is called."""
    for program, *arguments in _calls(line):
        name = Path(program).name
        if name not in KNOWN_PROGRAMS:
            check = CHECKS.get(name)
            assert check is not None, f"no check knows the program {program!r}"
            check(arguments)


def command_paths() -> set[str]:
    """All our commands, such as ``topics create``."""
    return set(_leaves(get_command(cli.app)))


def options_of(path: str) -> set[str]:
    """Long options of a command, without its help."""
    command = _command(path.split())[0]
    names = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    return names - {"--help"}


def check_mention(words: str) -> None:
    """Fail unless a command exists with the options that a sentence names; values are not looked at."""
    command, _ = _command(words.split()[1:])
    known = {name for parameter in command.params for name in parameter.opts}
    for option in re.findall(r"--[a-z-]+", words):
        assert option in known | {"--help"}, f"{words}: there is no option {option}"


def make_targets() -> set[str]:
    """The targets that ``make help`` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def _calls(line: str) -> Iterator[list[str]]:
    """Programs and arguments of a line; variables set before a program are tried on the settings."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word in OPERATORS:
            if call:
                yield call
            call = []
        elif not call and ASSIGNMENT.match(word):
            check_variable(word)
        else:
            call.append(word)


def check_variable(assignment: str) -> None:
    """Fail unless a variable of ours, given as ``NAME=value``, is a setting."""
    name, _, value = assignment.partition("=")
    if name.startswith("MILLSTREAM_") and "__" in name:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            load_settings()


def _millstream(arguments: list[str]) -> None:
    """Parse as the command line does; a usage error fails."""
    command, rest = _command(arguments)
    assert not isinstance(command, TyperGroup), f"{arguments}: a command is missing"
    command.make_context(command.name, rest)


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, and the words after its name."""
    program: Any = get_command(cli.app)
    command, rest = program, list(words)
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    is_known = not isinstance(command, TyperGroup) or not rest or rest[0] in PLACEHOLDERS
    is_known = is_known or (command is program and rest[0].startswith("--"))
    assert is_known, f"there is no command {' '.join(words)!r}"
    return command, rest


def _leaves(command: Any, *path: str) -> Iterator[str]:
    if not isinstance(command, TyperGroup):
        yield " ".join(path)
        return
    for name, part in command.commands.items():
        yield from _leaves(part, *path, name)


def _make(arguments: list[str]) -> None:
    targets = [word for word in arguments if "=" not in word]
    variables = {word.partition("=")[0] for word in arguments if "=" in word}
    assert set(targets) <= make_targets(), f"make: no target among {targets}"
    declared = set(re.findall(r"^([A-Z]+) [?:]=", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert variables <= declared, f"make: no variable among {variables}"


def _python(arguments: list[str]) -> None:
    """Fail unless a script or a module of ours is there; its options must occur in its source."""
    if arguments[:2] == ["-m", "pytest"]:
        _pytest(arguments[2:])
        return
    if arguments[0] == "-m":
        path = arguments[1].replace(".", "/")
        is_package = (ROOT / path).is_dir()
        arguments = [f"{path}/__main__.py" if is_package else f"{path}.py", *arguments[2:]]
    script = ROOT / arguments[0]
    source = script.read_text()
    for option in (word for word in arguments if word.startswith("--")):
        parameter = option.removeprefix("--").replace("-", "_")  # typer makes the one of the other
        assert option in source or f"{parameter}: " in source, f"{script.name}: no {option}"


def _pytest(arguments: list[str]) -> None:
    for word in arguments:
        assert word.startswith("-") or (ROOT / word).exists(), f"pytest: {word} is not there"


def _curl(arguments: list[str]) -> None:
    """The route must exist, at the server or at the gateway; there is no log, so any other answer is fine."""
    method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "GET"
    body = arguments[arguments.index("-d") + 1] if "-d" in arguments else None
    (url,) = (urlsplit(word) for word in arguments if word.startswith("http"))
    client = TestClient(gateway() if url.port == GatewayConfig().port else server())
    named = [arguments[place + 1] for place, word in enumerate(arguments) if word == "-H"]
    headers = {"Content-Type": "application/json", **dict(header.split(": ", 1) for header in named)}
    answer = client.request(method, f"{url.path}?{url.query}", content=body, headers=headers)
    is_unknown = answer.status_code == NEVER_FOUND and answer.json()["detail"] == NO_ROUTE
    assert not is_unknown, f"{method} {url.path}: no such route"
    assert answer.status_code not in {NO_SUCH_METHOD, 422}, f"{method} {url.path}: {answer.text}"


def _npm(arguments: list[str]) -> None:
    """Fail unless a script of the TypeScript client is called, or one that npm itself has."""
    scripts = json.loads((ROOT / "clients" / "typescript" / "package.json").read_text())["scripts"]
    if arguments[0] == "run":
        arguments = arguments[1:]
    assert arguments[0] in {"ci", *scripts}, f"npm: no script {arguments[0]}"


def _pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    assert (ROOT / arguments[1] / "pyproject.toml").exists(), f"pip: {arguments[1]} is no distribution"


def _docker(arguments: list[str]) -> None:
    assert arguments[0] == "compose"
    assert (ROOT / arguments[arguments.index("-f") + 1]).exists()


def _file_of_ours(path: str) -> Callable[[list[str]], None]:
    def check(_: list[str]) -> None:
        assert (ROOT / path).exists(), f"{path} is not there"

    return check


CHECKS: Mapping[str, Callable[[list[str]], None]] = {
    "millstream": _millstream,
    "make": _make,
    "python": _python,
    "pytest": _pytest,
    "curl": _curl,
    "docker": _docker,
    "npm": _npm,
    "pip": _pip,
    "run": _file_of_ours(".ci/run"),
    "pre-commit": _file_of_ours(".pre-commit-config.yaml"),
}
