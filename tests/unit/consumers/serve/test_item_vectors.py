"""Vectors that items bring, from the log to an answer: learned, restored to the bit, published, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from consumers.serve.query import RecommendationQuery
from pipeline.config import CompressionConfig
from pipeline.events import Item, encode
from pipeline.model.backbone import Backbone
from pipeline.retraining.comparison import recommended
from pipeline.snapshots.digest import snapshot_digest
from tests.support.answers import recommend
from tests.support.model_harness import START, USERS, ModelHarness, tiny_settings
from tests.support.served_view import view_of

VECTORS = {"picture": 5, "sound": 3}
SHOWN = 5


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with ModelHarness(tiny_settings(tmp_path, backbone_folder, VECTORS)) as made:
        made.stock()
        made.upsert("unseen", "green lamp")
        misfit = Item(item="misfit", title="blue lamp", vectors={"picture": (1.0,), "smell": (1.0, 2.0)})
        made.writer.append(made.topics.items, "misfit", encode(misfit))
        made.shop(90)
        yield made


def test_what_is_learned_of_vectors_is_restored_to_the_bit_and_goes_on(harness: ModelHarness) -> None:
    with harness.learning() as first:
        first.new(3)
        assert first.learner.table.all().content.shape[1] == first.learner.encoder.width + 8
        written = first.checkpoint()
        first.new(3)
        future = first.digest()
        figures = first.learner.recommender.fusion.figures()
    assert all(found.gate != 1 and found.length > 0 for found in figures.values())
    with harness.learning() as second:
        assert second.digest() == written
        second.catch_up()
        assert second.digest() == future == harness.rebuilt().digest
        assert second.learner.recommender.fusion.figures() == figures


def test_a_server_shows_what_the_learner_would(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        manifest = learning.publish(harness.publisher())
        view, learner = view_of(harness, learning, backbone), learning.learner
    assert manifest.sizes.vectors == VECTORS
    assert view.items is not None and torch.equal(view.items.dense.content, learner.table.all().content)
    assert view.pending_texts == 0, "the snapshot has all of them"
    expected = recommended(learner, USERS, SHOWN)
    now, context = START + 10**9, learner.config.segments.context
    for user, rows in zip(USERS, expected.tolist(), strict=True):
        history = learner.stream.histories.of(user)
        session = history[-1].session
        answer = recommend(view, history, session, RecommendationQuery(SHOWN), context, now=now)
        assert [view.index.ids[row] for row in answer.rows] == [
            learner.stream.catalogue.ids[row] for row in rows
        ]


def test_vectors_of_8_bits_are_those_of_the_learner_but_for_rounding(
    harness: ModelHarness, backbone: Backbone
) -> None:
    compression = CompressionConfig(vectors="int8")
    snapshots = harness.settings.snapshots.replace(compression=compression)
    harness.settings = harness.settings.model_copy(update={"snapshots": snapshots})
    with harness.learning() as learning:
        publisher = harness.publisher()
        learning.new(3)
        learning.publish(publisher)
        harness.upsert("later", "green plate")
        harness.shop(30)
        learning.catch_up()
        manifest = learning.publish(publisher)
        view, learner = view_of(harness, learning, backbone), learning.learner
    assert (manifest.kind, manifest.compression) == ("delta", compression)
    assert snapshot_digest(harness.store.load(harness.store.versions()[-1])) == manifest.digest
    learned, snapshot = learner.table.all(), view.snapshot
    assert view.items is not None and snapshot is not None
    served = view.items.dense.content
    assert served.shape == learned.content.shape and not torch.equal(served, learned.content.float())
    largest = learned.content.float().abs().amax(dim=1, keepdim=True)
    assert ((served - learned.content).abs() <= largest / 254 * 1.001).all(), "half a step of a row's scale"
    users = torch.randn(64, learner.encoder.width, generator=torch.Generator().manual_seed(0))
    rounded = snapshot.recommender.score_all(users, view.items.dense)
    exact = learner.recommender.score_all(users, learned)
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_a_misfit_is_learned_and_served_without_its_vector(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        learner = learning.learner
        row = learner.stream.catalogue.row("misfit")
        content = learner.table.all().content[row]
        assert content[: learner.encoder.width].any()
        assert not content[learner.encoder.width :].any()


def test_other_vectors_than_the_checkpoint_s_are_left_to_a_retrain(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.learning() as learning:
        learning.new(3)
        learning.checkpoint()
    sizes = harness.settings.learn.sizes
    learn = harness.settings.learn.replace(sizes=sizes.replace(vectors={**VECTORS, "smell": 2}))
    with harness.learning(harness.settings.model_copy(update={"learn": learn})) as learning:
        assert learning.learner.config.sizes.vectors == VECTORS
        assert "learn.sizes.vectors is" in caplog.text
        learner, row = learning.learner, learning.learner.stream.catalogue.row("misfit")
        texts_and_pictures = learner.table.all().content.clone()
        learner.grow_to(learn.sizes)
        width, content = learner.encoder.width, learner.table.all().content
        assert content[row, width + 5 : width + 7].any(), "what the log said before it was read"
        kept = [*range(width + 5), *range(width + 7, width + 10)]
        assert torch.equal(content[:, kept], texts_and_pictures)
        assert len(learning.new(3)) == 3
