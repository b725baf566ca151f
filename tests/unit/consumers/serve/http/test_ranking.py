"""Given actions are ranked, and rewards become acts of the user: durable, once each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from fastapi.testclient import TestClient

from consumers.serve.http.app import create_app
from consumers.serve.rewards import RewardWriter
from consumers.serve.service import RecommendationService
from pipeline.errors import LogUnavailable
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import LogWriter
from pipeline.events import Interaction
from tests.support.serve_harness import World

NOW = 1_700_000_900_000


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    world.open()
    world.upsert("sold-out", "sold out thing", available=False)
    with world.server() as current, closing(RewardWriter(world.log, world.topics.interactions)) as rewards:
        world.shown(current)
        service = RecommendationService(
            current, 5, lambda fields: None, clock=lambda: NOW, append=rewards.append
        )
        yield TestClient(create_app(service, world.settings.serve))


def rank(client: TestClient, *actions: str, user: str = "ann", **others: float) -> dict[str, Any]:
    answer = client.post("/v1/rank", json={"user": user, "actions": actions, **others})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def rewarded(world: World) -> list[Interaction]:
    events = map(interaction_of, world.records(world.topics.interactions))
    return [event for event in events if event.event_id.startswith("reward-")]


def test_given_actions_are_ranked(client: TestClient) -> None:
    found = rank(client, "blue-cup", "red-cup", "sold-out", "unheard-of", "red-cup")
    assert [action["item"] for action in found["ranking"]] == ["red-cup", "blue-cup"]
    assert sum(action["score"] for action in found["ranking"]) == pytest.approx(1)
    assert found["left_out"] == ["sold-out", "unheard-of"]
    assert found["event_id"] and found["snapshot"] == "1-1"
    nothing = rank(client, "unheard-of")
    assert (nothing["ranking"], nothing["event_id"]) == ([], None)


def test_what_the_user_bought_or_dislikes_is_ranked_too(client: TestClient, world: World) -> None:
    assert len(rank(client, "red-cup", "red-plate", user="nobody")["ranking"]) == 2


@pytest.mark.parametrize(("reward", "kind"), [(1.0, "click"), (0.0, "skip"), (-2, "skip")])
def test_a_reward_is_an_act_and_counts_once(
    client: TestClient, world: World, reward: float, kind: str
) -> None:
    event_id = rank(client, "blue-cup", "red-cup")["event_id"]
    for _ in range(2):
        answer = client.post(f"/v1/events/{event_id}/reward", json={"reward": reward})
        assert (answer.status_code, answer.json()["item"], answer.json()["type"]) == (202, "red-cup", kind)
    (first,) = rewarded(world)
    assert (first.user, first.item, first.value, first.impression) == ("ann", "red-cup", reward, event_id)


def test_a_reward_may_name_another_item(client: TestClient, world: World) -> None:
    answer = client.get("/v1/users/ann/recommendations?k=3").json()
    third = answer["items"][2]["item"]
    client.post(f"/v1/events/{answer['impression']}/reward", json={"reward": 3, "item": third})
    assert [event.item for event in rewarded(world)] == [third]


def test_another_reward_and_an_item_that_was_not_shown_are_refused(client: TestClient, world: World) -> None:
    event_id = rank(client, "blue-cup", "red-cup", shown=2)["event_id"]
    bodies: list[dict[str, object]] = [{"reward": 1}, {"reward": -1}, {"reward": 1, "item": "blue-cup"}]
    bodies.append({"reward": 1, "item": "green-cup"})
    answers = [client.post(f"/v1/events/{event_id}/reward", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [202, 409, 409, 422]
    assert "the reward 1 for red-cup" in answers[1].json()["detail"]
    assert len(rewarded(world)) == 1


def test_only_what_is_shown_takes_a_reward_and_was_shown(client: TestClient, world: World) -> None:
    found = rank(client, "blue-cup", "red-cup", "green-cup", shown=1.0)  # JSON has no integers
    assert len(found["ranking"]) == 3
    address, (first, second, third) = f"/v1/events/{found['event_id']}/reward", found["ranking"]
    for action in (second, third):
        assert client.post(address, json={"reward": 1, "item": action["item"]}).status_code == 422
    others = client.get("/v1/users/ann/recommendations?k=20&exclude_shown_minutes=10").json()["items"]
    left = {action["item"] for action in others}
    assert first["item"] not in left and {second["item"], third["item"]} <= left
    assert client.post(address, json={"reward": 1}).status_code == 202


def test_a_reward_for_an_unknown_answer_is_refused(client: TestClient, world: World) -> None:
    answer = client.post("/v1/events/unknown/reward", json={"reward": 1})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "an interaction that names it" in answer.json()["detail"]
    assert rewarded(world) == []


def test_a_reward_may_be_sent_again_when_the_log_was_away(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = rank(client, "red-cup")["event_id"]
    kind, faults = type(world.log.writer()), [LogUnavailable("away")]
    flush = kind.flush

    def failing(writer: LogWriter) -> None:
        if faults:
            raise faults.pop()
        flush(writer)

    monkeypatch.setattr(kind, "flush", failing)
    answers = [client.post(f"/v1/events/{event_id}/reward", json={"reward": 1}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 202]
    assert int(answers[0].headers["Retry-After"]) > 0
    assert {event.event_id for event in rewarded(world)} == {f"reward-{event_id}"}


@pytest.mark.parametrize(
    "body",
    [{"user": "ann", "actions": []}, {"actions": ["a"]}, {"user": "ann", "actions": ["a"], "k": 1}]
    + [{"user": "ann", "actions": ["a"], "shown": shown} for shown in (0, -1, 501, 1.5, None)],
)
def test_bad_requests_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/rank", json=body).status_code == 422
    assert client.post("/v1/rank", content="user=ann").status_code == 415
