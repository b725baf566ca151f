"""`policy evaluate`: from the log of a shop to what other policies would have earned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson
import pytest

from pipeline.cli import policies
from pipeline.cli.terminal import now
from pipeline.config import Settings
from pipeline.events import Interaction, InteractionType, encode
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import GREEDY, EpsilonGreedy
from pipeline.rules.slate import make_slate
from tests.support.commands import fails, run
from tests.support.impressions import drawn_by, impression
from tests.support.model_harness import ModelHarness

ITEMS = ("mug", "cup", "lamp")
CHANCES = np.array([0.1, 0.2, 0.9])
USED = EpsilonGreedy(explored_places=1, pool=3, epsilon=0.6)
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def harness(settings: Settings) -> Iterator[ModelHarness]:
    with ModelHarness(settings) as harness:
        yield harness


def serve(harness: ModelHarness, answers: int) -> None:
    """Write impressions of one item each, and the clicks that come of them."""
    random = np.random.default_rng(0)
    with harness.log.writer() as writer:
        for number in range(answers):
            sampler = Exploration(USED, f"i{number}", {"greedy": GREEDY}).sampler(np.array([2.0, 1.0, 0.0]))
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
    monkeypatch.setattr(policies, "now", lambda: now() + HOUR_MS)


def test_a_worse_policy_is_found_out(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_REWARDS__LEAST", "0")
    monkeypatch.setenv("MILLSTREAM_REWARDS__MOST", "1")
    serve(harness, 600)
    in_an_hour(monkeypatch)
    (found,) = orjson.loads(run("policy", "evaluate", "--json").stdout)["policies"]
    assert (found["policy"], found["answers"]) == ("greedy", 600)
    assert found["value"][0] <= CHANCES[0] <= found["value"][1]
    assert found["gain"][1] < 0
    assert found["verdict"] == "worse"
    table = run("policy", "evaluate", "greedy").stdout
    assert "worse" in table
    assert "0 answers still wait for acts, for up to rewards.minutes; not joined: nothing" in table


def test_arms_are_compared_by_users(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name its arms in [policy.arms]" in fails(monkeypatch, capsys, "experiment", "report")
    monkeypatch.setenv("MILLSTREAM_POLICY__EXPERIMENT", "bolder")
    monkeypatch.setenv("MILLSTREAM_POLICY__EXPERIMENT_HOURS", "0.1")
    monkeypatch.setenv("MILLSTREAM_POLICY__ARMS", '{"bold": {"share": 0.5, "name": "plackett_luce"}}')
    with harness.log.writer() as writer:
        for number in range(40):
            user, arm = f"u{number}", "bold" if number % 2 else "control"
            shown = impression(f"i{number}", user, ("mug",), experiment="bolder", arm=arm)
            writer.append(harness.topics.impressions, user, encode(shown))
            if arm == "bold":
                act = Interaction(event_id=user, user=user, item="mug", type=InteractionType.CLICK, time=0)
                writer.append(harness.topics.interactions, user, encode(act))
        writer.flush()
    in_an_hour(monkeypatch)
    assert orjson.loads(run("experiment", "report", "--json").stdout)["waiting"] == 0
    control, bold = orjson.loads(run("experiment", "report", "--json").stdout)["arms"]
    assert (control["users"], control["reward"], control["difference"]) == (20, 0, None)
    assert (bold["users"], bold["reward"], bold["rewarded"], bold["finding"]) == (20, 1, 1, "cannot tell")
    assert "experiment bolder" in run("experiment", "report").stdout


def test_answers_whose_acts_may_still_come_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], harness: ModelHarness
) -> None:
    serve(harness, 5)
    assert "5 answers still wait for acts" in fails(monkeypatch, capsys, "policy", "evaluate")
    in_an_hour(monkeypatch)
    assert "what other would have shown, only greedy" in fails(
        monkeypatch, capsys, "policy", "evaluate", "other"
    )
    later = ("--since", "2999-01-01")
    assert "NothingToEvaluate" in fails(monkeypatch, capsys, "policy", "evaluate", *later)
    assert "cannot tell" in run("policy", "evaluate", "--since", "2020-01-01").stdout
