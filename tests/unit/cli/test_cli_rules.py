"""Rules by command: checked, put, listed, shown, removed, and tried without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from pipeline.config import load_settings
from pipeline.errors import InvalidSettings
from pipeline.snapshots.publisher import Publication
from tests.support.commands import misused, run
from tests.support.model_harness import COLOURS, THINGS, ModelHarness

RULES = """
[[rules]]
name = "first"
action = "pin"
item = "green-lamp"
place = 1

[[rules]]
name = "no-red"
action = "leave_out"
items = { categories = ["red"] }
enabled = false
"""

OF_FEW_ITEMS = [
    {"name": "filter", "action": "leave_out", "items": {"attributes": [{"name": "price", "equals": "5"}]}},
    {"name": "cap", "action": "cap", "most": 1, "attribute": "brand"},
    {"name": "pin", "action": "pin", "item": "no-such-item", "place": 1},
    {"name": "some", "action": "keep", "items": {"ids": ["green-lamp", "no-such-item"]}},
]


@pytest.fixture
def file(folder: Path) -> str:
    (folder / "rules.toml").write_text(RULES)
    return "rules.toml"


@pytest.fixture(autouse=True)
def harness(folder: Path) -> Iterator[ModelHarness]:
    with ModelHarness(load_settings()) as harness:
        yield harness


def test_rules_are_put_listed_shown_and_removed(file: str, harness: ModelHarness) -> None:
    assert "there are no rules" in run("rules", "list").output
    assert "2 rules added to" in run("rules", "put", file).output
    listed = run("rules", "list").output
    assert "first" in listed and "leave_out (off)" in listed
    assert orjson.loads(run("rules", "show", "first").output) == {
        "name": "first",
        "action": "pin",
        "item": "green-lamp",
        "place": 1,
    }
    run("rules", "remove", "first")
    assert "first" not in run("rules", "list").output
    assert "the nearest is 'no-red'" in misused("rules", "show", "nored")
    assert "there is no rule" in misused("rules", "remove", "first")


def test_a_check_writes_nothing(file: str, harness: ModelHarness) -> None:
    assert "2 rules read, no fault" in run("rules", "check", file).output
    Path(file).write_text(RULES[: RULES.rindex("[[rules]]")])
    assert run("rules", "check", file).output == "1 rule read, no fault\n"
    Path(file).write_text(RULES.replace("place = 1", "place = 0"))
    with pytest.raises(InvalidSettings, match="rule 1 .first.: place"):
        run("rules", "put", file)
    assert harness.records(harness.topics.rules) == []


def test_a_dry_run_shows_what_would_change(file: str, harness: ModelHarness) -> None:
    for colour in ("red", "green"):
        for thing in ("cup", "lamp", "plate"):
            harness.upsert(f"{colour}-{thing}", f"{colour} {thing}")
    harness.shop(20)
    with harness.learning() as learning:
        learning.catch_up()
        users = {user: end for batch in learning.learned for user, end in batch.users.items()}
        histories = {user: (learning.learner.stream.histories.of(user), end) for user, end in users.items()}
        harness.publisher(keep=1).publish(Publication(learning.update(), histories, [], []))
    before = harness.log.end_offsets([harness.topics.rules, harness.topics.impressions])
    found = orjson.loads(run("rules", "dry-run", file, "--json", "--answers", "2").output)
    assert found["answers"] == found["changed"] == 2
    assert found["applied"] == {"first": 2, "no-red": 0}
    assert found["matches"] == {"first": 1}
    assert found["entered"].get("green-lamp", 0) + found["moved"].get("green-lamp", 0) == 2
    assert harness.log.end_offsets([harness.topics.rules, harness.topics.impressions]) == before
    assert found["emptied"] == found["emptied_users"] == 0
    shown = run("rules", "dry-run", file, "--answers", "2").output
    assert "2 requests asked again: 2 answers" in shown and "WARNING" not in shown
    Path("none.json").write_text(orjson.dumps({"rules": OF_FEW_ITEMS}).decode())
    found = orjson.loads(run("rules", "dry-run", "none.json", "--json").output)
    assert found["matches"] == {"filter": 0, "cap": 0, "pin": 0, "some": 1}
    assert "no item of the catalogue" in run("rules", "dry-run", "none.json").output
    every = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
    nothing = {"name": "nothing", "action": "leave_out", "items": {"ids": every}}
    Path("nothing.json").write_text(orjson.dumps({"rules": [nothing]}).decode())
    shown = run("rules", "dry-run", "nothing.json", "--answers", "2").output
    assert "WARNING: 2 answers would become empty, of 2 users" in shown
