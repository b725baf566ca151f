"""LoRA beside a language model's layers (Hu et al. 2021), by peft; the layers stay frozen."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers.pytorch_utils import Conv1D


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The model's stack of layers: its longest list of modules."""
    return max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len)


def add_lora(model: nn.Module, rank: int, alpha: int) -> None:
    """Freeze everything, then put LoRA beside every linear map of the layers; it begins as the identity."""
    model.requires_grad_(False)
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, part in blocks_of(model).named_modules()
            if isinstance(part, (nn.Linear, Conv1D))
        }
    )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear)
    inject_adapter_in_model(config, model)
