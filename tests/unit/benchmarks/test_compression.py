"""Each kind of compression is measured on the same requests; one as learned loses nothing beside itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import compression
from benchmarks.compression import AS_LEARNED, KINDS, cases_of, compare, figures_of, served
from pipeline.checkpoints.capture import take_changed, update_of
from pipeline.config import ModelConfig
from pipeline.events import Interaction, Item
from pipeline.journal.position import Position
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.snapshots.snapshot import Update
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase

TOKENS, USERS, START = 8, 3, 1_700_000_000_000
ITEMS = [Item(item=f"i{number}", title=f"lamp {number}") for number in range(40)]


def acts(number: int) -> list[Interaction]:
    """Twelve acts: users in turn along the catalogue."""
    return [
        purchase(f"u{at % USERS}", ITEMS[at % len(ITEMS)].item, START + MINUTE * at)
        for at in range(12 * number, 12 * (number + 1))
    ]


def update(learner: Learner, step: int) -> Update:
    position = Position(1, step, "", 0, {}, through=0, control=0, fold_to={})
    changed = take_changed(learner)
    return update_of(learner, compression.PREFIX, position, {}, "test", changed if step > 1 else None)


def test_sides_answer_the_same_requests_and_weigh_what_they_say(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "load_backbone", lambda: backbone)
    monkeypatch.setattr(compression, "ModelConfig", lambda: ModelConfig(max_tokens=TOKENS, cache=tmp_path))
    cpu = torch.device("cpu")
    learner = Learner(learner_config(), backbone, TextEncoder(backbone, tmp_path / "cache", TOKENS, cpu), cpu)
    learner.score_and_learn(MicroBatch(1, 0, ITEMS, []))
    updates = []
    for step in (1, 2):
        learner.score_and_learn(MicroBatch(1, step, [], acts(step)))
        updates.append(update(learner, step))
    new = purchase("newcomer", "i1", START)
    cases = cases_of(learner, [new, *acts(3), new], most=13)
    assert [case.event.user for case in cases] == ["u0", "u1", "u2"] * 4 + ["newcomer"]
    assert len(cases[3].history) == len(cases[0].history) + 1, "what a user did meanwhile is known"
    sides = {
        name: served(learner, updates, kind, str(tmp_path / str(number)), exact_items=0)
        for number, (name, kind) in enumerate(KINDS.items())
    }
    compare(list(sides.values()), cases, context=5)
    figures = {name: figures_of(side, sides[AS_LEARNED], cases) for name, side in sides.items()}
    exact, rounded = figures[AS_LEARNED], figures["int8 vectors"]
    assert (exact["overlap@20"], exact["seconds_ratio"]) == (1, 1)
    assert rounded["overlap@20"] > 0.9
    for size in ("full_bytes", "delta_bytes", "vector_bytes"):
        assert rounded[size] < exact[size]
    assert 0 < exact["mrr@20"] <= exact["hr@20"] <= 1
    assert sum(exact["full_parts"].values()) < exact["full_bytes"], "a file has a header, too"
