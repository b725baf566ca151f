"""Settings: one TOML file, overridable by environment; an unknown key is an error.

``MILLSTREAM_LEARN__SEED=1`` overrides ``seed`` in the table ``[learn]``, and
``MILLSTREAM_LEARN__REPLAY__SEGMENTS=8`` ``segments`` in ``[learn.replay]``. The file is
``millstream.toml`` in the working directory, or the one that ``MILLSTREAM_CONFIG`` names. A file in
the folder that ``MILLSTREAM_SECRETS`` names sets what the variable of its name would; the variable wins.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.config.bridge import BridgeConfig
from pipeline.config.conflicts import (
    undecidable,
    undrawn,
    unkept,
    unlearned_ratings,
    unlearned_types,
    unlearned_values,
    unmeasured,
    unrecorded,
    unrounded,
)
from pipeline.config.console import ConsoleConfig
from pipeline.config.gateway import GatewayConfig
from pipeline.config.learning import BatchConfig, CheckpointConfig, LearnerConfig, SnapshotConfig
from pipeline.config.log import LogConfig, RefusalsConfig
from pipeline.config.logging import LoggingConfig
from pipeline.config.media import MediaConfig
from pipeline.config.model import ModelConfig
from pipeline.config.monitoring import DriftConfig, GuardConfig
from pipeline.config.policy import PolicyConfig
from pipeline.config.retraining import GateConfig, RetrainConfig
from pipeline.config.rewards import RewardsConfig
from pipeline.config.secret_files import SecretFilesSource, secret_files
from pipeline.config.serving import MetricsConfig, PlayConfig, ServeConfig
from pipeline.config.signals import SignalsConfig
from pipeline.config.tracing import TracingConfig
from pipeline.config.value import ValueConfig
from pipeline.errors import InvalidSettings
from pipeline.event_fields import nearest
from pipeline.wording import faults_in

PREFIX = "MILLSTREAM_"
FILE = "millstream.toml"
FILE_VARIABLE = "MILLSTREAM_CONFIG"
SERVICE_LINKS = ("tcp://", "udp://", "sctp://")
"""What Kubernetes puts into the variables of a service, such as ``tcp://10.0.0.1:8000``."""
SEE = "see docs/settings.md for every key, its bounds and its default"


class Settings(BaseSettings):
    """All settings of all daemons."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
        use_attribute_docstrings=True,
    )

    log: LogConfig = LogConfig()
    refusals: RefusalsConfig = RefusalsConfig()
    model: ModelConfig = ModelConfig()
    signals: SignalsConfig = SignalsConfig()
    learn: LearnerConfig = LearnerConfig()
    batch: BatchConfig = BatchConfig()
    snapshots: SnapshotConfig = SnapshotConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    drift: DriftConfig = DriftConfig()
    guard: GuardConfig = GuardConfig()
    retrain: RetrainConfig = RetrainConfig()
    gate: GateConfig = GateConfig()
    serve: ServeConfig = ServeConfig()
    policy: PolicyConfig = PolicyConfig()
    rewards: RewardsConfig = RewardsConfig()
    value: ValueConfig = ValueConfig()
    gateway: GatewayConfig = GatewayConfig()
    bridge: BridgeConfig = BridgeConfig()
    media: MediaConfig = MediaConfig()
    console: ConsoleConfig = ConsoleConfig()
    play: PlayConfig = PlayConfig()
    metrics: MetricsConfig = MetricsConfig()
    logging: LoggingConfig = LoggingConfig()
    tracing: TracingConfig = TracingConfig()

    @model_validator(mode="after")
    def _can_work_together(self) -> Self:
        found = [
            *unrecorded(self.policy, self.serve),
            *unlearned_values(self.policy, self.value),
            *undrawn(self.policy),
            *unkept(self.log, self.policy, self.rewards),
            *unlearned_types(self.signals, self.learn.objective),
            *unlearned_ratings(self.signals, self.learn.ratings),
            *unmeasured(self.serve, self.metrics),
            *undecidable(self.retrain.plan, self.gate),
            *unrounded(self.serve, self.learn.sizes),
        ]
        if found:
            raise ValueError("; ".join(found))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the files of secrets, then the file."""
        toml = _File(settings_cls, settings_file())
        return init_settings, env_settings, SecretFilesSource(settings_cls), toml


