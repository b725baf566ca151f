"""A copy that shares what is frozen costs no memory for it, and is otherwise a copy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config import ModelSizes
from pipeline.model.backbone import Backbone, sharing_copy
from pipeline.model.content.adapter import with_adapter
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
