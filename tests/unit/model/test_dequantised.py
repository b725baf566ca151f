"""A GGUF file is a backbone like any other, once it is converted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from pipeline.errors import BackboneNotFound
from pipeline.model import dequantised as conversion
from pipeline.model.backbone import Backbone, load_backbone
from tests.support.tiny_gguf import WIDTH, tiny_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def converted(file: Path, cache: Path) -> Backbone:
    return load_backbone(str(file.parent), cache)


def test_it_computes_what_the_file_says_in_float32(converted: Backbone, file: Path) -> None:
    read = AutoModel.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    tokens = converted.tokenizer("red cup", return_tensors="pt")
    assert converted.width == WIDTH and tokens["input_ids"].shape == (1, 7)
    found = converted.model(**tokens).last_hidden_state
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, read(**tokens).last_hidden_state, rtol=0, atol=0)


@pytest.mark.usefixtures("converted")
def test_it_is_converted_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_converted", None)
    load_backbone(str(file.parent), cache)
    assert [path.suffix for path in cache.iterdir()] == [""]


def test_of_two_processes_that_convert_it_one_is_faster(file: Path, tmp_path: Path) -> None:
    made, folder = tmp_path / "made", tmp_path / "weights"
    for path in (made, folder):
        path.mkdir()
        (path / "config.json").write_text(path.name)
    conversion._publish(made, folder)
    assert (folder / "config.json").read_text() == "weights"


def test_what_cannot_be_converted_leaves_nothing(file: Path, tmp_path: Path) -> None:
    torn, cache = tmp_path / "torn", tmp_path / "cache"
    torn.mkdir()
    (torn / "torn.gguf").write_bytes(file.read_bytes()[:100])
    with pytest.raises(BackboneNotFound, match="torn.gguf cannot be converted"):
        load_backbone(str(torn), cache)
    assert not list(cache.iterdir())


def test_the_missing_package_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BackboneNotFound, match=r"millstream\[gguf\]"):
        load_backbone(str(file.parent), tmp_path)
