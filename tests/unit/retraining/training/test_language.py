"""Stage one of a retrain: the encoder's adapter learns the catalogue's language; nothing else changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from pipeline.config import LanguageConfig
from pipeline.errors import InvalidSettings, NothingToLearn
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.retraining.training import LanguageResult, learn_language
from tests.support.families import FAMILIES, backbone_of
from tests.support.model_harness import COLOURS, THINGS

TEXTS = [
    f"the {colour} {thing} of the {other} set"
    for colour, thing, other in itertools.product(COLOURS, THINGS, THINGS)
]
MASKED = ("bert", "roberta", "distilbert", "mpnet")
CONFIG = LanguageConfig(epochs=3, texts=8, rate=0.02)


class Killed(Exception):
    """Raised by the progress callback."""


@pytest.fixture
def encoder(backbone: Backbone, tmp_path: Path) -> Iterator[TextEncoder]:
    with closing(TextEncoder(backbone, tmp_path / "cache", 16, torch.device("cpu"))) as made:
        yield made


def no_progress() -> None:
    """Do nothing after a minibatch."""


def learned(encoder: TextEncoder, folder: Path, seed: int = 0) -> LanguageResult:
    folder.mkdir(exist_ok=True)
    return learn_language(encoder, TEXTS, CONFIG, seed, folder, no_progress)


def equal(one: LanguageResult, other: LanguageResult) -> bool:
    same = one.adapter.keys() == other.adapter.keys() and (one.before, one.after) == (
        other.before,
        other.after,
    )
    return same and all(torch.equal(one.adapter[name], other.adapter[name]) for name in one.adapter)


def test_held_out_texts_are_predicted_better(encoder: TextEncoder, tmp_path: Path) -> None:
    result = learned(encoder, tmp_path / "one")
    assert result.after < result.before - 0.05
    assert result.adapter
    assert all(tensor.dtype == torch.float32 and "lora_" in name for name, tensor in result.adapter.items())


def test_a_seed_gives_the_same_bits_and_leaves_the_global_generator_unchanged(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    one = learned(encoder, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert equal(one, learned(encoder, tmp_path / "two"))
    assert not equal(one, learned(encoder, tmp_path / "three", seed=1))


def test_it_begins_with_the_encoders_adapter(encoder: TextEncoder, tmp_path: Path) -> None:
    first = learned(encoder, tmp_path / "one")
    second = learned(encoder.adapted(first.adapter), tmp_path / "two")
    assert second.before < first.before


def test_an_adapter_that_is_no_better_is_discarded(encoder: TextEncoder, tmp_path: Path) -> None:
    config = LanguageConfig(epochs=2, texts=8, rate=10.0)
    result = learn_language(encoder, TEXTS, config, 0, tmp_path, no_progress)
    assert (dict(result.adapter), result.after) == ({}, result.before)


def test_a_stored_result_is_not_trained_again(encoder: TextEncoder, tmp_path: Path) -> None:
    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        learn_language(encoder, TEXTS, CONFIG, 0, tmp_path, die)
    result = learned(encoder, tmp_path)
    assert equal(learn_language(encoder, TEXTS, CONFIG, 0, tmp_path, die), result)
    with pytest.raises(Killed):
        learn_language(encoder, TEXTS[1:], CONFIG, 0, tmp_path, die)


def test_the_encoder_and_its_backbone_do_not_change(
    encoder: TextEncoder, backbone: Backbone, tmp_path: Path
) -> None:
    before = {name: part.clone() for name, part in backbone.model.state_dict().items()}
    result = learned(encoder, tmp_path)
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not encoder.adapter
    old, new = encoder.encode(TEXTS[:3]), encoder.adapted(result.adapter).encode(TEXTS[:3])
    assert abs(old - new).max() > 0.01


def test_it_writes_only_its_own_file_and_prints_nothing(
    encoder: TextEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    learned(encoder, tmp_path / "progress")
    assert capfd.readouterr().out == ""
    made = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "cache" not in path.parts]
    assert sorted(made) == ["progress", "progress/language.progress"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_with_a_masked_language_model_learns_and_another_is_refused(
    family: str, tmp_path: Path
) -> None:
    backbone = load_backbone(str(backbone_of(family, tmp_path / family)))
    with closing(TextEncoder(backbone, tmp_path / "cache", 16, torch.device("cpu"))) as encoder:
        if family in MASKED:
            result = learned(encoder, tmp_path / "learned")
            assert result.adapter and result.after < result.before
            return
        with pytest.raises(InvalidSettings, match=r"retrain\.language\.epochs: .* set it to 0"):
            learned(encoder, tmp_path / "refused")


def test_too_few_texts_are_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="too few"):
        learn_language(encoder, ["red cup", "red cup", ""], CONFIG, 0, tmp_path, no_progress)
