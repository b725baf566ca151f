"""Each family of language models encodes texts, with and without an adapter; only its encoder is loaded."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.backbone import load_backbone
from pipeline.model.content.adapter import adapter_of, fits, with_adapter
from pipeline.model.content.text import TextEncoder
from tests.support.families import FAMILIES, backbone_of
from tests.support.retrain_harness import some_adapter

TEXTS = ["red cup", "blue plate"]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_encodes_texts_and_an_adapter_changes_how(family: str, tmp_path: Path) -> None:
    backbone = load_backbone(str(backbone_of(family, tmp_path)))
    with closing(TextEncoder(backbone, tmp_path / "cache", 8, torch.device("cpu"))) as encoder:
        plain = encoder.encode(TEXTS)
        assert np.abs(plain[0] - plain[1]).max() > 0.01
        untrained, learned = adapter_of(with_adapter(backbone.model)), some_adapter(encoder)
        assert untrained and fits(backbone.model, learned)
        np.testing.assert_allclose(encoder.adapted(untrained).encode(TEXTS), plain, atol=2e-3)
        assert np.abs(encoder.adapted(learned).encode(TEXTS) - plain).max() > 0.01
        np.testing.assert_array_equal(encoder.encode(TEXTS), plain)


def test_of_an_encoder_and_a_decoder_the_encoder_alone_is_loaded(tmp_path: Path) -> None:
    names = [name for name, _ in load_backbone(str(backbone_of("t5", tmp_path))).model.named_parameters()]
    assert names and not any("decoder" in name for name in names)
