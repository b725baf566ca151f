"""`policy evaluate`: from the log of a shop to what other policies would have earned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.cli import policies
from pipeline.clock import now_ms
from pipeline.config import Settings
from pipeline.evaluation import responses
from pipeline.evaluation.classification import Classification
from pipeline.eventlog.intake import impression_of
from pipeline.eventlog.port import read
from pipeline.events import Interaction, InteractionType, encode
from pipeline.policy.changes import PolicyChange
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce
from pipeline.policy.port import Policy
from pipeline.rules.slate import make_slate
from tests.support.commands import fails, run
from tests.support.impressions import drawn_by, impression
from tests.support.model_harness import ModelHarness

ITEMS = ("mug", "cup", "lamp")
CHANCES = np.array([0.1, 0.2, 0.9])
USED = EpsilonGreedy(explored_places=1, pool=3, epsilon=0.6)
EVEN = EpsilonGreedy(explored_places=1, pool=3, epsilon=1.0)
SHADOWS = '{"even": {"name": "epsilon_greedy", "explored_places": 1, "pool": 3, "epsilon": 1.0}}'
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def harness(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHarness]:
    monkeypatch.setenv("MILLSTREAM_REWARDS__OPEN_IMPRESSIONS", "1000")
    with ModelHarness(settings) as harness:
        yield harness


def serve(harness: ModelHarness, answers: int) -> None:
    """Write impressions of one item each, and the clicks that come of them."""
    random = np.random.default_rng(0)
    with harness.log.writer() as writer:
        for number in range(answers):
            sampler = Exploration(USED, f"i{number}", {"greedy": GREEDY, "even": EVEN}).sampler(
                np.array([2.0, 1.0, 0.0])
            )
            slate = make_slate(np.arange(3), 1, sampler=sampler)
            (row,), user = slate.rows, f"u{number % 7}"
            shown = impression(f"i{number}", user, (ITEMS[row],), **drawn_by(USED, slate))
            writer.append(harness.topics.impressions, user, encode(shown))
            if random.random() < CHANCES[row]:
                act = Interaction(
                    event_id=f"e{number}",
                    user=user,
                    item=ITEMS[row],
                    type=InteractionType.CLICK,
                    time=0,
                    impression=f"i{number}",
                )
                writer.append(harness.topics.interactions, user, encode(act))
        writer.flush()


def in_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the windows of all impressions have passed."""
    monkeypatch.setattr(policies, "now_ms", lambda: now_ms() + HOUR_MS)


