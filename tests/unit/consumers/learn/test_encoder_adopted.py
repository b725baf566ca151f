"""Another text encoder is adopted with the state that it belongs to, and left with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import ENCODER, LearnerState
from pipeline.config import LanguageConfig
from pipeline.control.records import Refusal
from pipeline.snapshots.digest import snapshot_digest
from pipeline.training.learner import Learner
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness, copy_of
from tests.support.retrain_harness import ACTS, begun, digest_of, live, make_retrainer, some_adapter

LANGUAGE = LanguageConfig(epochs=2, texts=2, rate=0.01)


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


@pytest.fixture
def learning(harness: ModelHarness) -> Iterator[LearnerHarness]:
    """A learner that has learned the whole log."""
    with harness.learning() as learning:
        learning.recover()
        yield learning


def another(harness: ModelHarness, learning: LearnerHarness) -> LearnerState:
    """The learner's state with another encoder, as a candidate named "one"."""
    learner = harness.rebuilt().learner
    learner.reencode(some_adapter(learner.encoder))
    captured = capture(learner, None, learning.position)
    harness.candidate("one", captured)
    return captured


def assert_catalogue_is_encoded(learner: Learner) -> None:
    """Every content vector is what the learner's encoder makes of the text."""
    catalogue = learner.stream.catalogue
    texts = [catalogue.text(row) for row in range(len(catalogue))]
    assert torch.equal(learner.table.all().content, torch.from_numpy(learner.encoder.encode(texts)))


def test_digests_cover_the_encoder(harness: ModelHarness, learning: LearnerHarness) -> None:
    captured, snapshot = learning.captured(), learning.snapshot()
    adapter = some_adapter(learning.learner.encoder)
    assert harness.checkpoints.digest(replace(captured, encoder=adapter)) != learning.digest()
    assert snapshot_digest(replace(snapshot, encoder=adapter)) != snapshot_digest(snapshot)


def test_a_state_is_restored_with_its_encoder_and_begun_without(
    harness: ModelHarness, learning: LearnerHarness
) -> None:
    learning.learner.reencode(some_adapter(learning.learner.encoder))
    digest = learning.checkpoint()
    restored, supervisor = harness.learner(), harness.supervisor()
    position = harness.checkpoints.restore(restored, supervisor)
    assert position is not None
    assert harness.checkpoints.digest(capture(restored, supervisor, position)) == digest
    assert restored.encoder.adapter.keys() == learning.learner.encoder.adapter.keys() != set()
    assert_catalogue_is_encoded(restored)
    assert not restored.another().encoder.adapter
    restored.reset(restored.config)
    assert not restored.encoder.adapter


def test_an_adopted_encoder_encodes_what_comes_until_it_is_rolled_back(
    harness: ModelHarness, learning: LearnerHarness
) -> None:
    another(harness, learning)
    before = learning.position.version
    harness.promote("one")
    learning.turns(1)
    harness.upsert("new", "blue bag of the clock")
    harness.act("ann", "new", event_id="new")
    learning.new()
    assert learning.learner.encoder.adapter
    assert_catalogue_is_encoded(learning.learner)
    adopted = harness.rebuilt()
    assert adopted.digest == learning.digest()
    assert_catalogue_is_encoded(adopted.learner)
    harness.roll_back(before)
    learning.turns(1)
    learning.new()
    assert not learning.learner.encoder.adapter
    assert_catalogue_is_encoded(learning.learner)
    assert harness.rebuilt().digest == learning.digest()


def test_snapshots_carry_it_and_begin_anew_with_it(harness: ModelHarness, learning: LearnerHarness) -> None:
    publisher = harness.publisher()
    kinds, carried = list[str](), list[bool]()

    def publish() -> None:
        manifest = learning.publish(publisher)
        loaded = harness.store.load(harness.store.versions()[-1])
        assert snapshot_digest(loaded) == manifest.digest == snapshot_digest(learning.snapshot())
        kinds.append(manifest.kind)
        carried.append(bool(loaded.encoder))
        assert (ENCODER in manifest.files) == carried[-1]

    publish()
    another(harness, learning)
    harness.promote("one")
    learning.turns(1)
    publish()
    live(harness, 20, begin=ACTS)
    learning.new()
    publish()
    assert kinds == ["full", "full", "delta"]
    assert carried == [False, True, True]


def test_an_encoder_that_does_not_fit_is_refused(harness: ModelHarness, learning: LearnerHarness) -> None:
    harness.candidate("one", replace(another(harness, learning), encoder={"unheard-of": torch.zeros(2)}))
    order = harness.promote("one")
    learning.new()
    assert learning.position.generation == 1
    assert [refusal.order for refusal in harness.published(Refusal)] == [order]


def test_a_candidate_learns_the_language_first_when_asked(harness: ModelHarness) -> None:
    candidate = begun(harness)
    decision = make_retrainer(harness, language=LANGUAGE).retrain(candidate.name)
    assert decision.outcome == "promoted"
    assert decision.figures["language.after"] < decision.figures["language.before"]
    with harness.learning() as learning:
        learning.recover()
        learning.turns(1)
        assert learning.learner.encoder.adapter
        assert_catalogue_is_encoded(learning.learner)
        learning.new()
        assert harness.rebuilt().digest == learning.digest()


def test_killed_after_it_learned_the_language_it_comes_to_the_same_bits(
    harness: ModelHarness, lived: Path, tmp_path: Path, backbone_folder: Path
) -> None:
    with copy_of(lived, tmp_path / "unbroken", backbone_folder) as other:
        unbroken = begun(other)
        make_retrainer(other, language=LANGUAGE).retrain(unbroken.name)

        class Killed(Exception):
            pass

        def dies(_: object) -> None:
            raise Killed

        candidate = begun(harness)
        with pytest.raises(Killed):
            make_retrainer(harness, language=LANGUAGE, progress=dies).retrain(candidate.name)
        make_retrainer(harness, language=LANGUAGE).retrain(candidate.name)
        assert digest_of(candidate) == digest_of(unbroken)
