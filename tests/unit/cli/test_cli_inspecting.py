"""The inspect command: what it shows, what it writes, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import fails, misused, run

CSV = "customer,sku,action,when,name\n1,a,addtocart,2024-01-01,Mug\n2,b,view,2024-01-02,Cup\n"


def test_a_guessed_mapping_is_shown_written_and_used(folder: Path) -> None:
    (folder / "acts.csv").write_text(CSV)
    result = run("inspect", "acts.csv", "--write", "mapping.toml")
    assert result.exit_code == 0
    assert "guessed, check it" in result.output and '"title":"Mug"' in result.output
    assert "2 items and 2 interactions" in result.output
    assert 'addtocart = "cart"' in (folder / "mapping.toml").read_text()
    assert "2 events in" in run("backtest", "acts.csv", "--mapping", "mapping.toml").output
    assert "Mapping (mapped)" in run("inspect", "acts.csv", "--mapping", "mapping.toml").output


def test_a_catalogue_is_inspected_and_loaded_by_the_mapping_that_was_written(folder: Path) -> None:
    (folder / "products.csv").write_text("sku,name,price\n1,Mug,3.5\n2,Cup,1.25\n")
    result = run("inspect", "products.csv", "--write", "catalogue.toml")
    assert "The first rows become 2 items." in result.output and "│ sku    │ item " in result.output
    assert "give it to items load with --mapping catalogue.toml" in result.output
    assert run("topics", "create").exit_code == 0
    assert "2 items added" in run("items", "load", "products.csv", "--mapping", "catalogue.toml").output


def test_drops_and_warnings_are_shown(folder: Path) -> None:
    (folder / "acts.csv").write_text(CSV + "3,c,pondered,2024-01-03,Pot\n")
    output = run("inspect", "acts.csv").output
    assert "dropped 1 row: action is no type that [types] names (the first at acts.csv:4)" in output
    assert "warning: action has values that are no known type, and are left out: pondered" in output


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2\n", "no column looks like the user or the item"),
        (CSV.replace("2024-01-0", "01/02/202"), "say --dates day-first or month-first"),
    ],
)
def test_what_cannot_be_known_is_asked_and_nothing_is_written(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
    reason: str,
) -> None:
    (folder / "acts.csv").write_text(content)
    assert reason in fails(monkeypatch, capsys, "inspect", "acts.csv", "--write", "mapping.toml")
    assert not (folder / "mapping.toml").exists()


def test_a_mapping_that_cannot_be_written_is_an_error_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "acts.csv").write_text(CSV)
    error = fails(monkeypatch, capsys, "inspect", "acts.csv", "--write", "no/mapping.toml")
    assert "the mapping cannot be written to no/mapping.toml" in error


def test_the_mapping_is_not_written_over_the_data(folder: Path) -> None:
    (folder / "acts.csv").write_text(CSV)
    assert "acts.csv is read, or written twice" in misused("inspect", "acts.csv", "--write", "acts.csv")
    assert (folder / "acts.csv").read_text() == CSV
