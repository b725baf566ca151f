"""House rules that no linter knows: sizes of functions and rooms, docstrings, and names that are gone."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel

from consumers.serve import schemas
from pipeline import events, metrics
from pipeline.config import Settings, to_toml

ROOT = Path(__file__).parents[1]
PRODUCT = ("pipeline", "consumers", "producers", "clients/python")
FOREIGN = {"rich.live.Live", "optuna.Trial"}
"""Names of libraries that happen to be old names of ours."""
OTHERWISE = {"benchmarks/growth.py", "benchmarks/frozen.py"}
"""Modules for which an old name is the right one: that costs grow, not that a model is grown; that a state
stands still while it is tested, not what a checkpoint has."""

OLD_IDENTIFIERS = re.compile(
    r"\w+Shape|Frozen|Tape|tape|told|tell|untold|_told|_tell|Workshop|workshop|Office|office|Overseer"
    r"|overseer|OrderBook|Plan|contest|Contest|Ground|ground|Trial|Judgement|judgement|void|Speaker|speaker"
    r"|take_over|Descent|descent|_replay|Opinions|opinions|Verdicts|verdicts|Memory|memory"
    r"|memory_(base|recent|scale|half_life|partners)|Desk|desk|Shelf|Wish|wish|Base|Live|Texts|Listing|Standing|take_in|Handover|handover"
    r"|places|amounts|Mill|mill|Life|life"
)
OLD_MODULES = re.compile(
    r"durable|stopping|wire|guards|tape|overseer|speaker|contest|frozen|growth|descent|desk|shelf|mill|life"
    r"|workshop|opinions|again|texts"
)
OLD_WORDS = re.compile(
    r"\b(told|untold|anew|lest|whoever|overseer|order book|opinions?|wish(es)?|desk|speaker|judgements?"
    r"|contest|workshop|office|handover|retold)\b",
    re.IGNORECASE,
)


def _modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions() -> Iterator[tuple[str, Function]]:
    for path, tree in _modules(*PRODUCT):
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path}:{node.name}", node


def _lines(function: Function) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _nesting(node: ast.AST) -> int:
    deeper = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)
    inside = [part for part in ast.iter_child_nodes(node) if not isinstance(part, Function | ast.ClassDef)]
    return max((_nesting(part) + isinstance(part, deeper) for part in inside), default=0)


def test_functions_are_short_and_flat() -> None:
    sizes = {name: _lines(function) for name, function in _functions()}
    ordered = sorted(sizes.values())
    assert statistics.median(ordered) <= 6
    assert ordered[int(0.9 * len(ordered))] <= 15
    assert not {name: lines for name, lines in sizes.items() if lines > 50}
    assert not [name for name, function in _functions() if _nesting(function) > 4]


def test_every_function_says_what_it_returns() -> None:
    assert not [name for name, function in _functions() if function.returns is None]


def test_everything_public_has_a_docstring() -> None:
    lacking = []
    for path, tree in _modules(*PRODUCT):
        lacking += [str(path)] if not ast.get_docstring(tree) else []
        lacking += [f"{path}:{name}" for name in _undocumented(tree)]
    assert not lacking


def _undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in parent.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(node)


def test_no_room_holds_more_than_a_fifth_of_the_product() -> None:
    rooms: dict[Path, int] = {}
    for path, _ in _modules(*PRODUCT):
        room = Path(*path.parts[: min(2, len(path.parts) - 1)])
        rooms[room] = rooms.get(room, 0) + len((ROOT / path).read_text().splitlines())
    assert not {room: lines for room, lines in rooms.items() if lines > sum(rooms.values()) / 5}


def _identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Name(id=name):
                yield name


def test_old_names_are_gone_from_the_code() -> None:
    found: dict[str, set[str]] = {}
    for path, tree in _modules(*PRODUCT, "tests", "benchmarks", "deploy", "examples"):
        foreign = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if f"{node.module}.{alias.name}" in FOREIGN
        }
        old = {name for name in _identifiers(tree) if OLD_IDENTIFIERS.fullmatch(name)} - foreign
        if OLD_MODULES.fullmatch(path.stem) and str(path) not in OTHERWISE:
            old.add(path.stem)
        if old:
            found[str(path)] = old
    assert not found


def _public_names() -> Iterator[str]:
    for schema in [*vars(schemas).values(), *vars(events).values()]:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            yield from schema.model_fields
    yield from re.findall(r"^\[?([\w.]+)", to_toml(Settings()), flags=re.MULTILINE)
    assert metrics.EVENTS  # declared by the import
    yield from (family.name for family in REGISTRY.collect() if family.name.startswith("millstream_"))


def test_old_names_are_gone_from_settings_http_and_metrics() -> None:
    parts = {part for name in _public_names() for part in name.split(".")}
    assert not {part for part in parts if OLD_IDENTIFIERS.fullmatch(part)}


@pytest.mark.parametrize("folder", PRODUCT)
def test_old_words_are_gone_from_the_prose(folder: str) -> None:
    found = {}
    for path, tree in _modules(folder):
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
        if words := {match[0] for text in texts for match in OLD_WORDS.finditer(text)}:
            found[str(path)] = words
    assert not found


def test_old_words_are_gone_from_the_docs() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
    found = {
        page.name: {m[0] for m in OLD_WORDS.finditer(page.read_text())} for page in pages if page.exists()
    }
    assert not {name: words for name, words in found.items() if words}
