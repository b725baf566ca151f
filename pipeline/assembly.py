"""Assembly: learner and supervisor from the settings, the same for daemon, backtest and rebuild."""

from __future__ import annotations

from pipeline.checkpoints.listing import folder_of
from pipeline.checkpoints.store import Checkpoints
from pipeline.config import Settings
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.model.families import blocks_of
from pipeline.monitoring.supervisor import Supervisor
from pipeline.training.learner import Learner


def make_learner(settings: Settings) -> Learner:
    """A new learner that has seen nothing; loads the backbone (seconds).

    Raises:
        BackboneNotFound: the language model is nowhere.
        InvalidSettings: the device is not there, or the backbone has fewer layers than are to be used.
    """
    model = settings.model
    device = use_device(model.device, model.threads)
    backbone = load_backbone(model.backbone, model.cache)
    _check_layers(settings, backbone)
    encoder = TextEncoder(backbone, model.cache, model.max_tokens, device)
    return Learner(
        settings.learn, backbone, encoder, device, settings.signals, settings.rewards, settings.value
    )


def _check_layers(settings: Settings, backbone: Backbone) -> None:
    """Check that the backbone has the layers that are to read histories."""
    wanted = {
        "learn.sizes.layers": settings.learn.sizes.layers,
        "retrain.sizes.layers": settings.retrain.sizes.layers,
    }
    there = len(blocks_of(backbone.model))
    for name, layers in wanted.items():
        if layers > there:
            raise InvalidSettings(f"{name} = {layers}, but {settings.model.backbone} has {there}: lower it")


def make_supervisor(settings: Settings) -> Supervisor:
    """A new supervisor that has seen nothing."""
    return Supervisor(settings.drift, settings.guard)


def checkpoints_of(settings: Settings) -> Checkpoints:
    """The checkpoints of the model that the settings name."""
    return Checkpoints(folder_of(settings), settings.log.partitions)
