"""The operator's commands: retrain, rollback, candidates and history; what they say and what they order."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from consumers import retrain
from pipeline import cli
from pipeline.config import Settings, to_toml
from pipeline.learning.candidates import Candidate, Plan
from pipeline.learning.control import Adoption, Judgement, Promotion, Refusal, Rollback
from tests.mill import Mill
from tests.workshop import candidates, judgement, request

MOMENT_MS = 1_500_000_000_000


@pytest.fixture(autouse=True)
def mill(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mill]:
    """A mill with nothing in it, whose settings lie in the working directory; a clock that stands."""
    (tmp_path / "millstream.toml").write_text(to_toml(settings))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_now", lambda: MOMENT_MS)
    with Mill(settings) as mill:
        yield mill


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})


def misused(*arguments: str) -> str:
    """Run a command that is used wrongly; what it says of it, without the frame."""
    result = run(*arguments)
    assert result.exit_code == 2
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command as the shell does; it must exit with status 1. What it says of it."""
    monkeypatch.setattr(sys, "argv", ["millstream", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def planned(mill: Mill, name: str = "one") -> Candidate:
    plan = Plan(
        name=name,
        request="retrain-drift-1-4-loss",
        champion="1-7",
        window={"mill.interactions/0": 3},
        held_out=5,
        trial=9,
        planned_at=MOMENT_MS,
    )
    return candidates(mill).begin(plan)


def put_down(mill: Mill, judged: Judgement) -> Candidate:
    candidate = planned(mill, judged.candidate)
    candidate.judge(judged)
    return candidate


# retrain


@pytest.mark.parametrize(
    ("arguments", "follow", "since"),
    [
        ([], False, None),
        (["--follow"], True, None),
        (["--since", "2026-11-22T09:30"], False, datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        (["--since", "2026-11-22T09:30+02:00"], False, datetime(2026, 11, 22, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_retrain_is_made_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], follow: bool, since: datetime | None
) -> None:
    asked = list[object]()

    def office(settings: Settings, *, follow: bool, since: datetime | None) -> None:
        asked.extend((settings.log.prefix, follow, since))

    monkeypatch.setattr(retrain, "run", office)
    assert run("retrain", *arguments).exit_code == 0
    assert asked == ["mill", follow, since]


def test_to_follow_and_to_begin_at_a_time_exclude_each_other() -> None:
    assert "--follow and --since exclude each other" in misused(
        "retrain", "--follow", "--since", "2026-11-22"
    )


def test_a_time_that_is_none_is_refused() -> None:
    assert "yesterday is no time such as 2026-11-22T09:30" in misused("retrain", "--since", "yesterday")


# rollback


@pytest.mark.parametrize(("arguments", "relearn"), [([], False), (["--relearn"], True)])
def test_a_rollback_is_ordered(mill: Mill, arguments: list[str], relearn: bool) -> None:
    result = run("rollback", "3-120", "--reason", "a bad day", *arguments)
    expected = Rollback(
        version="3-120", relearn=relearn, generation=None, ordered_at=MOMENT_MS, reason="a bad day"
    )
    assert mill.told(Rollback) == [expected]
    assert expected.key in result.output


@pytest.mark.parametrize("version", ["junk", "3", "3-", "-3-1", "3-1-2", "3-1\n", "3--1", "+3-1"])
def test_a_version_that_is_none_is_refused(mill: Mill, version: str) -> None:
    assert "is no version such as 3-120" in misused("rollback", "--", version)
    assert mill.told(Rollback) == []


# candidates


def test_candidates_are_listed(mill: Mill) -> None:
    put_down(mill, judgement())
    planned(mill, "two")
    told = run("candidates", "list").output
    assert re.search(r"one.*1-7.*promoted.*\+0\.2500.*it is better", told)
    assert re.search(r"two.*1-7.*in work", told)


def test_a_candidate_is_shown_as_json(mill: Mill) -> None:
    candidate = put_down(mill, judgement())
    told = orjson.loads(run("candidates", "show", "one").output)
    assert Plan.model_validate(told["plan"]) == candidate.plan()
    assert Judgement.model_validate(told["judgement"]) == candidate.judgement()


def test_one_in_work_is_shown_without_a_judgement(mill: Mill) -> None:
    planned(mill)
    assert orjson.loads(run("candidates", "show", "one").output)["judgement"] is None


def test_a_promotion_stands_in_the_generation_that_was_compared_with(mill: Mill) -> None:
    put_down(mill, judgement(outcome="held"))
    result = run("candidates", "promote", "one", "--reason", "I like it")
    order = Promotion(candidate="one", generation=1, ordered_at=MOMENT_MS, reason="I like it")
    assert mill.told(Promotion) == [order]
    assert order.key in result.output


def test_a_forced_promotion_stands_in_any_generation(mill: Mill) -> None:
    put_down(mill, judgement(outcome="rejected"))
    run("candidates", "promote", "one", "--force")
    assert [order.generation for order in mill.told(Promotion)] == [None]


def test_a_rejection_is_told_and_kept(mill: Mill) -> None:
    candidate = put_down(mill, judgement(outcome="held"))
    run("candidates", "reject", "one", "--reason", "it shows the same to all")
    (told,) = mill.told(Judgement)
    assert told == candidate.judgement()
    assert (told.outcome, told.reasons, told.judged_at) == (
        "rejected",
        ["it shows the same to all"],
        MOMENT_MS,
    )
    assert (told.figures, told.cost) == (judgement().figures, judgement().cost)


@pytest.mark.parametrize("command", [["promote"], ["promote", "--force"], ["reject"]])
def test_nobody_decides_of_one_that_is_not_judged(
    mill: Mill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    planned(mill)
    assert "CandidateUnknown: one is not judged yet" in fails(
        monkeypatch, capsys, "candidates", *command, "one"
    )
    assert mill.records(mill.topics.control) == []


@pytest.mark.parametrize("command", [["show"], ["promote"], ["promote", "--force"], ["reject"]])
@pytest.mark.parametrize("name", ["nobody", "..", "a/b"])
def test_an_unknown_candidate_is_named(
    mill: Mill,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    name: str,
) -> None:
    assert "CandidateUnknown: there is no candidate" in fails(
        monkeypatch, capsys, "candidates", *command, name
    )
    assert mill.records(mill.topics.control) == []


# history


def test_the_history_tells_everything_in_order(mill: Mill) -> None:
    mill.order(request(1, 4).alarm)
    mill.order(request(1, 4))
    mill.order(judgement(request=request(1, 4).key))
    run("candidates", "list")
    put_down(mill, judgement(request=request(1, 4).key))
    run("candidates", "promote", "one")
    run("rollback", "1-3", "--reason", "worse")
    mill.order(Adoption(order="promotion-one", version="2-9", left="1-12", reason="by hand"))
    mill.order(Refusal(order="rollback-1-3", reason="it is gone"))
    lines = run("history").output.splitlines()
    expected = [
        r"1-4.*alarm: loss won",
        r"1-4.*retrain requested won",
        r"1-7.*one promoted.*log-loss \+0\.2500 \[\+0\.1250, \+0\.5000\].*it is better",
        r"12 s, 4,096 events, 3 MiB",
        r"promotion of one ordered.*by hand",
        r"1-3.*rollback ordered.*folded.*worse",
        r"2-9.*adopted.*after 1-12",
        r"rollback-1-3 refused.*it is gone",
    ]
    found = [next(i for i, line in enumerate(lines) if re.search(each, line)) for each in expected]
    assert found == sorted(found)


def test_without_a_control_topic_there_is_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_LOG__PREFIX", "nowhere")
    assert "TopicError" in fails(monkeypatch, capsys, "history")
