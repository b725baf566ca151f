"""What is known of a user is shown: the published history, and what came since."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.config import Settings
from pipeline.errors import DatasetError
from pipeline.events import InteractionType, User, encode
from pipeline.snapshots.history_records import history_record
from pipeline.state.histories import Act
from tests.support.commands import misused, run
from tests.support.model_harness import ModelHarness


def publish(harness: ModelHarness, user: str, *items: str, offset: int) -> None:
    acts = tuple(Act(item, InteractionType.VIEW, 5) for item in items)
    harness.writer.append(harness.topics.histories, user, history_record(user, acts, offset))
    harness.writer.flush()


def test_the_published_history_and_later_acts_are_shown_with_titles(settings: Settings) -> None:
    with ModelHarness(settings) as harness:
        harness.upsert("mug", "White mug")
        harness.act("ann", "mug", "cup")
        publish(harness, "ann", "old", offset=1)
        publish(harness, "ann", "mug", "cup", offset=2)
        publish(harness, "bob", "plate", offset=0)
        harness.act("ann", "plate", event_id="last")
        harness.act("ann", "plate", event_id="last")
    shown = orjson.loads(run("users", "show", "ann").output)
    assert [(act["item"], act["title"]) for act in shown["published"]] == [
        ("mug", "White mug"),
        ("cup", None),
    ]
    assert [(act["item"], act["type"]) for act in shown["since"]] == [("plate", "purchase")]


def test_acts_are_shown_before_anything_is_published(settings: Settings) -> None:
    with ModelHarness(settings) as harness:
        harness.act("ann", "mug")
    assert [act["item"] for act in orjson.loads(run("users", "show", "ann").output)["since"]] == ["mug"]


def test_a_user_of_whom_nothing_is_known_is_said(settings: Settings) -> None:
    with ModelHarness(settings):
        assert "nothing is known of a user 'ann'" in misused("users", "show", "ann")


def test_attributes_are_shown_as_they_were_sent_last(settings: Settings) -> None:
    with ModelHarness(settings) as harness:
        for country in ("DE", "FR"):
            user = User(user="ann", attributes={"country": country})
            harness.writer.append(harness.topics.users, "ann", encode(user))
        harness.writer.flush()
    assert orjson.loads(run("users", "show", "ann").output)["attributes"] == {"country": "FR"}


def test_users_are_listed_and_removed_after_a_question(settings: Settings) -> None:
    with ModelHarness(settings) as harness:
        publish(harness, "ann", "mug", offset=0)
        harness.writer.append(harness.topics.users, "bob", encode(User(user="bob", attributes={"age": 5})))
        harness.writer.flush()
    page = run("users", "list").output
    assert "2 users" in page and "ann" in page and "bob" in page
    assert CliRunner().invoke(cli.app, ["users", "remove", "ann"], input="n\n").exit_code == 1
    assert "2 users" in run("users", "list").output
    assert (
        run("users", "remove", "ann", "--yes", "--reason", "she asked").output
        == "ann is removed, until the next act: then the history comes back\n"
    )
    assert "a user 'ann' has no attributes and no published history" in misused("users", "remove", "ann")
    assert "1 users" not in run("users", "list").output
    assert "ann" not in run("users", "list").output
    assert "nothing is known" in misused("users", "show", "ann")
    listed = run("history").output
    assert listed.count("user removed") == 1 and "she asked" in listed and "ann" not in listed


def test_users_are_loaded_and_found(settings: Settings, tmp_path: Path) -> None:
    lines = [{"user": "ann", "attributes": {"tier": "Gold", "age": 41}}, {"user": "bob", "attributes": {}}]
    file = tmp_path / "users.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    with ModelHarness(settings):
        assert "2 users added" in run("users", "load", str(file)).output
        assert orjson.loads(run("users", "show", "ann").output)["attributes"] == {"tier": "Gold", "age": 41}
        found = run("users", "search", "gold", "ANN").output
        assert "1 user" in found and "1 users" not in found and "bob" not in found
        assert "0 users" in run("users", "search", "silver").output


@pytest.mark.parametrize("line", ["{", '{"user": 5}', '{"user": "ann", "tier": "gold"}', '{"item": "a"}'])
def test_nothing_of_a_file_with_a_bad_line_is_loaded(settings: Settings, tmp_path: Path, line: str) -> None:
    file = tmp_path / "users.jsonl"
    file.write_text(f'{{"user": "bob"}}\n{line}\n')
    with ModelHarness(settings) as harness:
        with pytest.raises(DatasetError, match=r"users\.jsonl:2"):
            run("users", "load", str(file))
        assert harness.records(harness.topics.users) == []


def test_users_are_loaded_from_rows_that_a_mapping_describes(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text("id,tier\nann,gold\nann,silver\nbob,\n")
    (tmp_path / "crm.toml").write_text('[users]\nuser = "id"\nattributes = { tier = "tier" }\n')
    with ModelHarness(settings):
        loaded = run("users", "load", str(tmp_path / "crm.csv"), "--mapping", str(tmp_path / "crm.toml"))
        assert "dropped 1 row: a user without attributes (the first at" in loaded.output
        assert "1 user added to" in loaded.output
        assert orjson.loads(run("users", "show", "ann").output)["attributes"] == {"tier": "silver"}


def test_rows_that_cannot_be_read_are_dropped_where_the_mapping_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    rows, mapping = tmp_path / "crm.csv", tmp_path / "crm.toml"
    rows.write_text("id,age\nann,41\n,7\nid,age\nbob,old\ncid,9\n")
    users = '[users]\nuser = "id"\nattributes = { age = { column = "age", kind = "number" } }\n'
    load = ("users", "load", str(rows), "--mapping", str(mapping))
    mapping.write_text(users)
    with ModelHarness(settings) as harness:
        with pytest.raises(DatasetError, match=r"crm\.csv:5: age 'old'"):
            run(*load)
        assert harness.records(harness.topics.users) == []
        mapping.write_text('invalid = "drop"\n' + users)
        output = "".join(run(*load).output.split("\n"))
        assert [record.key for record in harness.records(harness.topics.users)] == ["ann", "cid"]
    for reason in ("a user without id", "the header again", "age"):
        assert f"dropped 1 row: {reason}" in output
    assert "2 users added to" in output


def test_a_file_in_which_nobody_is_described_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text("id,tier\nann,\n")
    (tmp_path / "crm.toml").write_text('[users]\nuser = "id"\nattributes = { tier = "tier" }\n')
    with ModelHarness(settings), pytest.raises(DatasetError, match="not one row became a user"):
        run("users", "load", str(tmp_path / "crm.csv"), "--mapping", str(tmp_path / "crm.toml"))


def test_the_line_of_a_user_that_is_too_large_is_named(settings: Settings, tmp_path: Path) -> None:
    large = {"user": "ann", "attributes": {f"a{number}": ["ü" * 500] * 64 for number in range(64)}}
    file = tmp_path / "users.jsonl"
    file.write_bytes(b'{"user": "bob"}\n' + orjson.dumps(large) + b"\n")
    with ModelHarness(settings) as harness:
        with pytest.raises(DatasetError, match=r"users\.jsonl:2: event: larger than"):
            run("users", "load", str(file))
        assert harness.records(harness.topics.users) == []
