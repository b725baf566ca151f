"""Vision models by folder: each has a space of its own, and what is no vision model is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import PreTrainedModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from pipeline.config import MediaConfig
from pipeline.errors import InvalidSettings
from pipeline.media import encoders
from pipeline.media.encoders import load_encoder, spec_of
from tests.support.media_files import picture
from tests.support.tiny_backbone import tiny_backbone

VIT = ViTConfig(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=32,
    patch_size=8,
)
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")


@pytest.fixture(autouse=True)
def _forget() -> None:
    encoders.spec_of.cache_clear()


def saved(folder: Path, seed: int = 0, kind: str = "vit") -> str:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = ViTModel(VIT) if kind == "vit" else ResNetModel(RESNET)
        model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_folder_encodes_pictures_to_vectors_of_length_1(tmp_path: Path, kind: str) -> None:
    name = saved(tmp_path, kind=kind)
    config = MediaConfig(encoders={"photo": name}, hosts=("example.com",))
    spec_of(name).check()
    encoder = load_encoder(name, config)
    red, again, blue = (encoder.encode(picture(one)) for one in ("red", "red", "blue"))
    assert red.shape == (spec_of(name).width,)
    assert np.linalg.norm(red) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(red, again)
    assert np.abs(red - blue).max() > 0.01
    assert np.array_equal(load_encoder(name, config).encode(picture("red")), red), "of a second process, too"


def test_vectors_of_two_models_never_mix(tmp_path: Path) -> None:
    one, other = (spec_of(saved(tmp_path / str(seed), seed)).digest for seed in (0, 1))
    copy = spec_of(saved(tmp_path / "copy", 0)).digest
    assert one == copy != other
    (tmp_path / "copy" / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.1, 0.1]}))
    spec = spec_of(str(tmp_path / "copy"))
    with pytest.raises(InvalidSettings, match="was changed: start the daemon again"):
        spec.check()
    encoders.spec_of.cache_clear()
    assert spec_of(str(tmp_path / "copy")).digest != one


def test_what_is_no_vision_model_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSettings, match=r"nowhere/config.json is not that .*: name a folder with a vision"
    ):
        spec_of(f"{tmp_path}/nowhere")
    language = tiny_backbone(tmp_path / "language")
    with pytest.raises(InvalidSettings, match=r"a model of the kind bert, which reads no pictures"):
        spec_of(str(language))
    whole = Path(saved(tmp_path / "whole"))
    (whole / "model.safetensors").unlink()
    with pytest.raises(InvalidSettings, match=r"holds no \*.safetensors weights"):
        spec_of(str(whole))
    said = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps(said | {"image_size": 1_000_000}))
    with pytest.raises(InvalidSettings, match="image_size is not from 1 to 1024"):
        spec_of(str(whole))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    name = saved(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 2}))
    with pytest.raises(InvalidSettings, match="lacks weights of its model, such as"):
        load_encoder(name, MediaConfig())


HUB = "shop/tiny-vit"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models that were downloaded; no hub answers."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def downloaded(cache: Path) -> Path:
    """Put a model where a download would; return its folder."""
    repository = cache / f"models--{HUB.replace('/', '--')}"
    folder = Path(saved(repository / "snapshots" / "abc"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    return folder


def test_a_model_of_the_hub_is_read_where_it_was_downloaded(hub_cache: Path, tmp_path: Path) -> None:
    folder = downloaded(hub_cache)
    assert spec_of(HUB).digest == spec_of(saved(tmp_path / "same")).digest
    vector = load_encoder(HUB, MediaConfig()).encode(picture("red"))
    assert np.array_equal(vector, load_encoder(str(folder), MediaConfig()).encode(picture("red")))


@pytest.mark.parametrize("download", [True, False])
def test_where_no_hub_answers_one_line_says_so(hub_cache: Path, download: bool) -> None:
    with pytest.raises(InvalidSettings, match=r"^shop/tiny-vit is no folder, .* hub \(\w+\): check .*$"):
        spec_of(HUB, download=download)


def test_a_download_that_was_cut_off_is_not_taken_for_a_model(hub_cache: Path) -> None:
    (downloaded(hub_cache) / "model.safetensors").unlink()
    with pytest.raises(InvalidSettings, match=r"holds no \*.safetensors weights"):
        spec_of(HUB)


def test_a_name_that_is_neither_encoder_nor_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="must be efficientnet-lite0, .*, or a vision model: its folder"):
        MediaConfig(encoders={"photo": "vit"})
