"""Every block of README and docs is executed or checked; none escapes."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest

from consumers.serve.schemas import (
    AnonymousHistory,
    PredictedRating,
    Ranking,
    Readiness,
    Recommendations,
    ScoreExplanation,
)
from pipeline.config import load_settings
from pipeline.datasets.mapping import Mapping as DataMapping
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, Interaction, ItemChange, User, decode, decode_item
from pipeline.http.problems import Problem
from pipeline.rules.rule import decode_rule
from pipeline.state.outcome_record import OutcomeRecord
from producers.bridge.event_ids import of_place
from producers.bridge.record_mapper import RecordMapper
from producers.gateway.schemas import Receipt
from tests.support.commands import run
from tests.support.documents import ROOT, Block, blocks, name_of, pages
from tests.support.gateway_harness import GatewayHarness
from tests.support.shell_lines import check_line

ALL_BLOCKS = [block for page in pages() for block in blocks(page)]
FENCE = "```"


def _of(language: str) -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language == language]


def _ids(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_block_escapes(page: Path) -> None:
    text = page.read_text()
    assert text.count(FENCE) == 2 * len(blocks(page)), "a fence is indented, or never closed"
    assert "~~~" not in text
    outside = re.sub(rf"^{FENCE}.*?^{FENCE}$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"\n\n(    |\t)(?![-*\d])", outside), "indented code: use a fence"


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=_ids)
def test_every_kind_is_known(block: Block) -> None:
    assert block.language in {"sh", "python", "typescript", "toml", "json", "text"}


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.runs], ids=_ids)
def test_what_is_marked_to_run_is_ours(block: Block) -> None:
    assert block.language == "sh"
    assert all(command.startswith("millstream ") for command in block.commands)


@pytest.mark.parametrize("block", _of("sh"), ids=_ids)
def test_commands_exist_as_they_are_called(block: Block) -> None:
    assert block.commands
    for line in block.commands:
        check_line(line)


@pytest.mark.parametrize("page", [p for p in pages() if any(b.runs for b in blocks(p))], ids=name_of)
def test_the_marked_commands_of_a_page_run(page: Path, folder: Path) -> None:
    for block in (block for block in blocks(page) if block.runs):
        for line in block.commands:
            result = run(*shlex.split(line)[1:])
            assert result.exit_code == 0, f"{block.place}: {line}: {result.output}"
            assert result.output or line.startswith("millstream play"), f"{block.place}: {line} says nothing"


@pytest.mark.parametrize(
    "page", [p for p in pages() if any(b.language == "python" for b in blocks(p))], ids=name_of
)
def test_the_python_of_a_page_runs(page: Path, folder: Path, services: GatewayHarness) -> None:
    run("topics", "create")
    for block in (block for block in blocks(page) if block.language == "python"):
        exec(compile(block.text, block.place, "exec"), {})  # our own page, run as a reader would run it


def test_what_the_producer_of_the_docs_prints_is_what_the_docs_show(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("topics", "create")
    (python,) = [block for block in _of("python") if "open_log" in block.text]
    exec(compile(python.text, python.place, "exec"), {})
    shown = [orjson.loads(block.text) for block in _of("json")]
    assert orjson.loads(capsys.readouterr().out) in shown


def test_the_clients_of_the_docs_do_what_they_say(
    services: GatewayHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    with_client, with_async = [block for block in _of("python") if "millstream_client" in block.text]
    exec(compile(with_client.text, with_client.place, "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5
    (click,) = services.interactions()
    assert click.item == "85123A"
    exec(compile(with_async.text, with_async.place, "exec"), {})
    assert capsys.readouterr().out.endswith("] 1\n")
    (change,) = services.catalogue()
    assert isinstance(change, ItemChange) and not change.available


def test_the_shop_of_the_docs_can_be_played() -> None:
    (block,) = [block for block in _of("python") if "ShopEnvironment" in block.text]
    names: dict[str, object] = {}
    exec(compile(block.text, block.place, "exec"), names)
    assert names["left"] is True


@pytest.mark.parametrize("block", _of("typescript"), ids=_ids)
def test_typescript_is_part_of_the_example(block: Block) -> None:
    """An end-to-end test builds and runs it."""
    assert block.text in (ROOT / "clients" / "typescript" / "example.ts").read_text()


@pytest.mark.parametrize("block", _of("toml"), ids=_ids)
def test_settings_are_settings(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(block.text)
    monkeypatch.setenv("MILLSTREAM_CONFIG", str(file))
    load_settings()


MAPPINGS = [block for block in _of("text") if "[interactions]" in block.text]


@pytest.mark.parametrize("block", MAPPINGS, ids=_ids)
def test_the_mappings_of_the_docs_are_mappings(block: Block) -> None:
    assert DataMapping.model_validate(tomllib.loads(block.text)).interactions


def test_the_record_of_the_bridges_page_becomes_the_event_that_it_shows() -> None:
    texts = [block.text for block in ALL_BLOCKS if "bridge.md" in block.place]
    (mapping,), (record, event) = (
        [text for text in texts if "[interactions]" in text],
        [text for text in texts if text.startswith("{")],
    )
    shown = orjson.loads(event)
    mapper = RecordMapper(DataMapping.model_validate(tomllib.loads(mapping)), "json", Topics("shop"))
    source = Record("web.clicks", 3, 128712, shown["time"], None, record.encode())
    (made,) = mapper.decide(source, of_place("web.clicks", "", 3, 128712), shown["time"]).records
    assert orjson.loads(made.value or b"") == shown


RULES = [block for block in _of("text") if "[[rules]]" in block.text]


@pytest.mark.parametrize("block", RULES, ids=_ids)
def test_the_rules_of_the_docs_can_be_put(block: Block, folder: Path) -> None:
    (folder / "rules.toml").write_text(block.text)
    run("topics", "create")
    assert run("rules", "put", "rules.toml").exit_code == 0
    listed = run("rules", "list").output
    assert all(rule["name"] in listed for rule in tomllib.loads(block.text)["rules"])


PROVENANCE = {
    **dict.fromkeys(("snapshot", "learned_through")),
    **{"offsets": {}, "staleness_seconds": 0, "log_away_seconds": 0},
}
READERS: Mapping[str, Callable[[bytes], object]] = {
    "closed_by": OutcomeRecord.decode,
    "impression_id": lambda wire: decode(Impression, wire),
    "accepted": Receipt.model_validate_json,
    "ranking": lambda wire: Ranking.model_validate({**PROVENANCE, **orjson.loads(wire)}),
    "rating": PredictedRating.model_validate_json,
    "event_id": lambda wire: decode(Interaction, wire),
    "user": lambda wire: decode(User, wire),
    "action": decode_rule,
    "kind": decode_item,
    "history": AnonymousHistory.model_validate_json,
    "staleness_seconds": Recommendations.model_validate_json,
    "logit": ScoreExplanation.model_validate_json,
    "status": Problem.model_validate_json,
    "ready": Readiness.model_validate_json,
}
"""How to read a JSON object, by the first of these fields that it has."""


@pytest.mark.parametrize("block", _of("json"), ids=_ids)
def test_json_is_what_our_code_reads(block: Block) -> None:
    fields = orjson.loads(block.text)
    reader = next(reader for field, reader in READERS.items() if field in fields)
    reader(block.text.encode())
