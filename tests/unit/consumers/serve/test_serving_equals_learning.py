"""Serving, learning and retraining agree on random pasts of every length: types, values, gaps, sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch
from fastapi.testclient import TestClient
from transformers import GPT2Config, GPT2Model

from consumers.serve.http.app import create_app
from consumers.serve.service import RecommendationService
from pipeline.config import SegmentConfig, SignalsConfig
from pipeline.eventlog.intake import interaction_of
from pipeline.events import Interaction, InteractionType
from pipeline.model.backbone import Backbone
from pipeline.model.scoring import users_before_last
from pipeline.retraining.training.window import upcoming_segments
from pipeline.state.histories import Act, History
from pipeline.state.segments import NEW_BASKET_AFTER_MS
from pipeline.state.signals import Signals
from tests.support.serve_harness import COLOURS, START, THINGS, World

LENGTHS = range(1, 251)
CONTEXT, KEPT = 20, 200
UNCAPPED = SignalsConfig(item_cap=1_000, user_cap=1_000)
ITEMS = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
GAPS_MS = (0, 1, 1_000, 60_000, 29 * 60_000, 31 * 60_000, 86_400_000, 400 * 86_400_000)
SOLD = 24
"""Acts of the shop's own customers."""
PURCHASES = (InteractionType.PURCHASE,)


@pytest.fixture(params=["encoder", "decoder", "vectors"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the items are known by: texts that a BERT or a GPT-2 encodes, and vectors beside a BERT's."""
    found: str = request.param
    return found


@pytest.fixture
def language_model(kind: str, backbone: Backbone) -> Backbone:
    """A BERT, or a GPT-2 with the same tokenizer."""
    if kind != "decoder":
        return backbone
    config = GPT2Config(vocab_size=len(backbone.tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2Model(config).requires_grad_(False)
    return Backbone(model.train(False), backbone.tokenizer, "decoder")


@pytest.fixture
def world(tmp_path: Path, language_model: Backbone, kind: str) -> Iterator[World]:
    vectors = {"picture": 6, "sound": 3} if kind == "vectors" else {}
    with World(tmp_path, language_model, CONTEXT, KEPT, UNCAPPED, vectors=vectors) as made:
        made.stock()
        made.shop(rounds=4)
        made.learn()
        yield made


def past(random: Random, length: int, types: tuple[InteractionType, ...]) -> History:
    """A history of so many acts, the last of them a minute before the shop opens."""
    acts, time, session = list[Act](), START - 60_000, None
    for _ in range(length):
        kind = random.choice(types)
        value = random.choice((None, 1.0, 2.0, 3.0, 4.5, 5.0, -1e9)) if kind != "view" else None
        session = random.choice((session, session, session, None, f"s{random.randrange(9)}"))
        acts.insert(0, Act(random.choice(ITEMS), kind, time, value, session))
        time -= random.choice(GAPS_MS)
    return tuple(acts)


def answered(client: TestClient, user: str, session: str | None) -> float | None:
    """The log-probability of the one item that comes next; None if the answer is not the model's."""
    query: dict[str, int | str] = {"k": 12} if session is None else {"k": 12, "session": session}
    found = client.get(f"/v1/users/{user}/recommendations", params=query)
    assert found.status_code == 200, f"{user}: {found.text}"
    body = found.json()
    assert len(body["items"]) == 12
    (score,) = (shown["score"] for shown in body["items"] if shown["item"] == "red-lamp")
    return math.log(score) if body["source"] == "model" else None


@pytest.mark.parametrize("types", [PURCHASES, tuple(InteractionType)], ids=["purchases", "any act"])
def test_every_length_of_history_is_answered_with_the_figures_of_learner_and_retrain(
    world: World, types: tuple[InteractionType, ...]
) -> None:
    random = Random(len(types))
    pasts = {f"u{length}": past(random, length, types) for length in LENGTHS}
    sessions = {user: random.choice((None, "next")) for user in pasts}
    for user, acts in pasts.items():
        world.remember(user, acts)
    world.publish()
    with world.server() as current:
        world.shown(current)
        client = TestClient(create_app(RecommendationService(current, CONTEXT), world.settings.serve))
        found = {user: answered(client, user, sessions[user]) for user in pasts}
    served = {user: figure for user, figure in found.items() if figure is not None}
    assert len(served) > 240
    for number, (user, acts) in enumerate(pasts.items(), start=SOLD + 1):
        session = sessions[user] or counted(acts).session
        world.act(user, "red-lamp", session=session, late_ms=60_000 * number + 30_000)
    retrained = upcoming(world, [user for user in pasts if user in served])
    scores = world.learn()
    assert served.keys() == set(scores.targets.users)
    later = {user for user, acts in pasts.items() if sessions[user] is None and is_long_ago(counted(acts))}
    mixture, model = (scores.by_scorer[name].log_probabilities for name in ("mixture", "model"))
    for user, mixed, own in zip(scores.targets.users, mixture, model, strict=True):
        assert retrained[user] == pytest.approx(own, abs=1e-5), user
        assert user in later or served[user] == pytest.approx(mixed, abs=1e-5), user


def counted(acts: History) -> Act:
    """The last act that counts, which a request without a session continues; the last one if none does."""
    return [*acts[-1:], *Signals(UNCAPPED, KEPT).read(acts[-KEPT:]).acts][-1]


def is_long_ago(act: Act) -> bool:
    """Whether the next act is in another basket by time, although a request continues this one."""
    return act.session is None and act.time < START - NEW_BASKET_AFTER_MS


def upcoming(world: World, users: list[str]) -> dict[str, float]:
    """What the model alone foresees of each user's next act, as a retrain reads the log."""
    learner, table = world.learner, world.learner.table.all()
    events = [event for event in newest(world) if event.user in users]
    segments = upcoming_segments(
        events, learner.stream, SegmentConfig(context=CONTEXT, length=32, overlap=10)
    )
    with torch.inference_mode():
        before = users_before_last(segments, learner.recommender, table, CONTEXT)
        ranked = learner.recommender.rank_all(before, table)
    row = learner.stream.catalogue.row("red-lamp")
    return {event.user: float(figures[row]) for event, figures in zip(events, ranked, strict=True)}


def newest(world: World) -> list[Interaction]:
    events = [interaction_of(record) for record in world.records(world.topics.interactions)]
    return [event for event in events if event.user.startswith("u")]
