"""Another text encoder is adopted with the state that it belongs to, and left with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.learning.frozen import ENCODER, Frozen, freeze
from pipeline.learning.learner import Learner
from pipeline.learning.publishing import content_digest_of
from pipeline.learning.retrainer import judged
from pipeline.learning.retraining import LanguageShape
from tests.life import Life
from tests.mill import Mill, copy_of
from tests.workshop import ACTS, begun, digest_of, live, some_adapter, workshop

LANGUAGE = LanguageShape(epochs=2, texts=2, rate=0.01)


@pytest.fixture
def mill(lived_mill: Mill) -> Mill:
    return lived_mill


@pytest.fixture
def life(mill: Mill) -> Iterator[Life]:
    """A life that has learned all there is."""
    with mill.life() as life:
        life.again()
        yield life


def another(mill: Mill, life: Life) -> Frozen:
    """The state of a life, under another encoder, as a candidate named "one"."""
    learner = mill.rebuilt().learner
    learner.read_anew(some_adapter(learner.encoder))
    frozen = freeze(learner, life.position)
    mill.candidate("one", frozen)
    return frozen


def assert_catalogue_is_encoded(learner: Learner) -> None:
    """Every content vector is what the learner's encoder makes of the text."""
    catalogue = learner.stream.catalogue
    texts = [catalogue.text(row) for row in range(len(catalogue))]
    assert torch.equal(learner.table.all().content, torch.from_numpy(learner.encoder.encode(texts)))


def test_digests_cover_the_encoder(mill: Mill, life: Life) -> None:
    frozen, snapshot = life.frozen(), life.snapshot()
    adapter = some_adapter(life.learner.encoder)
    assert mill.checkpoints.digest(replace(frozen, encoder=adapter)) != life.digest()
    assert content_digest_of(replace(snapshot, encoder=adapter)) != content_digest_of(snapshot)


def test_a_state_is_restored_with_its_encoder_and_begun_without(mill: Mill, life: Life) -> None:
    life.learner.read_anew(some_adapter(life.learner.encoder))
    digest = life.checkpoint()
    restored = mill.learner()
    position = mill.checkpoints.restore(restored)
    assert position is not None
    assert mill.checkpoints.digest(freeze(restored, position)) == digest
    assert restored.encoder.adapter.keys() == life.learner.encoder.adapter.keys() != set()
    assert_catalogue_is_encoded(restored)
    assert not restored.another().encoder.adapter
    restored.begin(restored.shape)
    assert not restored.encoder.adapter


def test_an_adopted_encoder_encodes_what_comes_until_it_is_rolled_back(mill: Mill, life: Life) -> None:
    another(mill, life)
    before = life.position.version
    mill.promote("one")
    life.turns(1)
    mill.upsert("new", "blue bag of the clock")
    mill.act("ann", "new", event_id="new")
    life.new()
    assert life.learner.encoder.adapter
    assert_catalogue_is_encoded(life.learner)
    adopted = mill.rebuilt()
    assert adopted.digest == life.digest()
    assert_catalogue_is_encoded(adopted.learner)
    mill.roll_back(before)
    life.turns(1)
    life.new()
    assert not life.learner.encoder.adapter
    assert_catalogue_is_encoded(life.learner)
    assert mill.rebuilt().digest == life.digest()


def test_snapshots_carry_it_and_begin_anew_with_it(mill: Mill, life: Life) -> None:
    publisher = mill.publisher()
    kinds, carried = list[str](), list[bool]()

    def publish() -> None:
        manifest = life.publish(publisher)
        loaded = mill.store.load(mill.store.versions()[-1])
        assert content_digest_of(loaded) == manifest.digest == content_digest_of(life.snapshot())
        kinds.append(manifest.kind)
        carried.append(bool(loaded.encoder))
        assert (ENCODER in manifest.files) == carried[-1]

    publish()
    another(mill, life)
    mill.promote("one")
    life.turns(1)
    publish()
    live(mill, 20, begin=ACTS)
    life.new()
    publish()
    assert kinds == ["full", "full", "delta"]
    assert carried == [False, True, True]


def test_an_encoder_that_does_not_fit_is_refused(mill: Mill, life: Life) -> None:
    mill.candidate("one", replace(another(mill, life), encoder={"unheard-of": torch.zeros(2)}))
    order = mill.promote("one")
    life.new()
    assert life.position.generation == 1
    assert any(order.encode() in (record.value or b"") for record in mill.records(mill.topics.control))


def test_a_candidate_learns_the_language_first_when_asked(mill: Mill) -> None:
    candidate = begun(mill)
    judgement = judged(replace(workshop(mill), language=LANGUAGE), candidate)
    assert judgement.outcome == "promoted"
    assert judgement.figures["language.after"] < judgement.figures["language.before"]
    mill.promote("one")
    with mill.life() as life:
        life.again()
        life.turns(1)
        assert life.learner.encoder.adapter
        assert_catalogue_is_encoded(life.learner)
        life.new()
        assert mill.rebuilt().digest == life.digest()


def test_killed_after_it_learned_the_language_it_comes_to_the_same_bits(
    mill: Mill, lived: Path, tmp_path: Path, backbone_folder: Path
) -> None:
    with copy_of(lived, tmp_path / "unbroken", backbone_folder) as other:
        unbroken = begun(other)
        judged(replace(workshop(other), language=LANGUAGE), unbroken)

        class Killed(Exception):
            pass

        def dies(_: object) -> None:
            raise Killed

        candidate = begun(mill)
        with pytest.raises(Killed):
            judged(replace(workshop(mill), language=LANGUAGE, progress=dies), candidate)
        judged(replace(workshop(mill), language=LANGUAGE), candidate)
        assert digest_of(candidate) == digest_of(unbroken)
