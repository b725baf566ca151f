"""A file of rules is read whole, or each of its faults is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InvalidSettings
from pipeline.rules.files import read_rules
from tests.support.rules import rule

TOML = """
[[rules]]
name = "a"
action = "pin"
item = "mug"
place = 1
when = { starts = 2026-12-01T00:00:00+01:00 }
[[rules]]
name = "b"
action = "cap"
most = 2
"""
JSON = '{"rules": [{"name": "b", "action": "cap", "most": 2}]}'


def test_toml_and_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(TOML)
    (tmp_path / "rules.json").write_text(JSON)
    pin, cap = read_rules(tmp_path / "rules.toml")
    assert pin == rule("a", "pin", item="mug", place=1, when={"starts": 1_796_079_600_000})
    assert read_rules(tmp_path / "rules.json") == [cap]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[[rules]", ["cannot be parsed"]),
        ("", ["is empty: it must have a list `rules`"]),
        ("\x00", ["cannot be parsed"]),
        ("rules = []", ["must have 1 to 500 rules"]),
        ("rules = {}", ["must have a list `rules`"]),
        (TOML + "[other]\n", ["must have a list `rules` and nothing else"]),
        (TOML.replace("b", "a").replace("caa", "cap"), ["a is there twice"]),
        (
            TOML.replace("most = 2", "most = 0").replace("place = 1", "place = true"),
            ["rule 1 (a): place", "rule 2 (b): most"],
        ),
        (TOML.replace("+01:00", ""), ["rule 1 (a): when.starts: has no time zone"]),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, faults: list[str]) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        read_rules(path)
    for fault in faults:
        assert fault in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="nowhere.toml: cannot be read"):
        read_rules(tmp_path / "nowhere.toml")
