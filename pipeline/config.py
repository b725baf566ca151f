"""Settings: one TOML file, overridable by environment; an unknown key is an error.

``MILLSTREAM_LEARN__SEED=1`` overrides ``seed`` in the table ``[learn]``. The file is
``millstream.toml`` in the working directory, or the one that ``MILLSTREAM_CONFIG`` names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.errors import InvalidSettings

PREFIX = "MILLSTREAM_"
FILE = "millstream.toml"
FILE_VARIABLE = "MILLSTREAM_CONFIG"
HOUR_MS = 3_600_000

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Hours = Annotated[float, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LogSettings(_Table):
    """[log] Where the events are."""

    url: str = "sqlite:///run/log.db"
    """`sqlite:///path` or `kafka://host:port,…`."""
    options: dict[str, SecretStr] = Field(default_factory=dict)
    """Passed to the Kafka client: security_protocol, sasl_mechanism, ssl_cafile, …"""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "millstream"
    """Of all topic names; the model's name, too."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 16
    retention_hours: Hours = 24 * 90
    """How long interactions, impressions and the journal are kept."""
    compaction_lag_hours: Hours = 24 * 2
    """How long superseded items and histories stay readable; bounds how far back a checkpoint can restart."""

    @property
    def secrets(self) -> dict[str, str]:
        """The options as the log's client takes them; not for logs."""
        return {name: value.get_secret_value() for name, value in self.options.items()}

    @property
    def topic_sizes(self) -> tuple[int, int, int]:
        """Partitions, retention in ms, compaction lag in ms."""
        return self.partitions, int(self.retention_hours * HOUR_MS), int(self.compaction_lag_hours * HOUR_MS)


class ModelSettings(_Table):
    """[model] What learns. A change needs a new prefix: it is another model."""

    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A folder, or a name on the hub; the default comes with the installation."""
    max_tokens: Positive = 24
    layers: Positive = 1
    lora_rank: Positive = 8
    lora_alpha: Positive = 16
    adapter_rank: Positive = 64
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Positive = 1
    """Of torch, in each daemon; more than free cores makes it many times slower."""
    cache: Path = Path(".cache/content")
    """Content vectors by digest, shared by all processes of the machine."""


class LearnSettings(_Table):
    """[learn] How it learns."""

    seed: Annotated[int, Field(ge=0)] = 0
    batch_events: Positive = 256
    wait_seconds: Seconds = 0.2
    """How long to wait for a first event before seeing what else is due."""
    linger_seconds: Annotated[float, Field(ge=0)] = 0.2
    """How long to wait for others to join it; small batches cost nearly as much as full ones."""
    context: Positive = 20
    segment: Positive = 32
    overlap: Positive = 10
    negatives: Positive = 512
    replay: Annotated[int, Field(ge=0)] = 16
    """Old Segments learned again with each batch."""
    replay_length: Positive = 8
    replay_capacity: Positive = 20_000
    replay_weight: Annotated[float, Field(ge=0)] = 0.3
    rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Annotated[float, Field(gt=0)] = 5.0
    residual_rate: Annotated[float, Field(gt=0)] = 0.01
    bias_rate: Annotated[float, Field(gt=0)] = 0.02
    mixer_rate: Annotated[float, Field(gt=0)] = 0.03
    history_length: Positive = 200
    dedupe_window: Positive = 1_000_000
    covisitation_half_life: Annotated[float, Field(gt=0)] = 200_000
    """In events; so is the next but one."""
    covisitation_partners: Positive = 500
    popularity_half_life: Annotated[float, Field(gt=0)] = 90_000
    publish_seconds: Seconds = 1.0
    """A snapshot is published when so much time or so many events have passed."""
    publish_events: Positive = 10_000
    full_snapshot_every: Positive = 50
    """Versions between full snapshots; the others are deltas."""
    keep_snapshots: Positive = 20
    checkpoint_seconds: Seconds = 60.0
    checkpoint_events: Positive = 100_000
    checkpoints: Path = Path("run/checkpoints")
    metrics_port: Port = 9101
    """0 to have none."""


class DriftSettings(_Table):
    """[drift] When the world changes."""

    action: Literal["log", "retrain"] = "log"
    """What an alarm leads to: a line in the control topic, or a request for a retrain as well."""
    cooldown_events: Positive = 10_000
    """Between two requests."""
    warm_up_events: Positive = 4_000
    """Before the first alarm: a young learner improves by leaps."""
    rollback: bool = True
    """Return to the version before, when what serves falls behind the memory baseline."""


class RetrainSettings(_Table):
    """[retrain] How a larger retrain is done; amounts in interactions."""

    window_events: Positive = 50_000
    """The latest ones, to train on by hand: the more the better in a calm world."""
    wait_events: Positive = 4_000
    """After an alarm, to train on: what is new must be seen to be learned, and what is old misleads."""
    held_out_events: Positive = 1_000
    """After those, to validate on."""
    epochs: Positive = 4
    patience: Annotated[int, Field(ge=0)] = 1
    """Epochs in a row that may be no better than the best one."""
    segments: Positive = 8
    """In a minibatch."""
    rate: Annotated[float, Field(gt=0)] = 3e-4
    residual_rate: Annotated[float, Field(gt=0)] = 0.003
    bias_rate: Annotated[float, Field(gt=0)] = 0.006
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the unsupervised objective."""
    language_epochs: Annotated[int, Field(ge=0)] = 0
    """Of masked language modelling on the catalogue's texts, before all else; 0 for none."""
    past: Annotated[float, Field(gt=0, le=1)] = 0.3
    """What counts from before the window weigh in memory and popularity, if that helps."""
    layers: Annotated[int, Field(ge=0)] = 0
    """That a candidate has at least; 0 leaves them as they are, here and in the next three."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    lora_alpha: Annotated[int, Field(ge=0)] = 0
    adapter_rank: Annotated[int, Field(ge=0)] = 0
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    """How far it stands back for the learner, in Unix's terms."""
    threads: Positive = 1
    """Of torch, instead of model.threads."""
    metrics_port: Port = 9103
    """0 to have none."""


