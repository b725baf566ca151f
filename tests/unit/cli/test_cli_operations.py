"""Operator commands: rollback, candidates and history; their output and the records they write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from pipeline.checkpoints.manifest import MANIFEST
from pipeline.cli import operations
from pipeline.config import Settings
from pipeline.control.records import Adoption, GateDecision, Pause, Promotion, Refusal, Resume, Rollback
from pipeline.retraining.candidates import Candidate, RetrainPlan
from tests.support.commands import fails, misused, run
from tests.support.model_harness import ModelHarness
from tests.support.retrain_harness import candidates, decision, request

MOMENT_MS = 1_500_000_000_000
SHOP = "shop:events=60,users=10,items=90,arrivals=0"


@pytest.fixture(autouse=True)
def harness(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHarness]:
    """An empty log, and a clock that stands still."""
    monkeypatch.setattr(operations, "now_ms", lambda: MOMENT_MS)
    with ModelHarness(settings) as harness:
        yield harness


def planned(harness: ModelHarness, name: str = "one") -> Candidate:
    plan = RetrainPlan(
        name=name,
        request="retrain-drift-1-4-loss",
        champion="1-7",
        window={"mill.interactions/0": 3},
        held_out=5,
        trial=9,
        planned_at=MOMENT_MS,
    )
    return candidates(harness).begin(plan)


def decided(harness: ModelHarness, judged: GateDecision) -> Candidate:
    candidate = planned(harness, judged.candidate)
    candidate.checkpoint.mkdir()
    (candidate.checkpoint / MANIFEST).touch()
    candidate.conclude(judged)
    return candidate


@pytest.mark.parametrize(("arguments", "relearn"), [([], False), (["--relearn"], True)])
def test_a_rollback_is_ordered(harness: ModelHarness, arguments: list[str], relearn: bool) -> None:
    with harness.busy():
        result = run("rollback", "1-2", "--reason", "a bad day", *arguments)
    expected = Rollback(
        version="1-2", relearn=relearn, generation=None, ordered_at=MOMENT_MS, reason="a bad day"
    )
    assert harness.published(Rollback) == [expected]
    assert result.stdout == (
        f"recorded: rollback-1-2-{MOMENT_MS}; `millstream history` shows whether the learner carries it out\n"
    )


def test_learning_is_paused_and_resumed(harness: ModelHarness) -> None:
    result = run("pause", "--reason", "tests come")
    assert harness.published(Pause) == [Pause(ordered_at=MOMENT_MS, reason="tests come")]
    assert result.stdout == f"recorded: pause-{MOMENT_MS}; the learner pauses before its next batch\n"
    assert "learning is paused already" in misused("pause")
    assert run("resume").stdout == f"recorded: resume-{MOMENT_MS}; the learner goes on\n"
    assert "learning is not paused" in misused("resume")
    assert harness.published(Resume) == [Resume(ordered_at=MOMENT_MS, reason="by hand")]
    assert re.search(r"pause ordered.*tests come", run("history").stdout)


@pytest.mark.parametrize("command", ["pause", "rollback 1-2", "users remove ann --yes", "policy rollback"])
def test_a_blank_reason_is_refused(command: str, harness: ModelHarness) -> None:
    assert "it is blank: say why, or leave it out" in misused(*command.split(), "--reason", " ")
    assert not harness.published(Pause)


def test_a_version_that_was_never_learned_is_refused(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with harness.busy():
        line = fails(monkeypatch, capsys, "rollback", "3-120")
    assert line.startswith("VersionUnknown: version 3-120 was never learned, ")
    assert harness.published(Rollback) == []


@pytest.mark.parametrize(
    "version",
    [
        "junk",
        "3",
        "3-",
        "-3-1",
        "3-1-2",
        "3-1\n",
        "3--1",
        "+3-1",
        "12345678901234567890-1",
        "3-1234567890123456",
    ],
)
def test_an_invalid_version_is_refused(harness: ModelHarness, version: str) -> None:
    assert "is not a version such as 3-120" in misused("rollback", "--", version)
    assert harness.published(Rollback) == []


def test_candidates_are_listed(harness: ModelHarness) -> None:
    decided(harness, decision())
    planned(harness, "two")
    table = run("candidates", "list").output
    assert re.search(r"one.*1-7.*promoted.*\+0\.2500.*it is better", table)
    assert re.search(r"two.*1-7.*in progress", table)


def test_a_candidate_is_shown_as_json(harness: ModelHarness) -> None:
    candidate = decided(harness, decision())
    shown = orjson.loads(run("candidates", "show", "one").output)
    assert RetrainPlan.model_validate(shown["plan"]) == candidate.plan()
    assert GateDecision.model_validate(shown["decision"]) == candidate.decision()


def test_a_candidate_in_progress_is_shown_without_a_decision(harness: ModelHarness) -> None:
    planned(harness)
    assert orjson.loads(run("candidates", "show", "one").output)["decision"] is None


def test_a_promotion_is_valid_in_the_generation_of_its_comparison(harness: ModelHarness) -> None:
    decided(harness, decision(outcome="held"))
    result = run("candidates", "promote", "one", "--reason", "I like it")
    order = Promotion(candidate="one", generation=1, ordered_at=MOMENT_MS, reason="I like it")
    assert harness.published(Promotion) == [order]
    assert order.key in result.output


def test_a_forced_promotion_is_valid_in_any_generation(harness: ModelHarness) -> None:
    decided(harness, decision(outcome="rejected"))
    run("candidates", "promote", "one", "--force")
    assert [order.generation for order in harness.published(Promotion)] == [None]


def test_a_candidate_without_a_checkpoint_is_not_promoted(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(harness).conclude(decision(outcome="cancelled"))
    line = fails(monkeypatch, capsys, "candidates", "promote", "one", "--force")
    assert line.startswith("CandidateUnknown: one has no checkpoint to adopt: ")
    assert harness.records(harness.topics.control) == []


def test_a_rejection_is_published_and_stored(harness: ModelHarness) -> None:
    candidate = decided(harness, decision(outcome="held"))
    run("candidates", "reject", "one", "--reason", "it shows the same to all")
    (record,) = harness.published(GateDecision)
    assert record == candidate.decision()
    assert (record.outcome, record.reasons, record.decided_at) == (
        "rejected",
        ["it shows the same to all"],
        MOMENT_MS,
    )
    assert (record.figures, record.cost) == (decision().figures, decision().cost)


@pytest.mark.parametrize("command", [["promote"], ["promote", "--force"], ["reject"]])
def test_nobody_decides_on_one_that_is_still_open(
    harness: ModelHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    planned(harness)
    assert "CandidateUnknown: one is not decided yet" in fails(
        monkeypatch, capsys, "candidates", *command, "one"
    )
    assert harness.records(harness.topics.control) == []


@pytest.mark.parametrize("command", [["show"], ["promote"], ["promote", "--force"], ["reject"]])
@pytest.mark.parametrize("name", ["nobody", "..", "a/b"])
def test_an_unknown_candidate_is_named(
    harness: ModelHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    name: str,
) -> None:
    assert "CandidateUnknown: there is no candidate" in fails(
        monkeypatch, capsys, "candidates", *command, name
    )
    assert harness.records(harness.topics.control) == []


def test_the_history_lists_all_records_in_order(harness: ModelHarness) -> None:
    harness.order(request(1, 4).alarm)
    harness.order(request(1, 4))
    harness.order(decision(request=request(1, 4).key))
    run("candidates", "list")
    decided(harness, decision(request=request(1, 4).key))
    run("candidates", "promote", "one")
    with harness.busy():
        run("rollback", "1-3", "--reason", "worse")
    harness.order(Adoption(order="promotion-one", version="2-9", left="1-12", reason="by hand"))
    harness.order(Refusal(order="rollback-1-3", reason="it is gone"))
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


@pytest.mark.parametrize("relearn", [False, True])
def test_a_rollback_by_hand_is_ordered_and_obeyed(settings: Settings, relearn: bool) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "60")
    with ModelHarness(settings) as harness, harness.learning() as learning:
        learning.new()
        result = run("rollback", "1-2", "--reason", "poison", *(["--relearn"] if relearn else []))
        (order,) = harness.published(Rollback)
        assert result.stdout.startswith(f"recorded: {order.key}; ")
        assert (order.version, order.relearn, order.generation) == ("1-2", relearn, None)
        assert order.reason == "poison"
        (first, *_) = learning.new()
        assert (first.position.version, first.micro.learns) == ("2-3", relearn)


def test_names_and_versions_are_whole_in_a_narrow_terminal(harness: ModelHarness) -> None:
    name = "retrain-drift-12-345678-first_of_basket"
    verbose = decision(name).model_copy(update={"reasons": ["it [red]is[/red] better " * 9]})
    decided(harness, verbose)
    harness.order(verbose)
    listed = run("candidates", "list", columns=60).output
    assert re.search(rf"^│ {name} │ 1-7 +│", listed, flags=re.MULTILINE)
    assert "[red]" in listed, "reasons are no markup"
    assert re.search(r"│ 1-7 +│", run("history", columns=60).output)
