"""The reference pages are complete, and what pages mention exists."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from docs.generate import settings_page
from docs.openapi import gateway, server
from pipeline import errors, metrics
from pipeline.config import Settings
from tests.support.documents import DOCS, ROOT, inline_code, name_of, pages, table_rows
from tests.support.shell_lines import (
    check_line,
    check_mention,
    check_variable,
    command_paths,
    make_targets,
    options_of,
)

MOST_README_WORDS = 1_200


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_README_WORDS


def test_the_version_is_that_of_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert [name for name, _ in headings][:2] == ["Unreleased", version]
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", headings[1][1])


def test_the_clients_have_the_version_of_the_product() -> None:
    clients = ROOT / "clients"
    python = tomllib.loads((clients / "python" / "pyproject.toml").read_text())["project"]["version"]
    typescript = json.loads((clients / "typescript" / "package.json").read_text())["version"]
    locked = json.loads((clients / "typescript" / "package-lock.json").read_text())["version"]
    product = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {python, typescript, locked} == {product}


def test_the_settings_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_LOG__PARTITIONS", "3")  # a default is a default in any environment
    assert (DOCS / "settings.md").read_text() == settings_page(Settings), "run `make settings`"


def test_every_command_is_listed_with_its_options() -> None:
    rows = [row for row in table_rows(DOCS / "commands.md") if row[0].startswith("`millstream ")]
    listed = {
        " ".join(re.findall(r"[a-z-]+", row[0])[1:]): set(re.findall(r"--[a-z-]+", row[1])) for row in rows
    }
    assert listed == {path: options_of(path) for path in command_paths()}


def test_every_target_of_make_is_listed() -> None:
    listed = [row[0] for row in table_rows(DOCS / "commands.md", heading="## make")]
    assert {name.strip("`").removeprefix("make ") for name in listed} == make_targets() - {"help"}


def test_every_metric_is_listed_with_its_labels() -> None:
    assert metrics.EVENTS  # declared by the import
    declared = {
        (metric._name + ("_total" if metric._type == "counter" else ""), metric._type, metric._labelnames)
        for metric in set(REGISTRY._collector_to_names)
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("millstream_")
    }
    listed = {
        (series.strip("`"), kind, tuple(re.findall(r"\w+", labels)))
        for series, kind, labels, _ in table_rows(DOCS / "metrics.md")
    }
    assert listed == declared


APPS = {"http-api.md": server(), "gateway.md": gateway()}
"""The pages that describe an HTTP interface, each with its application."""


@pytest.mark.parametrize("page", APPS)
def test_every_route_is_listed(page: str) -> None:
    documented = APPS[page].openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, routes in documented.items() for method in routes}
    listed = {row[0].strip("`") for row in table_rows(DOCS / page) if "/v1/" in row[0] or "GET /" in row[0]}
    assert listed == served


@pytest.mark.parametrize("page", APPS)
def test_every_status_of_an_error_is_listed(page: str) -> None:
    operations = [one for routes in APPS[page].openapi()["paths"].values() for one in routes.values()]
    declared = {status for one in operations for status in one["responses"] if status >= "400"}
    text = (DOCS / page).read_text()
    rows = re.findall(r"^\| ([0-9, ]+) \|", text[text.index("## Errors") :], flags=re.MULTILINE)
    listed = {status for row in rows for status in row.split(", ")}
    assert listed == declared | {"404", "405"}, "these are the framework's, too, and belong to no route"


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("pipeline.", "") for layer in contracts[0]["layers"]]
    page = (DOCS / "architecture.md").read_text()
    drawn = page[page.index("## Arrows") :].split("```")[1].splitlines()[1:]
    assert [_rooms(line.partition("(")[0]) for line in drawn] == [_rooms(layer) for layer in layers]


def _rooms(layer: str) -> set[str]:
    return {room.strip() for room in layer.split("|")}


@pytest.mark.parametrize("package", ["pipeline", "consumers", "producers"])
def test_every_room_is_on_the_map(package: str) -> None:
    drawn = (DOCS / "architecture.md").read_text().split("```")[1]
    rooms = [path.stem for path in (ROOT / package).iterdir() if not path.name.startswith("_")]
    assert [room for room in rooms if not re.search(rf"\b{room}(/|\.py)", drawn)] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_within_sentences_exist(page: Path) -> None:
    for code in inline_code(page):
        if code.startswith("millstream "):
            check_mention(code)
        elif code.startswith(("make ", "python ", "pytest ")):
            check_line(re.sub(r"<[^>]*>", "PLACE", code))


@pytest.mark.parametrize("page", [page for page in pages() if page.name != "settings.md"], ids=name_of)
def test_settings_within_sentences_exist(page: Path) -> None:
    for code in inline_code(page):
        if re.fullmatch(r"MILLSTREAM_\w+=.+", code):
            check_variable(code)
        table, _, keys = code.strip("[]").partition(".")
        if code.startswith("["):
            assert table in Settings.model_fields, f"there is no table {code}"
        elif table in Settings.model_fields and re.fullmatch(r"[a-z_.]+", keys) and keys not in ENDINGS:
            _check_key(code)


ENDINGS = {"py", "safetensors"}
"""Of names of files."""


def _check_key(dotted: str) -> None:
    value: object = Settings.model_construct()
    for part in dotted.split("."):
        assert hasattr(value, part), f"there is no setting {dotted}"
        value = getattr(value, part)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_paths_within_sentences_exist(page: Path) -> None:
    roots = (
        "pipeline/",
        "consumers/",
        "producers/",
        "examples/",
        "tests/",
        "deploy/",
        "benchmarks/",
        "docs/",
    )
    mentioned = {code for code in inline_code(page) if code.startswith(roots) and " " not in code}
    modules = {path for path in mentioned if (ROOT / f"{path}.py").exists()}
    assert [path for path in sorted(mentioned - modules) if not (ROOT / path).exists()] == []


def test_the_errors_that_operators_look_up_exist() -> None:
    ours = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    symptoms = [row[0] for row in table_rows(DOCS / "operations.md", heading="## Something is wrong")]
    named = {found[1] for symptom in symptoms if (found := re.match(r"`([A-Z]\w+)", symptom))}
    assert named and named <= ours