class GateSettings(_Table):
    """[gate] What is asked of a candidate."""

    mode: Literal["auto", "manual"] = "auto"
    """Whether the Gate promotes, or a person does: `millstream candidates`."""
    trial_events: Positive = 4_000
    """On which champion and candidate are compared; neither has learned them."""
    least_targets: Positive = 2_000
    least_gain: Annotated[float, Field(ge=0)] = 0.01
    """In nats; the lower bound of the gain in log-loss must be above it."""
    ndcg_margin: Annotated[float, Field(ge=0)] = 0.01
    slice_log_loss_margin: Annotated[float, Field(ge=0)] = 0.1
    slice_ndcg_margin: Annotated[float, Field(ge=0)] = 0.01
    least_jaccard: Annotated[float, Field(ge=0, le=1)] = 0.1
    """What a user's list has in common with the champion's, on average."""
    least_diversity: Annotated[float, Field(ge=0)] = 0.5
    """Distinct items in the lists, as a multiple of the champion's; so are the next two."""
    most_latency: Annotated[float, Field(gt=0)] = 1.5
    most_size: Annotated[float, Field(gt=0)] = 1.5


class ServeSettings(_Table):
    """[serve] How it answers."""

    host: str = "127.0.0.1"
    port: Port = 8000
    api_keys: tuple[SecretStr, ...] = ()
    """If any, a request needs one in its X-API-Key header."""
    recommendations: Positive = 10
    most_recommendations: Positive = 200
    poll_seconds: Seconds = 0.1
    impressions: bool = True
    """Write what was shown to the impressions topic."""


class PlaySettings(_Table):
    """[play] How recorded data enters the log."""

    metrics_port: Port = 0
    max_in_flight: Positive = 20_000


class Settings(BaseSettings):
    """All settings of all daemons."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    log: LogSettings = LogSettings()
    model: ModelSettings = ModelSettings()
    learn: LearnSettings = LearnSettings()
    drift: DriftSettings = DriftSettings()
    retrain: RetrainSettings = RetrainSettings()
    gate: GateSettings = GateSettings()
    serve: ServeSettings = ServeSettings()
    play: PlaySettings = PlaySettings()
    metrics_host: str = "127.0.0.1"
    """Where learn and play answer Prometheus; serve answers at its own address."""
    snapshots: str = "run/snapshots"
    """Any fsspec URL, such as s3://bucket/path."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        toml = TomlConfigSettingsSource(settings_cls, os.environ.get(FILE_VARIABLE, FILE))
        return init_settings, env_settings, toml


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        InvalidSettings: a key is unknown or a value out of bounds; names it.
    """
    file = os.environ.get(FILE_VARIABLE)
    if file and not Path(file).is_file():
        raise InvalidSettings(f"{FILE_VARIABLE} names {file}, which is no file")
    for name in _unknown_variables():
        raise InvalidSettings(f"{name} sets nothing: there is no such table; see `millstream config`")
    try:
        return Settings()
    except (SettingsError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{file or FILE} or the environment cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSettings(f"{where}: {first['msg']}; see `millstream config`") from None


def _unknown_variables() -> Iterator[str]:
    """Variables for tables that do not exist, which pydantic overlooks.

    Only those with a key: others may be somebody else's, as the MILLSTREAM_SERVICE_HOST that
    Kubernetes sets for a service of that name.
    """
    for name in os.environ:
        table, divided, _ = name.upper().removeprefix(PREFIX).partition("__")
        if name.upper().startswith(PREFIX) and divided and table.lower() not in Settings.model_fields:
            yield name


def to_toml(settings: Settings) -> str:
    """The settings as TOML, each with what it means; secrets are masked."""
    tables = {name: table for name, table in settings if isinstance(table, _Table)}
    lines = list(_lines(settings, leave_out=tables.keys()))
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(model: BaseModel, leave_out: Collection[str] = ()) -> Iterator[str]:
    plain = model.model_dump(mode="json", exclude=set(leave_out))
    for name, value in plain.items():
        about = type(model).model_fields[name].description
        yield f"{name} = {_toml(value)}" + (f"  # {' '.join(about.split())}" if about else "")


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(_toml(part) for part in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + "}"
        case _:
            return str(value)
