"""Settings of the event log."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from pipeline.config.base import Config, Count, Hours, Share, Text
from pipeline.config.urls import no_login

HOUR_MS = 3_600_000
KAFKA_LOGIN = no_login("set sasl_plain_username and sasl_plain_password of the options beside it")
PREFIX = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$"
"""What the prefix of topic names looks like. It names folders, too, so that `..` would be the one above."""


class RefusalsConfig(Config):
    """[refusals] When so much is refused that a daemon stops reading."""

    most_share: Share = 0.9
    """Share of the last records that may be refused. Beyond it learner and bridge read nothing more, say
    so, and wait for a person: else nearly a whole topic would become dead letters. 1 for no limit."""
    window_records: Count = 1_000
    """How many of the last records are looked at, at least."""


class LogConfig(Config):
    """[log] Where the events are."""

    url: Annotated[Text, KAFKA_LOGIN] = "sqlite:///run/log.db"
    """`sqlite:///path` or `kafka://host:port,…`."""
    options: dict[str, SecretStr] = Field(default_factory=dict)
    """Passed to the Kafka client: security_protocol, sasl_mechanism, ssl_cafile, …"""
    prefix: Annotated[str, Field(pattern=PREFIX)] = "millstream"
    """Prefix of all topic names; also the model's name."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 16
    """Partitions of the topics keyed by user or item; fixed when the topics are created."""
    retention_hours: Hours = 24 * 90
    """How long interactions, impressions and the journal are kept."""
    compaction_lag_hours: Hours = 24 * 2
    """How long superseded items and histories stay readable; bounds how far back a checkpoint can restart."""
    accept_gap: bool = False
    """Whether the learner goes on without records that the log lost before they were learned; the journal
    says which. Without it, the learner stops and says what is lost; `learn --accept-gap` accepts it once."""

    @property
    def secrets(self) -> dict[str, str]:
        """The options as the log's client takes them; not for logs."""
        return {name: value.get_secret_value() for name, value in self.options.items()}

    @property
    def topic_sizes(self) -> tuple[int, int, int]:
        """Partitions, retention in ms, compaction lag in ms."""
        return self.partitions, int(self.retention_hours * HOUR_MS), int(self.compaction_lag_hours * HOUR_MS)
