"""The README tells the truth: its lists are complete and its code runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from typer.core import TyperGroup
from typer.main import get_command

from pipeline import cli, metrics
from pipeline.config import Settings, to_toml

README = (Path(__file__).parents[1] / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_it_lists_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_toml(Settings()) in _blocks("toml")


def test_it_lists_every_metric() -> None:
    assert metrics.EVENTS  # declared by the import
    declared = {family.name for family in REGISTRY.collect() if family.name.startswith("millstream_")}
    listed = {name.removesuffix("_total") for name in re.findall(r"`(millstream_\w+)`", README)}
    assert declared == listed


def test_it_lists_every_command() -> None:
    names = set(_commands(get_command(cli.app)))
    listed = set(re.findall(r"^\| `millstream ([a-z]+(?: [a-z]+)?)", README, flags=re.MULTILINE))
    assert names == listed


def _commands(command: object, *path: str) -> Iterator[str]:
    if not isinstance(command, TyperGroup):
        yield " ".join(path)
        return
    for name, part in command.commands.items():
        yield from _commands(part, *path, name)


@pytest.mark.parametrize("code", _blocks("python"))
def test_its_code_runs(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # our own file, run as a reader would run it
