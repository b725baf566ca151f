"""Every family of language models, tuned in every way: learned, killed, restored, published and served."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor
from transformers import ElectraConfig, ElectraModel

from consumers.serve.state.loaded_snapshot import SnapshotLoader
from pipeline.assembly import make_learner
from pipeline.config import Settings, Tuning
from pipeline.errors import InvalidSettings
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import TopicPartition
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.snapshots.publisher import Publication
from tests.support.answers import mixture
from tests.support.families import FAMILIES, backbone_of, frozen
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import USERS, ModelHarness, tiny_settings
from tests.support.retrain_harness import foreseen
from tests.support.serve_harness import World, serving
from tests.support.tiny_backbone import WIDTH

WITHOUT_PREFIX = ("mpnet", "xlnet")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder with the log of a shop, which nothing was learned of."""
    folder = tmp_path_factory.mktemp("shop")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        harness.shop(48)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, which has the family's name."""
    return backbone_of(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.mark.parametrize("kind", get_args(Tuning))
def test_what_was_restored_and_what_is_served_is_what_was_learned(
    family: Path, kind: Tuning, tmp_path: Path, shop: Path
) -> None:
    shutil.copytree(shop, tmp_path, dirs_exist_ok=True)
    settings = tuned(tiny_settings(tmp_path, family), kind)
    if kind == "prefix" and family.name in WITHOUT_PREFIX:
        with pytest.raises(InvalidSettings, match="choose one of: lora, dora, ia3, bottleneck, last_layers"):
            make_learner(settings)
        return
    with ModelHarness(settings) as harness:
        with harness.learning() as killed:
            born, pretrained = layers_of(killed), weights_of(killed)
            killed.new(2)
            killed.checkpoint()
            killed.new()
            assert all(not torch.equal(born[name], learned) for name, learned in layers_of(killed).items())
            assert weights_of(killed) == pretrained
            digest, lists = killed.digest(), predicted(killed)
        with harness.learning() as restored:
            assert restored.recover()
            assert restored.digest() == digest
            publish(harness, restored)
        for found, expected in zip(answers(harness), lists, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
            assert found.argsort(descending=True).tolist() == expected.argsort(descending=True).tolist()


def test_a_snapshot_that_names_a_way_its_model_has_no_place_for_is_refused(
    tmp_path: Path, backbone: Backbone
) -> None:
    config = ElectraConfig(
        vocab_size=len(backbone.tokenizer),
        embedding_size=WIDTH,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=WIDTH,
    )
    with World(tmp_path, Backbone(frozen(ElectraModel(config)), backbone.tokenizer, "electra")) as world:
        world.open()
        version = world.store.versions()[-1]
        sizes = world.store.manifest(version).sizes
        world.forge(version, sizes=sizes.replace(tuning="ia3").model_dump())
        with world.server() as current:
            assert current.refusal is not None
            assert "ia3 does not work with ElectraModel" in current.refusal.reason


def tuned(settings: Settings, kind: Tuning) -> Settings:
    sizes = settings.learn.sizes.replace(tuning=kind)
    return settings.model_copy(update={"learn": settings.learn.replace(sizes=sizes)})


def layers_of(learning: LearnerHarness) -> dict[str, Tensor]:
    """A copy of what learns in the tower's layers."""
    learned = learning.learner.recommender.learned()
    return {name: part.detach().clone() for name, part in learned.items() if ".layers." in name}


def weights_of(learning: LearnerHarness) -> dict[str, bytes]:
    """The pretrained weights, which are those of the text encoder, too."""
    named = learning.learner.encoder.backbone.model.state_dict()
    return {name: part.numpy().tobytes() for name, part in named.items()}


def predicted(learning: LearnerHarness) -> list[Tensor]:
    """What the learner scores all items with, for each user's next act."""
    return [foreseen(learning.learner, user).mixture for user in USERS]


def publish(harness: ModelHarness, learning: LearnerHarness) -> None:
    """Publish a snapshot, and the histories of all users."""
    of, offsets = learning.learner.stream.histories.of, learning.position.offsets
    home = {user: partition_of(user, harness.settings.log.partitions) for user in USERS}
    ends = {user: offsets[TopicPartition(harness.topics.interactions, home[user])] for user in USERS}
    histories = {user: (of(user), ends[user]) for user in USERS}
    publisher = harness.publisher()
    publisher.publish(Publication(learning.update(publisher), histories, [], []))


def answers(harness: ModelHarness) -> list[Tensor]:
    """What a server that has just started scores all items with, for each user's next act."""
    settings = harness.settings
    backbone = load_backbone(settings.model.backbone)

    def encoder() -> TextEncoder:
        return TextEncoder(backbone, settings.model.cache, settings.model.max_tokens, torch.device("cpu"))

    loader = SnapshotLoader(harness.store, backbone, settings.model)
    with serving(harness.log, harness.topics, loader, settings, encoder) as current:
        view = current.view
        assert view is not None
        pasts = [current.for_user(user)[1] for user in USERS]
        context = settings.learn.segments.context
        scored = [mixture(view, past, None, context) for past in pasts]
    return [torch.from_numpy(scores).float() for scores in scored]
