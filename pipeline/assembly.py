"""Assembly: learner and supervisor from the settings, the same for daemon, backtest and rebuild."""

from __future__ import annotations

from pipeline.checkpoints.store import Checkpoints
from pipeline.config import Settings
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.monitoring.supervisor import Supervisor
from pipeline.training.learner import Learner


def make_learner(settings: Settings) -> Learner:
    """A new learner that has seen nothing; loads the backbone (seconds).

    Raises:
        BackboneNotFound: the language model is nowhere.
        InvalidSettings: the device is not there.
    """
    model = settings.model
    device = use_device(model.device, model.threads)
    backbone = load_backbone(model.backbone, model.cache)
    encoder = TextEncoder(backbone, model.cache, model.max_tokens, device)
    return Learner(
        settings.learn, backbone, encoder, device, settings.signals, settings.rewards, settings.value
    )


def make_supervisor(settings: Settings) -> Supervisor:
    """A new supervisor that has seen nothing."""
    return Supervisor(settings.drift, settings.guard)


def checkpoints_of(settings: Settings) -> Checkpoints:
    """The checkpoints of the model that the settings name."""
    return Checkpoints(settings.checkpoints.folder / settings.log.prefix, settings.log.partitions)
