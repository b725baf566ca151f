"""Attributes and relations of items, from the log to an answer: learned, restored, published, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consumers.serve.query import RecommendationQuery
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.serving_state import ServingState
from pipeline.config import Settings
from pipeline.events import Attributes, Item, encode
from pipeline.model.backbone import Backbone
from pipeline.model.fusion import RELATED
from pipeline.retraining.comparison import recommended
from pipeline.training.learner import Learner
from tests.support.answers import recommend
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import START, USERS, ModelHarness, tiny_settings

SHOWN = 5
ENOUGH = 100


def reading(settings: Settings, **sizes: tuple[str, ...]) -> Settings:
    learn = settings.learn.replace(sizes=settings.learn.sizes.replace(**sizes))
    return settings.model_copy(update={"learn": learn})


def put(harness: ModelHarness, item: str, title: str, **attributes: str | tuple[str, ...]) -> None:
    given: Attributes = dict(attributes)
    upsert = Item(item=item, title=title, attributes=given)
    harness.writer.append(harness.topics.items, item, encode(upsert))
    harness.writer.flush()


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    settings = tiny_settings(tmp_path, backbone_folder)
    with ModelHarness(reading(settings, attributes=("brand",), relations=("accessory_of",))) as made:
        made.stock()
        put(made, "lid", "lid", brand="Ember", accessory_of=("red-cup", "blue-cup", "unknown"))
        put(made, "plain", "spoon")
        made.shop(90)
        made.act("ann", "lid")
        yield made


def parts(learner: Learner, item: str) -> tuple[Tensor, Tensor, Tensor]:
    """The text, the code and the related texts of an item."""
    row, width = learner.stream.catalogue.row(item), learner.encoder.width
    content = learner.table.all().content[row].float()
    return content[:width], content[width:-width], content[-width:]


def mean_text(learner: Learner, *items: str) -> Tensor:
    summed = torch.stack([parts(learner, item)[0] for item in items]).sum(dim=0)
    return torch.nn.functional.normalize(summed, dim=0)


def serving(harness: ModelHarness, learning: LearnerHarness, backbone: Backbone) -> ServingState:
    """A server that has loaded the newest snapshot, and read everything."""
    loader = SnapshotLoader(harness.store, backbone, harness.settings.model)
    snapshot = loader.load(harness.store.versions()[-1])
    topics = harness.topics.interactions, harness.topics.items
    state = ServingState(snapshot, learning.learner.stream.histories.copy(), {}, topics)
    read_all(harness, state)
    return state


def read_all(harness: ModelHarness, state: ServingState) -> None:
    state.read(
        record
        for topic in (harness.topics.interactions, harness.topics.items)
        for record in harness.records(topic)
    )


def test_items_have_their_values_and_the_mean_text_of_what_they_name(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learner = learning.learner
        learning.catch_up()
        text, code, related = parts(learner, "lid")
        assert code.norm() == pytest.approx(1, abs=1e-3)
        torch.testing.assert_close(related, mean_text(learner, "red-cup", "blue-cup"), atol=1e-3, rtol=0)
        _, code, related = parts(learner, "plain")
        assert not code.any() and not related.any()
        figures = learner.recommender.fusion.figures()
        assert all(figures[name].length > 0 for name in ("brand", RELATED))


def test_what_is_named_later_or_changes_is_read_again(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learner = learning.learner
        learning.catch_up()
        before = learner.stream.catalogue.digests[learner.stream.catalogue.row("lid")]
        put(harness, "unknown", "kettle")
        put(harness, "red-cup", "yellow jug")
        learning.catch_up()
        expected = mean_text(learner, "red-cup", "blue-cup", "unknown")
        torch.testing.assert_close(parts(learner, "lid")[2], expected, atol=1e-3, rtol=0)
        harness.writer.append(harness.topics.items, "unknown", None)
        harness.writer.flush()
        learning.catch_up()
        torch.testing.assert_close(
            parts(learner, "lid")[2], mean_text(learner, "red-cup", "blue-cup"), atol=1e-3, rtol=0
        )
        assert learner.stream.catalogue.digests[learner.stream.catalogue.row("lid")] == before
        put(harness, "lid", "lid", brand="Other", accessory_of=("red-cup", "blue-cup", "unknown"))
        learning.catch_up()
        assert learner.stream.catalogue.digests[learner.stream.catalogue.row("lid")] != before


def test_it_is_restored_to_the_bit_and_goes_on(harness: ModelHarness) -> None:
    with harness.learning() as first:
        first.new(3)
        written = first.checkpoint()
        put(harness, "blue-cup", "blue mug")
        first.new(2)
        first.catch_up()
        future = first.digest()
    with harness.learning() as second:
        assert second.digest() == written
        second.catch_up()
        assert second.digest() == future == harness.rebuilt().digest


def test_a_server_reads_new_items_as_their_learner_will(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learner, publisher = learning.learner, harness.publisher()
        learning.catch_up()
        learning.publish(publisher)
        state = serving(harness, learning, backbone)
        assert state.pending_texts == 0, "the snapshot has all of them"
        put(harness, "cap", "cap", brand="Ember", accessory_of="pot")
        read_all(harness, state)
        state.encode(learner.encoder, ENOUGH)
        put(harness, "pot", "pot")
        read_all(harness, state)
        assert state.pending_texts == 2, "what is named, and what names it"
        state.encode(learner.encoder, ENOUGH)
        index, served = state.view().index, state.view().items
        learning.catch_up()
        for item in ("cap", "pot", "lid"):
            row, own = index.row(item), learner.stream.catalogue.row(item)
            assert row is not None and served is not None
            assert torch.equal(served.dense.content[row], learner.table.all().content[own])
        manifest = learning.publish(publisher)
        loader = SnapshotLoader(harness.store, backbone, harness.settings.model)
        loaded = loader.load(harness.store.versions()[-1])
        assert torch.equal(loaded.items.content, learner.table.all().content)
        assert (manifest.kind, manifest.sizes.relations) == ("delta", ("accessory_of",))


def test_a_server_shows_what_the_learner_would(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        learning.publish(harness.publisher())
        learner, view = learning.learner, serving(harness, learning, backbone).view()
    now, context = START + 10**9, learner.config.segments.context
    for user, rows in zip(USERS, recommended(learner, USERS, SHOWN).tolist(), strict=True):
        history = learner.stream.histories.of(user)
        query = RecommendationQuery(SHOWN)
        answer = recommend(view, history, history[-1].session, query, context, now=now)
        shown = [view.index.ids[row] for row in answer.rows]
        assert shown == [learner.stream.catalogue.ids[row] for row in rows]


def test_a_server_relates_what_its_learner_does(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learner = learning.learner
        learning.catch_up()
        learning.publish(harness.publisher())
        state = serving(harness, learning, backbone)
        before = state.view()
        put(harness, "cap", "cap", brand="Ember", accessory_of="lid")
        read_all(harness, state)
        view = state.view()
        learning.catch_up()
    catalogue = learner.stream.catalogue
    for item in ("lid", "cap", "red-cup", "plain"):
        row = view.index.row(item)
        assert row is not None
        served = {view.index.ids[other] for other in view.related.of(row)}
        assert served == {catalogue.ids[other] for other in catalogue.related_rows.of(catalogue.row(item))}, (
            item
        )
    lid, cap = view.index.row("lid"), view.index.row("cap")
    assert lid is not None and cap in view.related.of(lid)
    assert cap not in before.related.of(lid), "a view does not change"


def test_a_model_that_reads_neither_becomes_one_that_does(
    tmp_path: Path, backbone_folder: Path, harness: ModelHarness
) -> None:
    declared, plain = harness.settings.learn.sizes, reading(harness.settings, attributes=(), relations=())
    with harness.learning(plain) as learning:
        learner = learning.learner
        learning.new(3)
        texts, catalogue = learner.table.all().content.clone(), learner.stream.catalogue
        catalogue.take_changed()
        learner.grow_to(declared)
        content = learner.table.all().content
        assert torch.equal(content[:, : learner.encoder.width], texts)
        assert parts(learner, "lid")[1].any() and parts(learner, "lid")[2].any()
        assert catalogue.take_changed() == [catalogue.row("lid")], "its digest has the values"
        assert all(found.length == 0 for found in learner.recommender.fusion.figures().values())
        assert len(learning.new(2)) == 2
