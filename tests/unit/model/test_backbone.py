"""A copy shares what is frozen, and is otherwise a copy; a real decoder is a backbone, too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config import ModelSizes
from pipeline.model.backbone import Backbone, load_backbone, sharing_copy
from pipeline.model.backbone_files import SMALL_DECODER
from pipeline.model.content.adapter import with_adapter
from pipeline.model.content.text import TextEncoder
from pipeline.model.tower import Tower


@pytest.fixture
def module() -> nn.Module:
    """A module of which one half is frozen, with a buffer."""
    made = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    made.register_buffer("mask", torch.ones(2))
    return made


def memory_of(module: nn.Module) -> dict[str, int]:
    """The address of each parameter and buffer, by name."""
    return {name: part.data_ptr() for name, part in module.state_dict().items()}


def test_a_copy_shares_what_is_frozen_and_nothing_that_learns(module: nn.Module) -> None:
    original, copied = memory_of(module), memory_of(sharing_copy(module))
    assert {name for name in original if copied[name] == original[name]} == {"0.weight", "0.bias", "mask"}


def test_moving_a_copy_does_not_move_the_original(module: nn.Module) -> None:
    sharing_copy(module).to("meta")
    assert {part.device.type for part in module.parameters()} == {"cpu"}


def test_tower_and_adapted_encoder_hold_no_copy_of_the_weights(backbone: Backbone) -> None:
    weights = set(memory_of(backbone.model).values())
    for module in (Tower(backbone, ModelSizes()).layers, with_adapter(backbone.model)):
        frozen = [part for part in module.parameters() if not part.requires_grad]
        assert {part.data_ptr() for part in frozen} <= weights


def test_the_packaged_decoder_knows_what_is_alike_and_has_the_same_bits_in_any_batch(tmp_path: Path) -> None:
    # The default cache: converting it takes some seconds, so runs of the tests share what they made.
    decoder = load_backbone(SMALL_DECODER)
    texts = ["red coffee cup", "blue tea mug", "the history of rome"]
    with closing(TextEncoder(decoder, tmp_path / "together", 8, torch.device("cpu"))) as encoder:
        cup, mug, rome = together = encoder.encode(texts)
    with closing(TextEncoder(decoder, tmp_path / "alone", 8, torch.device("cpu"))) as encoder:
        np.testing.assert_array_equal(encoder.encode(texts[:1])[0], cup)
    assert together.shape == (3, decoder.width) == (3, 576)
    assert cup @ mug > max(cup @ rome, mug @ rome)
    Tower(decoder, ModelSizes())  # it is causal, or refused
