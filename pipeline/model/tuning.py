"""The ways to tune the user tower's layers: which parameters are added to them, and which learn.

Untrained, each leaves the function of the pretrained layers as it is. What the layers have and do not use, as
some do, stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from peft import IA3Config, inject_adapter_in_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.config import ModelSizes, Tuning
from pipeline.errors import InvalidSettings
from pipeline.model.bottleneck import add_bottlenecks
from pipeline.model.families import blocks_of, family_of, run_on_two_acts
from pipeline.model.lora import add_lora
from pipeline.model.prefix import add_prefix

WITHIN_LAYERS = ("lora", "dora", "ia3", "last_layers")
"""Ways that change only the maps within a layer, wherever these are called from."""
RANKED: Mapping[Tuning, str] = {
    "lora": ".lora_A.",
    "dora": ".lora_A.",
    "prefix": ".prefix.keys",
    "bottleneck": ".bottleneck.down.weight",
}
"""Parts of the names of the parameters whose first dimension is the rank; the other ways have no rank."""


def tuned(make_layers: Callable[[], PreTrainedModel], sizes: ModelSizes) -> PreTrainedModel:
    """Make layers, and make them learn in one of the ways.

    Raises:
        InvalidSettings: these layers cannot learn so.
    """
    layers = make_layers()
    fault = _tune(layers, sizes)
    if fault:
        working = [kind for kind in KINDS if not _tune(make_layers(), sizes.replace(tuning=kind))]
        raise InvalidSettings(
            f"learn.sizes.tuning: {sizes.tuning} does not work with {type(layers).__name__} ({fault}); "
            f"choose one of: {', '.join(working) or 'none, and another model.backbone'}"
        )
    return layers


def _tune(layers: PreTrainedModel, sizes: ModelSizes) -> str:
    """Make layers learn; return why they cannot, or nothing."""
    try:
        KINDS[sizes.tuning](layers, sizes)
    except ValueError as error:
        return str(error)
    return "" if _freeze_unused(layers) else "it has no place in these layers"


def _freeze_unused(layers: PreTrainedModel) -> bool:
    """Freeze the parameters that the layers do not use; return whether any still learns."""
    learned = [part for part in layers.parameters() if part.requires_grad]
    with torch.enable_grad():
        total = run_on_two_acts(layers).sum()
    if not total.requires_grad:
        return False
    gradients = torch.autograd.grad(total, learned, allow_unused=True)
    for part, gradient in zip(learned, gradients, strict=True):
        part.requires_grad_(gradient is not None)
    return True


def fits_rank(learned: Mapping[str, Tensor], sizes: ModelSizes) -> bool:
    """Return whether learned parameters have the rank that sizes name, where the way to tune has one."""
    mark = RANKED.get(sizes.tuning)
    return mark is None or {part.shape[0] for name, part in learned.items() if mark in name} == {
        sizes.lora_rank
    }


def _lora(layers: PreTrainedModel, sizes: ModelSizes) -> None:
    add_lora(layers, sizes.lora_rank, sizes.lora_alpha)


def _dora(layers: PreTrainedModel, sizes: ModelSizes) -> None:
    add_lora(layers, sizes.lora_rank, sizes.lora_alpha, decomposed=True)


def _ia3(layers: PreTrainedModel, sizes: ModelSizes) -> None:
    """Scale keys, values and what is between the feed-forward maps (Liu et al. 2022)."""
    layers.requires_grad_(False)
    family = family_of(layers.config)
    config = IA3Config(target_modules=family.scaled, feedforward_modules=family.scaled_inputs)
    inject_adapter_in_model(config, layers)


def _prefix(layers: PreTrainedModel, sizes: ModelSizes) -> None:
    add_prefix(layers, sizes.lora_rank)


def _bottleneck(layers: PreTrainedModel, sizes: ModelSizes) -> None:
    add_bottlenecks(layers, sizes.lora_rank)


def _last_layers(layers: PreTrainedModel, _: ModelSizes) -> None:
    """Train the layers themselves, in memory of their own: until here it is the backbone's.

    Tables by distance, which T5 has in its lowest layer alone, stay frozen: a retrain may add layers below.
    """
    layers.requires_grad_(False)
    for module in blocks_of(layers).modules():
        for part in () if isinstance(module, nn.Embedding) else module.parameters(recurse=False):
            part.data = part.detach().clone()
            part.requires_grad_(True)


KINDS: Mapping[Tuning, Callable[[PreTrainedModel, ModelSizes], None]] = {
    "lora": _lora,
    "dora": _dora,
    "ia3": _ia3,
    "prefix": _prefix,
    "bottleneck": _bottleneck,
    "last_layers": _last_layers,
}
