"""Settings: one frozen config class a component, nested as they are; without torch.

They live together in this room, because a component's own room may load torch, and `millstream config`
and the event log must not.
"""

from pipeline.config.access import Guarded, KeyConfig, Scope
from pipeline.config.base import Config, Precision
from pipeline.config.bridge import BridgeConfig, BridgedTopic
from pipeline.config.console import ConsoleConfig, CostConfig, OidcConfig
from pipeline.config.gateway import GatewayConfig
from pipeline.config.http import HttpConfig
from pipeline.config.learning import (
    BatchConfig,
    CheckpointConfig,
    CompressionConfig,
    LearnerConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ReplayConfig,
    RetrievalConfig,
    RowRates,
    SegmentConfig,
    SnapshotConfig,
    StreamConfig,
    VectorEncoding,
)
from pipeline.config.log import LogConfig, RefusalsConfig
from pipeline.config.logging import LoggingConfig
from pipeline.config.media import EncoderName, MediaConfig
from pipeline.config.model import (
    CODE_WIDTH,
    KEEPS_SIZES,
    KEEPS_TEXTS,
    ModelConfig,
    ModelSizes,
    Tuning,
    differing_texts,
)
from pipeline.config.monitoring import Action, ContentConfig, DriftConfig, GuardConfig, RiseConfig
from pipeline.config.policy import ArmConfig, PolicyConfig, PolicyName, PolicyParameters
from pipeline.config.ratings import RatingsConfig
from pipeline.config.retraining import (
    CandidateSizes,
    GateConfig,
    LanguageConfig,
    PlanConfig,
    RetrainConfig,
    SamplingConfig,
    TrainingConfig,
)
from pipeline.config.rewards import RewardsConfig
from pipeline.config.serving import MetricsConfig, PlayConfig, ServeConfig
from pipeline.config.settings import Settings, load_logging, load_settings, settings_file
from pipeline.config.signals import SignalsConfig
from pipeline.config.toml import to_toml
from pipeline.config.tracing import TracingConfig
from pipeline.config.value import (
    DqnConfig,
    EpisodeConfig,
    ThompsonConfig,
    TransitionConfig,
    ValueConfig,
    ValueName,
)

__all__ = [
    "CODE_WIDTH",
    "KEEPS_SIZES",
    "KEEPS_TEXTS",
    "Action",
    "ArmConfig",
    "BatchConfig",
    "BridgeConfig",
    "BridgedTopic",
    "CandidateSizes",
    "CheckpointConfig",
    "CompressionConfig",
    "Config",
    "ContentConfig",
    "CostConfig",
    "DqnConfig",
    "DriftConfig",
    "EncoderName",
    "EpisodeConfig",
    "GateConfig",
    "ConsoleConfig",
    "GatewayConfig",
    "GuardConfig",
    "Guarded",
    "HttpConfig",
    "KeyConfig",
    "Scope",
    "LanguageConfig",
    "LearnerConfig",
    "LogConfig",
    "LoggingConfig",
    "MediaConfig",
    "MetricsConfig",
    "ModelConfig",
    "ModelSizes",
    "ObjectiveConfig",
    "OidcConfig",
    "OptimizerConfig",
    "PlanConfig",
    "PlayConfig",
    "PolicyConfig",
    "PolicyName",
    "PolicyParameters",
    "Precision",
    "RatingsConfig",
    "RefusalsConfig",
    "ReplayConfig",
    "RetrievalConfig",
    "RetrainConfig",
    "RiseConfig",
    "RewardsConfig",
    "RowRates",
    "SamplingConfig",
    "SegmentConfig",
    "ServeConfig",
    "Settings",
    "SignalsConfig",
    "SnapshotConfig",
    "StreamConfig",
    "ThompsonConfig",
    "TracingConfig",
    "TrainingConfig",
    "TransitionConfig",
    "Tuning",
    "ValueConfig",
    "ValueName",
    "VectorEncoding",
    "differing_texts",
    "load_logging",
    "load_settings",
    "settings_file",
    "to_toml",
]