def settings_file() -> Path:
    """The file that settings are read from, whether it exists or not."""
    return Path(os.environ.get(FILE_VARIABLE, FILE))


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Args:
        overrides: by table, a dictionary of values that come before environment and file.

    Raises:
        InvalidSettings: keys are unknown, or values out of bounds or at odds; names all, with the remedies.
    """
    file = os.environ.get(FILE_VARIABLE)
    if file and not Path(file).is_file():
        raise InvalidSettings(f"{FILE_VARIABLE} names {file}, which is no file")
    faults = [*_unknown_variables(), *_unreadable_variables()]
    try:
        settings = Settings(**overrides)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidSettings(f"{file or FILE} cannot be read: {error}") from None
    except SettingsError as error:  # a variable, which is among the faults
        faults = faults or [f"the environment cannot be read: {error}"]
    except ValidationError as error:
        faults.append(faults_in(error, Settings, "settings"))
    if faults:
        raise InvalidSettings(f"{'; '.join(faults)}; {SEE}")
    return settings


class _File(TomlConfigSettingsSource):
    """A TOML file, with or without the byte order mark that editors of Windows put before it."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text(encoding="utf-8-sig"))


class _LoggingAlone(BaseSettings):
    """The one table that is read before all others, so that their faults are lines of its form."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    logging: LoggingConfig = LoggingConfig()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Those of all settings."""
        return Settings.settings_customise_sources(settings_cls, *sources, **named)


def load_logging() -> LoggingConfig:
    """Read how lines are written; the defaults where that cannot be read, which `load_settings` refuses."""
    try:
        return _LoggingAlone().logging
    except (ValueError, OSError, InvalidSettings):
        return LoggingConfig()


def _unknown_variables() -> Iterator[str]:
    """Say which variables, or files of secrets, set nothing, which pydantic overlooks.

    Those for tables that do not exist, and those that would be a setting's with two underscores for one.
    Others may be somebody else's, as the MILLSTREAM_SERVICE_HOST and the MILLSTREAM_SERVE_PORT that
    Kubernetes sets for services of these names.
    """
    paths = list(_paths(Settings))
    by_single = {path.replace("__", "_"): path for path in paths}
    for name, value in {**dict.fromkeys(secret_files(), ""), **os.environ}.items():
        rest = name.upper().removeprefix(PREFIX).lower()
        table, divided, _ = rest.partition("__")
        if not name.upper().startswith(PREFIX) or rest in paths:
            continue
        meant = by_single.get(rest.replace("__", "_"))
        if meant and (divided or not value.startswith(SERVICE_LINKS)):
            yield f"{name} sets nothing: tables end with two underscores{_meant(meant)}"
        elif divided and table not in Settings.model_fields:
            near = _meant(nearest(rest, paths) or nearest(table, paths))
            yield f"{name} sets nothing: there is no table {table}{near}"


def _meant(path: str | None) -> str:
    return f" (did you mean {PREFIX}{path.upper()}?)" if path else ""


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """Name all settings as variables do, without the prefix: ``learn__replay__segments``."""
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}__{path}" for path in _paths(field.annotation))


def _unreadable_variables() -> Iterator[str]:
    """Say which variables hold a table or a list that is no JSON, without their values."""
    source = EnvSettingsSource(Settings)
    for name, value in source.env_vars.items():
        table, divided, _ = name.removeprefix(PREFIX.lower()).partition("__")
        field = Settings.model_fields.get(table)
        if field is None or value is None or not name.startswith(PREFIX.lower()):
            continue
        try:
            json.loads(value) if not divided else source.explode_env_vars(table, field, {name: value})
        except ValueError:
            yield (
                f'{name.upper()} is no JSON: write a table as {{"key": value}} and a list as [value], or set '
                f"each value of a table by a variable of its own, such as {PREFIX}LOG__PARTITIONS"
            )