def test_a_worse_policy_is_found_out(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")
    serve(harness, 600)
    in_an_hour(monkeypatch)
    (found,) = orjson.loads(run("policy", "evaluate", "greedy", "--json").stdout)["policies"]
    assert (found["policy"], found["answers"]) == ("greedy", 600)
    assert found["value"][0] <= CHANCES[0] <= found["value"][1]
    assert found["gain"][1] < 0
    assert found["verdict"] == "worse"
    table = run("policy", "evaluate", "greedy").stdout
    assert "worse" in table
    assert "0 answers waiting for acts, for up to rewards.minutes; not joined: nothing" in table
    assert "response" not in table  # there were too few answers to calibrate scores


def test_an_act_that_is_sent_again_counts_once(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {
        "policy": USED.name,
        "policy_version": USED.version,
        "pool": 3,
        "propensities": (0.2,),
        "shadows": {"greedy": (0.0,)},
    }
    act = Interaction(event_id="order", user="ann", item="cup", type=InteractionType.CLICK, time=0)
    with harness.log.writer() as writer:
        for number in range(2):
            shown = impression(f"i{number}", "ann", ("cup",), **fields)
            writer.append(harness.topics.impressions, "ann", encode(shown))
            writer.flush()
            writer.append(harness.topics.interactions, "ann", encode(act))
            writer.flush()
    in_an_hour(monkeypatch)
    found = orjson.loads(run("policy", "evaluate", "--json").stdout)
    assert (found["policies"][0]["shown"], found["leftovers"]) == (0.5, {"duplicate": 1})


def test_responses_to_what_was_shown_are_printed(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is learned of answers as young as these, so the figures are those of another day."""
    quality = Classification()
    quality.add(np.array([0.1, 0.3]), np.array([False, True]))
    monkeypatch.setattr(responses, "response_quality", lambda outcomes, window: quality.report())
    serve(harness, 10)
    in_an_hour(monkeypatch)
    found = orjson.loads(run("policy", "evaluate", "--json").stdout)["decisions"]["response"]
    assert (found["n"], found["roc_auc"]) == (2, 1)
    assert "response" in run("policy", "evaluate", "greedy").stdout


def changes(harness: ModelHarness) -> list[PolicyChange]:
    return [PolicyChange.decode(record.value or b"") for record in read(harness.log, harness.topics.policies)]


def in_use() -> str | None:
    found = orjson.loads(run("policy", "list", "--json").stdout)["in_use"]
    return None if found is None else str(found["policy"])


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings have the policy that `serve` draws by, and rewards of 0 or 1."""
    name, *parameters = USED.name, *USED.version.split(" ")[1:]
    monkeypatch.setenv("MILLSTREAM_POLICY__NAME", name)
    for parameter in parameters:
        field, value = parameter.split("=")
        monkeypatch.setenv(f"MILLSTREAM_POLICY__{field.upper()}", value)
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")


@pytest.mark.usefixtures("used")
def test_a_worse_policy_is_not_promoted(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(harness, 600)
    in_an_hour(monkeypatch)
    refused = run("policy", "promote", "greedy")
    assert refused.exit_code == 1
    assert "greedy: rejected: it earns -" in refused.stdout
    assert changes(harness) == []
    assert in_use() is None


@pytest.mark.usefixtures("used")
def test_a_better_policy_is_promoted_and_left_again(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_POLICY__SHADOWS", SHADOWS)
    serve(harness, 600)
    in_an_hour(monkeypatch)
    promoted = run("policy", "promote", "even", "--json")
    assert promoted.exit_code == 0
    assert orjson.loads(promoted.stdout)["outcome"] == "promoted"
    (change,) = changes(harness)
    assert (change.policy, change.parameters.epsilon) == ("even", 1.0)
    assert change.figures["gain.low"] > 0
    assert in_use() == "even"
    table = run("policy", "list").stdout
    assert "in use since" in table and "it earns +" in table
    assert "already" in fails(monkeypatch, capsys, "policy", "promote", "even")
    left = run("policy", "rollback", "--reason", "it was a holiday")
    assert "even is left; servers use that of the settings" in left.stdout
    assert in_use() is None
    assert "it was a holiday" in run("policy", "list").stdout
    assert "there is no promotion to leave" in fails(monkeypatch, capsys, "policy", "rollback")


@pytest.mark.usefixtures("used")
def test_where_nothing_is_certain_a_person_may_promote(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = run("policy", "promote", "greedy")
    assert nothing.exit_code == 3
    assert "greedy: cannot tell: no answer in the log yet of the policy in use" in nothing.stdout
    assert "no policy unheard_of, only greedy" in fails(
        monkeypatch, capsys, "policy", "promote", "unheard_of"
    )
    serve(harness, 30)
    in_an_hour(monkeypatch)
    unknown = run("policy", "promote", "greedy")
    assert (unknown.exit_code, changes(harness)) == (3, [])
    assert "greedy: cannot tell" in unknown.stdout
    assert run("policy", "promote", "greedy", "--anyway", "the demo is today").exit_code == 0
    (change,) = changes(harness)
    assert (change.reason, change.figures) == ("by a person: the demo is today", {})
    assert in_use() == "greedy"


@pytest.mark.usefixtures("used")
def test_programs_may_ask_in_first_minutes(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(harness, 1)
    in_an_hour(monkeypatch)
    (found,) = orjson.loads(run("policy", "evaluate", "greedy", "--json").stdout)["policies"]
    assert (found["gain"], found["verdict"]) == ([-1, 1], "cannot tell")
    asked = run("policy", "promote", "greedy", "--json")
    assert (asked.exit_code, orjson.loads(asked.stdout)["figures"]["gain.low"]) == (3, -1)


def test_a_damaged_promotion_is_said_and_the_last_good_one_stays(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MILLSTREAM_POLICY__NAME", "plackett_luce")
    assert run("policy", "promote", "greedy", "--anyway", "the demo is today").exit_code == 0
    (good,) = changes(harness)
    with harness.log.writer() as writer:
        writer.append(harness.topics.policies, "damaged", good.encode().replace(b"demo", b"dome"))
        writer.flush()
    assert in_use() == "greedy"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "policies/0/1: record: no change of the policy" in said


@pytest.mark.usefixtures("used")
def test_answers_of_another_policy_than_the_one_in_use_do_not_count(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(harness, 600)
    in_an_hour(monkeypatch)
    monkeypatch.setenv("MILLSTREAM_POLICY__EPSILON", "0.3")
    nothing = run("policy", "promote", "greedy")
    assert (nothing.exit_code, "of the policy in use (epsilon_greedy" in nothing.stdout) == (3, True)


def test_an_arm_is_promoted_by_its_experiment(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment(harness, monkeypatch, 300)
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")
    assert run("policy", "promote", "bold").exit_code == 0
    (change,) = changes(harness)
    assert (change.policy, change.ends, change.parameters.name) == ("bold", "bolder", "plackett_luce")
    assert "by 150 users of the arm" in change.reason
    assert "arm of bolder, which has ended" in run("policy", "list").stdout


def test_the_arm_of_a_user_is_said(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'ann' is in no experiment: greedy 1" in run("experiment", "arm", "ann").stdout
    experiment(harness, monkeypatch, 300)
    found = [orjson.loads(run("experiment", "arm", f"u{number}", "--json").stdout) for number in range(8)]
    assert {one["arm"] for one in found} == {"control", "bold"}
    assert {(one["experiment"], one["arm"], one["policy"]) for one in found if one["arm"] == "bold"} == {
        ("bolder", "bold", "plackett_luce")
    }
    bold = next(one["user"] for one in found if one["arm"] == "bold")
    assert f"'{bold}' is in the arm bold of bolder: plackett_luce 1 " in run("experiment", "arm", bold).stdout
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")
    assert run("policy", "promote", "bold").exit_code == 0
    assert f"'{bold}' is in no experiment: plackett_luce" in run("experiment", "arm", bold).stdout


def test_an_arm_of_an_experiment_that_has_ended_is_not_promoted(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its users got more than those of a control that nobody gets any more."""
    experiment(harness, monkeypatch, 300)
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")
    monkeypatch.setenv("MILLSTREAM_POLICY__SHADOWS", SHADOWS)
    monkeypatch.setenv("MILLSTREAM_POLICY__NAME", "plackett_luce")
    monkeypatch.setenv("MILLSTREAM_POLICY__TEMPERATURE", "0.9")
    assert run("policy", "promote", "even", "--anyway", "it is better").exit_code == 0
    refused = run("policy", "promote", "bold")
    assert refused.exit_code == 3
    ended = "the experiment bolder has ended, as even was promoted meanwhile"
    assert f"{ended}, and nothing compares bold with the policy in use: give the next one" in refused.stdout
    assert in_use() == "even"
    assert f"{ended}: give the next one another name" in run("experiment", "report").stdout
    assert orjson.loads(run("experiment", "report", "--json").stdout)["ended"] is True


def test_an_arm_is_not_promoted_whose_parameters_or_control_changed(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment(harness, monkeypatch, 300)
    changed = '{"bold": {"share": 0.5, "name": "plackett_luce", "temperature": 2.0}}'
    monkeypatch.setenv("MILLSTREAM_POLICY__ARMS", changed)
    refused = run("policy", "promote", "bold")
    said = "150 answers of bold had another policy, or other parameters, than that has now"
    assert (refused.exit_code, said in refused.stdout) == (3, True)
    report = run("experiment", "report").stdout
    assert said in report and "give the experiment another name" in report
    monkeypatch.setenv("MILLSTREAM_POLICY__ARMS", ARMS)
    monkeypatch.setenv("MILLSTREAM_POLICY__NAME", "epsilon_greedy")  # as after a rollback
    refused = run("policy", "promote", "bold")
    assert (refused.exit_code, "150 answers of control had another" in refused.stdout) == (3, True)
    assert changes(harness) == []


def test_an_experiment_since_a_time_leaves_out_who_came_before(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they got later would be taken for their first hours else."""
    experiment(harness, monkeypatch, 300)
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    experiment(harness, monkeypatch, 300, first="later")
    found = orjson.loads(run("experiment", "report", "--since", since, "--json").stdout)
    assert [(arm["users"], arm["answers"]) for arm in found["arms"]] == [(0, 0), (0, 0)]
    assert (found["waiting"], run("policy", "promote", "bold", "--since", since).exit_code) == (0, 3)


def test_acts_on_answers_before_a_time_are_theirs(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(harness, 30)
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    with harness.log.writer() as writer:
        shown = next(iter(read(harness.log, harness.topics.impressions)))
        one = impression_of(shown)
        act = Interaction(
            event_id="later",
            user=one.user,
            item=one.items[0],
            type=InteractionType.CLICK,
            time=0,
            impression=one.impression_id,
        )
        writer.append(harness.topics.interactions, one.user, encode(act))
        fresh = one.model_copy(update={"impression_id": "fresh"})
        writer.append(harness.topics.impressions, one.user, encode(fresh))
        writer.flush()
    in_an_hour(monkeypatch)
    found = orjson.loads(run("policy", "evaluate", "greedy", "--since", since, "--json").stdout)
    assert [each["answers"] for each in found["policies"]] == [1]
    assert (found["leftovers"], found["waiting"]) == ({}, 0)


ARMS = '{"bold": {"share": 0.5, "name": "plackett_luce"}}'
OF_ARMS: dict[str, Policy] = {"control": GREEDY, "bold": PlackettLuce(3, 100, 0.05, 0.5)}


def experiment(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, users: int, first: str = "i") -> None:
    """Let every user of the arm, and none of the control, click; half of the users are in the arm."""
    monkeypatch.setenv("MILLSTREAM_POLICY__EXPERIMENT", "bolder")
    monkeypatch.setenv("MILLSTREAM_POLICY__EXPERIMENT_HOURS", "0.1")
    monkeypatch.setenv("MILLSTREAM_POLICY__ARMS", ARMS)
    with harness.log.writer() as writer:
        for number in range(users):
            user, arm = f"u{number}", "bold" if number % 2 else "control"
            policy = OF_ARMS[arm]
            by = {"policy": policy.name, "policy_version": policy.version, "propensities": (1.0,), "pool": 0}
            shown = impression(f"{first}{number}", user, ("mug",), experiment="bolder", arm=arm, **by)
            writer.append(harness.topics.impressions, user, encode(shown))
            if arm == "bold":
                act = Interaction(event_id=user, user=user, item="mug", type=InteractionType.CLICK, time=0)
                writer.append(harness.topics.interactions, user, encode(act))
        writer.flush()
    in_an_hour(monkeypatch)


def test_all_users_of_an_experiment_that_has_just_begun_are_in_their_first_hours(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment(harness, monkeypatch, 6)
    monkeypatch.setattr(policies, "now_ms", now_ms)
    assert orjson.loads(run("experiment", "report", "--json").stdout)["waiting"] == 6


def test_arms_are_compared_by_users(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name its arms in [policy.arms]" in fails(monkeypatch, capsys, "experiment", "report")
    experiment(harness, monkeypatch, 40)
    assert orjson.loads(run("experiment", "report", "--json").stdout)["waiting"] == 0
    control, bold = orjson.loads(run("experiment", "report", "--json").stdout)["arms"]
    assert (control["users"], control["reward"], control["difference"]) == (20, 0, None)
    assert (bold["users"], bold["reward"], bold["rewarded"], bold["finding"]) == (20, 1, 1, "cannot tell")
    assert "experiment bolder" in run("experiment", "report").stdout


def test_answers_whose_acts_may_still_come_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], harness: ModelHarness
) -> None:
    serve(harness, 5)
    assert "5 answers waiting for acts" in fails(monkeypatch, capsys, "policy", "evaluate")
    in_an_hour(monkeypatch)
    later = ("--since", "2999-01-01")
    refused = fails(monkeypatch, capsys, "policy", "evaluate", *later)
    assert "NothingToEvaluate: there is no answer since 2999-01-01 00:00:00 UTC" in refused
    assert "cannot tell" in run("policy", "evaluate", "--since", "2020-01-01").stdout


@pytest.mark.usefixtures("used")
def test_a_name_that_nobody_knows_is_refused_with_those_there_are(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no answer in the log yet" in fails(monkeypatch, capsys, "policy", "evaluate", "greedy")
    assert "policy other, only greedy" in fails(monkeypatch, capsys, "policy", "evaluate", "other")
    monkeypatch.setenv("MILLSTREAM_POLICY__SHADOWS", SHADOWS.replace("even", "later"))
    monkeypatch.setenv("MILLSTREAM_POLICY__ARMS", '{"bold": {"share": 0.5, "name": "plackett_luce"}}')
    monkeypatch.setenv("MILLSTREAM_POLICY__EXPERIMENT", "bolder")
    assert "bold is an arm: see `millstream experiment report`" in fails(
        monkeypatch, capsys, "policy", "evaluate", "bold"
    )
    serve(harness, 5)
    in_an_hour(monkeypatch)
    assert "policy other, only greedy, later, even" in fails(
        monkeypatch, capsys, "policy", "evaluate", "other"
    )
    assert "no impression says what later would have shown, only even, greedy" in fails(
        monkeypatch, capsys, "policy", "evaluate", "later"
    )
