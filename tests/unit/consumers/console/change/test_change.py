"""The pages Change: who may act, what runs, and what the history says of it."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from consumers.console.change.rules import EXAMPLE
from consumers.console.change.snapshots import read_snapshots
from consumers.console.commands import CommandResult
from pipeline.config import PolicyConfig, PolicyParameters
from pipeline.control.actions import OperatorAction, pseudonym
from pipeline.control.records import Adoption, GateDecision, Pause
from pipeline.policy.changes import PolicyChange
from pipeline.rules.rule import build_rule
from pipeline.rules.store import RuleStore
from tests.support.console_harness import OPERATOR_KEY, VIEWER_KEY, ConsoleHarness, keyed, send
from tests.support.serve_harness import World

DECISION = GateDecision(
    candidate="c-1",
    champion="1-1",
    generation=1,
    request=None,
    outcome="held",
    reasons=["too few events"],
    figures={"log_loss.all.gain": 0.0123, "log_loss.all.low": -0.01, "log_loss.all.high": 0.03},
    cost={"seconds": 9.0, "events": 100.0, "peak_bytes": 2.0**20},
    decided_at=1_700_000_000_000,
)
WHY = {"reason": "worse since noon"}
SIGNED = "--reason=olga: worse since noon"
FORMS = {
    "/change/pause": (WHY, ["pause", SIGNED], "pause learning"),
    "/change/resume": (WHY, ["resume", SIGNED], "resume learning"),
    "/change/forget": (
        {"user": "u1", **WHY},
        ["users", "remove", "--yes", SIGNED, "--", "u1"],
        "forget user",
    ),
    "/change/rollback": ({"version": "1-1", **WHY}, ["rollback", SIGNED, "--", "1-1"], "rollback"),
    "/change/promote": (
        {"name": "c-1", "force": "true", **WHY},
        ["candidates", "promote", SIGNED, "--force", "--", "c-1"],
        "promote candidate",
    ),
    "/change/reject": (
        {"name": "c-1", **WHY},
        ["candidates", "reject", SIGNED, "--", "c-1"],
        "reject candidate",
    ),
    "/change/policies/promote": (
        {"name": "greedy", "anyway": "sure"},
        ["policy", "promote", "--anyway=olga: sure", "--", "greedy"],
        "promote policy",
    ),
    "/change/policies/rollback": (WHY, ["policy", "rollback", SIGNED], "roll back policy"),
    "/change/rules/remove": ({"name": "summer", **WHY}, ["rules", "remove", "--", "summer"], "remove rule"),
    "/change/letters/replay": (
        {"code": "schema", **WHY},
        ["dead-letters", "replay", "--reason=schema"],
        "replay dead letters",
    ),
}


@pytest.fixture
def console(world: World) -> ConsoleHarness:
    world.open()
    return ConsoleHarness(world)


@pytest.mark.parametrize("path", FORMS)
def test_an_operators_form_runs_the_command_and_says_who_asked(console: ConsoleHarness, path: str) -> None:
    fields, command, action = FORMS[path]
    page = send(console.browser(OPERATOR_KEY), path, **fields)
    assert page.status_code == 200
    assert "Done" in page.text and "recorded" in page.text
    assert console.commands.ran == [command]
    (asked,) = console.records()
    assert isinstance(asked, OperatorAction)
    assert (asked.by, asked.action) == ("olga", action)


@pytest.mark.parametrize("path", [*FORMS, "/change/rules/put", "/change/rules/try"])
def test_who_may_only_look_changes_nothing(console: ConsoleHarness, path: str) -> None:
    fields = {**FORMS.get(path, ({"text": EXAMPLE, **WHY}, [], ""))[0]}
    page = send(console.browser(VIEWER_KEY), path, **fields)
    assert page.status_code == 403
    assert "vera may look only" in page.text
    assert console.commands.ran == [] and console.records() == []


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("token", ["", "f" * 64])
def test_a_form_of_a_stranger_changes_nothing(console: ConsoleHarness, path: str, token: str) -> None:
    answer = console.browser(OPERATOR_KEY).post(path, data={**FORMS[path][0], "csrf": token})
    assert answer.status_code == 403
    assert console.commands.ran == [] and console.records() == []


def test_a_token_of_another_sign_in_is_a_strangers(console: ConsoleHarness) -> None:
    other = re.search(r'name="csrf" value="(\w+)"', console.browser(OPERATOR_KEY).get("/change").text)
    assert other is not None
    browser = console.browser(OPERATOR_KEY)
    assert (
        browser.post("/change/rollback", data={"csrf": other[1], "version": "1-1", **WHY}).status_code == 403
    )


@pytest.mark.parametrize("version", ["--help", "1-1; ls", "", "../1-1"])
def test_what_is_no_version_reaches_no_command(console: ConsoleHarness, version: str) -> None:
    page = send(console.browser(OPERATOR_KEY), "/change/rollback", version=version, **WHY)
    assert page.status_code == 422
    assert console.commands.ran == []


def test_an_action_needs_a_reason(console: ConsoleHarness) -> None:
    page = send(console.browser(OPERATOR_KEY), "/change/rollback", version="1-1")
    assert page.status_code == 422
    assert console.commands.ran == []


def test_a_reason_of_spaces_is_none(console: ConsoleHarness) -> None:
    browser = console.browser(OPERATOR_KEY)
    page = send(browser, "/change/rollback", version="1-1", reason=" \t ")
    assert page.status_code == 422 and "reason: " in page.text
    assert console.commands.ran == []
    send(browser, "/change/policies/promote", name="greedy", anyway="  ")
    assert console.commands.ran == [["policy", "promote", "--", "greedy"]], "only if it certainly earns more"


def test_a_reason_that_would_steer_a_terminal_or_end_a_command_is_mended(console: ConsoleHarness) -> None:
    page = send(console.browser(OPERATOR_KEY), "/change/pause", reason="a\0b\x1b[2J\nc\u202e")
    assert page.status_code == 200
    assert console.commands.ran == [["pause", "--reason=olga: a b [2J c"]]


def test_what_is_refused_is_shown_and_stands_in_the_history(console: ConsoleHarness) -> None:
    console.commands.result = CommandResult(1, "VersionUnknown: version 9-9 was never learned")
    browser = console.browser(OPERATOR_KEY)
    page = send(browser, "/change/rollback", version="9-9", **WHY)
    assert "Not done" in page.text and "was never learned" in page.text
    history = browser.get("/change/history").text
    assert "olga asked: rollback 9-9" in history
    assert "action-rollback-1700000000000 refused" in history


def test_a_part_of_the_page_answers_a_script(console: ConsoleHarness) -> None:
    browser = console.browser(OPERATOR_KEY)
    browser.headers["HX-Request"] = "true"
    fields = {"version": "1-1", **WHY}
    token = re.search(r'name="csrf" value="(\w+)"', browser.get("/change").text)
    assert token is not None
    answer = browser.post("/change/rollback", data={"csrf": token[1], **fields})
    assert "<html" not in answer.text and "Done" in answer.text


def test_the_models_page_says_whether_learning_is_paused(console: ConsoleHarness) -> None:
    browser = console.browser(OPERATOR_KEY)
    assert "Pause learning" in browser.get("/change").text
    order = Pause(ordered_at=1_700_000_000_000, reason="olga: tests come")
    with console.parts.event_log.writer() as writer:
        writer.append(console.parts.topics.control, order.key, order.encode())
        writer.flush()
    paused = browser.get("/change").text
    assert "olga: tests come" in paused and "Resume learning" in paused and "Pause learning" not in paused
    assert "Resume learning" not in console.browser(VIEWER_KEY).get("/change").text


@pytest.mark.parametrize("secret", [None, SecretStr("a secret of sixteen")])
def test_who_is_forgotten_is_not_named_in_the_history(world: World, secret: SecretStr | None) -> None:
    world.open()
    console = ConsoleHarness(world, keyed().model_copy(update={"secret": secret}))
    browser = console.browser(OPERATOR_KEY)
    assert "Forget anna" in browser.get("/change/forget?user=anna").text
    send(browser, "/change/forget", user="anna", **WHY)
    (asked,) = console.records()
    assert b"anna" not in asked.encode() and sha256(b"anna").hexdigest()[:8].encode() not in asked.encode()
    assert isinstance(asked, OperatorAction)
    assert asked.subject == pseudonym("anna", secret)
    assert bool(asked.subject) == (secret is not None)
    assert "olga asked: forget user" in browser.get("/change/history").text


def test_the_history_is_a_timeline_newest_first(console: ConsoleHarness) -> None:
    adoption = Adoption(order="rollback-1-1-9", version="2-1", left="1-3", reason="olga: worse")
    with console.parts.event_log.writer() as writer:
        for record in (DECISION, adoption):
            writer.append(console.parts.topics.control, record.key, record.encode())
        writer.flush()
    page = console.browser(VIEWER_KEY).get("/change/history").text
    assert page.index("adopted") < page.index("c-1 held")
    assert "olga: worse" in page and "too few events" in page


def test_candidates_have_figures_and_reasons(console: ConsoleHarness) -> None:
    with console.parts.event_log.writer() as writer:
        writer.append(console.parts.topics.control, DECISION.key, DECISION.encode())
        writer.flush()
    models = console.browser(VIEWER_KEY).get("/change").text
    assert "c-1" in models and "held" in models and "+0.0123" in models and "too few events" in models
    operator, viewer = console.browser(OPERATOR_KEY), console.browser(VIEWER_KEY)
    assert "Promote" in operator.get("/change/candidate?name=c-1").text
    assert "may look only" in viewer.get("/change/candidate?name=c-1").text
    assert viewer.get("/change/candidate?name=c-2").status_code == 404


def test_snapshots_are_listed_without_loading_them(console: ConsoleHarness) -> None:
    page = console.browser(OPERATOR_KEY).get("/change").text
    assert 'href="/change/rollback?version=1-1"' in page
    assert "/change/rollback?version=1-1" not in console.browser(VIEWER_KEY).get("/change").text


def test_snapshots_are_newest_first_and_ever_fewer(world: World) -> None:
    world.stock()
    for _ in range(6):
        world.shop(rounds=1)
        world.learn()
        world.publish()
    found = [snapshot.version for snapshot in read_snapshots(world.settings)]
    kept = [str(version) for version in reversed(world.store.versions())]
    assert found == list(dict.fromkeys([kept[0], kept[1], *kept[3:4], kept[-1]]))
    assert all(snapshot.events for snapshot in read_snapshots(world.settings))


def test_a_damaged_manifest_is_left_out(console: ConsoleHarness, world: World) -> None:
    (manifest,) = Path(world.settings.snapshots.store).glob("*/*/manifest.json")
    manifest.write_text("{}")
    assert read_snapshots(world.settings) == []
    assert "The store has none yet" in console.browser(VIEWER_KEY).get("/change").text


def test_policies_say_which_is_in_use(console: ConsoleHarness) -> None:
    browser = console.browser(OPERATOR_KEY)
    assert "In use: greedy" in browser.get("/change/policies").text
    browser.get("/change/policies/evaluate")
    browser.get("/change/policies/experiment")
    assert console.commands.ran == [["policy", "evaluate"], ["experiment", "report"]]
    assert console.records() == [], "to look is no action"


def test_an_experiment_that_a_promotion_ended_is_marked_and_the_gates_reason_is_shown(world: World) -> None:
    world.open()
    arms = PolicyConfig.model_validate({"experiment": "one", "arms": {"bold": {"share": 0.1}}})
    world.settings = world.settings.model_copy(update={"policy": arms})
    console = ConsoleHarness(world)
    browser = console.browser(OPERATOR_KEY)
    assert "arm of the experiment one<" in browser.get("/change/policies").text
    change = PolicyChange(
        verb="promotion", policy="even", parameters=PolicyParameters(), ends="one", reason="", changed_at=0
    )
    with world.log.writer() as writer:
        writer.append(world.topics.policies, change.key, change.encode())
        writer.flush()
    assert "arm of the experiment one, which has ended<" in browser.get("/change/policies").text
    console.commands.result = CommandResult(3, "bold: cannot tell: the experiment one has ended")
    page = send(browser, "/change/policies/promote", name="bold")
    assert "Not done" in page.text and "the experiment one has ended" in page.text


def test_rules_are_put_as_the_file_that_the_command_reads(
    console: ConsoleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []

    def put(arguments: list[str]) -> CommandResult:
        texts.append((arguments[:-1], Path(arguments[-1]).name, Path(arguments[-1]).read_text()))
        return CommandResult(0, "1 rule added to shop.rules, or replaced there")

    monkeypatch.setattr(console.parts.actions, "_run", put)
    browser = console.browser(OPERATOR_KEY)
    send(browser, "/change/rules/put", text=EXAMPLE, **WHY)
    pin = '{"rules": [{"name": "a", "action": "pin", "item": "red-cup", "place": 1}]}'
    send(browser, "/change/rules/try", text=pin)
    assert texts == [
        (["rules", "put"], "rules.toml", EXAMPLE),
        (["rules", "dry-run"], "rules.json", pin),
    ]
    (asked,) = console.records()
    assert isinstance(asked, OperatorAction)
    assert (asked.action, asked.subject) == ("put rules", "summer")


def test_rules_that_are_none_reach_no_command(console: ConsoleHarness) -> None:
    page = send(console.browser(OPERATOR_KEY), "/change/rules/put", text="[[rules]]\nname = 'x'", **WHY)
    assert "Not done" in page.text and "rules.toml: rule 1 (x)" in page.text
    assert console.commands.ran == [] and console.records() == []


def test_the_rules_in_force_are_shown(console: ConsoleHarness, world: World) -> None:
    rule = build_rule({"name": "spring", "action": "pin", "item": "red-cup", "place": 1})
    RuleStore(world.log, world.topics.rules).put([rule])
    page = console.browser(OPERATOR_KEY).get("/change/rules").text
    assert "spring" in page and "red-cup" in page and "Remove spring" in page


def test_dead_letters_are_listed_without_values_and_tried_first(
    console: ConsoleHarness, world: World
) -> None:
    letter = {
        "topic": "shop.interactions",
        "partition": 0,
        "offset": 7,
        "append_time": 1_700_000_000_000,
        "code": "schema",
        "field": "user",
        "reason": "Field required",
        "value": "c2VjcmV0",
        "size": 6,
    }
    with world.log.writer() as writer:
        writer.append(world.topics.dead_letters, "shop.interactions/0/7", orjson.dumps(letter))
        writer.flush()
    browser = console.browser(OPERATOR_KEY)
    page = browser.get("/change/letters").text
    assert "1 dead letter<" in page and "user: Field required" in page
    assert "secret" not in page and "c2VjcmV0" not in page
    send(browser, "/change/letters/replay", dry="true", code="", **WHY)
    assert console.commands.ran == [["dead-letters", "replay", "--dry-run"]]
    assert console.records() == []
