"""Assembly: learner and supervisor from the settings, the same for daemon, backtest and rebuild."""

from __future__ import annotations

from pipeline.checkpoints.store import Checkpoints
from pipeline.config import Settings
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.model.item_table import RowRates
from pipeline.model.recommender import ModelConfig
from pipeline.model.tower import TowerConfig
from pipeline.monitoring.drift import Action, DriftConfig
from pipeline.monitoring.supervisor import Supervisor, SupervisorConfig
from pipeline.retraining.gate import GateConfig
from pipeline.retraining.training import LanguageConfig, RetrainConfig
from pipeline.state.stream import StreamConfig
from pipeline.training.learner import Learner, LearnerConfig


def make_learner(settings: Settings) -> Learner:
    """A new learner that has seen nothing; loads the backbone (seconds).

    Raises:
        BackboneNotFound: the language model is nowhere.
        InvalidSettings: the device is not there.
    """
    model = settings.model
    device = use_device(model.device, model.threads)
    backbone = load_backbone(model.backbone)
    encoder = TextEncoder(backbone, model.cache, model.max_tokens, device)
    return Learner(learner_config_of(settings), backbone, encoder, device)


def make_supervisor(settings: Settings) -> Supervisor:
    """A new supervisor that has seen nothing."""
    drift = settings.drift
    return Supervisor(
        SupervisorConfig(
            DriftConfig(warm_up=drift.warm_up_events),
            Action(drift.action),
            drift.cooldown_events,
            rollback=drift.rollback,
        )
    )


def checkpoints_of(settings: Settings) -> Checkpoints:
    """Where the model's checkpoints are."""
    return Checkpoints(settings.learn.checkpoints / settings.log.prefix, settings.log.partitions)


def learner_config_of(settings: Settings) -> LearnerConfig:
    """The part of the settings that decides what is learned."""
    model, learn = settings.model, settings.learn
    return LearnerConfig(
        seed=learn.seed,
        context=learn.context,
        segment=learn.segment,
        overlap=learn.overlap,
        negatives=learn.negatives,
        replay=learn.replay,
        replay_length=learn.replay_length,
        replay_capacity=learn.replay_capacity,
        replay_weight=learn.replay_weight,
        rate=learn.rate,
        weight_decay=learn.weight_decay,
        clip=learn.clip,
        mixer_rate=learn.mixer_rate,
        rows=RowRates(learn.residual_rate, learn.bias_rate),
        model=ModelConfig(TowerConfig(model.layers, model.lora_rank, model.lora_alpha), model.adapter_rank),
        stream=StreamConfig(
            history_length=learn.history_length,
            dedupe_window=learn.dedupe_window,
            covisitation_half_life=learn.covisitation_half_life,
            covisitation_partners=learn.covisitation_partners,
            popularity_half_life=learn.popularity_half_life,
        ),
    )


def model_config_of(settings: Settings) -> ModelConfig:
    """The sizes that a candidate has at least; 0 leaves them as they are."""
    model, retrain = settings.model, settings.retrain
    tower = TowerConfig(
        retrain.layers or model.layers,
        retrain.lora_rank or model.lora_rank,
        retrain.lora_alpha or model.lora_alpha,
    )
    return ModelConfig(tower, retrain.adapter_rank or model.adapter_rank)


def retrain_config_of(settings: Settings) -> RetrainConfig:
    """The part of the settings that decides what a retrain learns."""
    learn, retrain = settings.learn, settings.retrain
    return RetrainConfig(
        epochs=retrain.epochs,
        patience=retrain.patience,
        segments=retrain.segments,
        negatives=learn.negatives,
        rate=retrain.rate,
        weight_decay=learn.weight_decay,
        clip=learn.clip,
        rows=RowRates(retrain.residual_rate, retrain.bias_rate),
        alpha=retrain.alpha,
        past=retrain.past,
    )


def language_config_of(settings: Settings) -> LanguageConfig:
    """The part of the settings that decides what the text encoder learns."""
    return LanguageConfig(epochs=settings.retrain.language_epochs)


def gate_config_of(settings: Settings) -> GateConfig:
    """The part of the settings that decides what is promoted."""
    return GateConfig(**settings.gate.model_dump(exclude={"mode", "trial_events"}))
